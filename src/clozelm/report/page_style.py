"""The style sheet of report pages: readable on a phone, in the dark and for the colour-blind (Okabe & Ito 2008)."""

_LIGHT = ("#0072b2", "#d55e00", "#00805e", "#b5508d", "#b07d00", "#3d8fc4", "#7a5cc0", "#6b6b6b")
_DARK = ("#56b4e9", "#ff8a3d", "#2fc79a", "#e79ac6", "#f0c03c", "#9ad0f5", "#b9a3f0", "#b0b0b0")


def _colours(palette: tuple[str, ...]) -> str:
    return "".join(f"--a{index}:{colour};" for index, colour in enumerate(palette))


_RULES = "".join(
    f".c{i}{{stroke:var(--a{i})}}.f{i}{{fill:var(--a{i})}}.t{i}{{color:var(--a{i})}}" for i in range(len(_LIGHT))
)

STYLE = (
    ":root{color-scheme:light dark;--right:0,114,178;--wrong:213,94,0;"
    "--ink:#1d2329;--soft:#5c6670;--paper:#fff;--band:#f4f6f8;--rule:#dfe4e9;"
    f"--good:#00684a;--bad:#a8400a;{_colours(_LIGHT)}}}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8ecf0;--soft:#a0aab4;--paper:#14181c;--band:#1d2328;"
    f"--rule:#323a42;--good:#4fd1a5;--bad:#ff9a5c;{_colours(_DARK)}}}}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:62rem;margin:0 auto;padding:2.2rem 1.2rem 4rem}
header{border-bottom:2px solid var(--ink);padding-bottom:1rem;margin-bottom:1.6rem}
.kind{margin:0;text-transform:uppercase;letter-spacing:.12em;font-size:.75rem;color:var(--soft)}
h1{font-size:clamp(1.5rem,4.5vw,2.2rem);line-height:1.2;margin:.2rem 0 .6rem;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:2.6rem 0 .7rem}
h3{font-size:1rem;margin:1.1rem 0 .3rem}
.question{font-size:1.15rem;margin:.2rem 0 .6rem;max-width:44rem}
.terms{color:var(--soft);margin:0}
.warning{border-left:4px solid var(--bad);background:var(--band);padding:.6rem .9rem}
.fine,ul.fine{color:var(--soft);font-size:.85rem}
ul.fine{padding-left:1.1rem}
.reading{list-style:none;padding:0;margin:0}
.reading li{padding:.25rem 0 .25rem 1.4rem;position:relative;max-width:50rem}
.reading li::before{content:"○";position:absolute;left:.2rem;color:var(--soft)}
.reading li.better::before{content:"▲";color:var(--good)}
.reading li.worse::before{content:"▼";color:var(--bad)}
.reading li.one-seed::before{content:"?"}
.wide{overflow-x:auto}
table{border-collapse:separate;border-spacing:0;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.5rem .7rem;border-bottom:1px solid var(--rule);
 vertical-align:top;white-space:nowrap}
thead th{font-size:.85rem;border-bottom:2px solid var(--rule);vertical-align:bottom}
th:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}
tbody th{font-weight:600}
small{display:block;font-weight:400;font-size:.78rem;color:var(--soft)}
tbody th small{display:inline}
td.better b{color:var(--good)}td.worse b{color:var(--bad)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));gap:1.2rem}
figure.square{max-width:40rem}figcaption{font-size:.92rem;margin:0 0 .4rem}
figure{margin:0;background:var(--band);border-radius:10px;padding:.8rem}
svg{display:block;width:100%;height:auto;font-family:inherit}
svg text{fill:var(--soft);font-size:13.5px}
svg .axis{text-anchor:middle;fill:var(--ink)}
svg .name{fill:var(--ink);font-size:14.5px}
svg .mark{font-size:14px;text-anchor:middle}
.grid{stroke:var(--rule)}.zero{stroke:var(--soft);stroke-dasharray:4 3}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}.faint{opacity:.28;stroke-width:1.1}
.interval{stroke-width:2.4;stroke-linecap:round}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;margin:.2rem 0 .8rem;font-size:.92rem}
.band{opacity:.16;stroke:none}.count{fill:var(--soft);opacity:.35}.plane{fill:var(--paper);stroke:var(--rule)}
.dot{fill:var(--a0);opacity:.5}svg .right{fill:var(--a0)}svg .wrong{fill:var(--a1)}
.swatch{font-style:normal;display:inline-block;width:1.25em}
.arms dt{font-weight:600;margin-top:1rem}.arms dd{margin:0 0 0 1.25em}.arms p{margin:.25rem 0}
code{background:var(--band);border-radius:4px;padding:.1em .4em;font-size:.85em;
 font-family:ui-monospace,"Cascadia Mono",Consolas,monospace;display:inline-block;margin:.1rem 0}
li{margin:.25rem 0}
h1,.question,.terms,li,pre,code,.text{overflow-wrap:anywhere}
.long{max-height:34rem;overflow:auto;border:1px solid var(--rule);border-radius:8px}
tbody th small.about{display:block;max-width:34rem}
.long thead th{position:sticky;top:0;background:var(--paper);z-index:1}
.long thead th:first-child{z-index:2}
tbody th{white-space:normal;min-width:7rem;max-width:22rem;overflow-wrap:anywhere}
th.left,td.left{text-align:left;white-space:normal;overflow-wrap:anywhere}
.narrow table,table.heat{width:auto}
.bar{display:block;width:6rem;height:.7em;border-radius:3px;background:var(--band);margin-top:.42em}
.bar i{display:block;height:100%;border-radius:3px;background:var(--a0)}
table.heat td{text-align:center;padding:.4rem .5rem;border:2px solid var(--paper);min-width:3.6rem}
table.heat tbody th{font-weight:400;padding-right:.8rem}
table.heat thead th{text-align:center;font-weight:400;white-space:normal;max-width:9rem}
table.heat thead th.corner{text-align:left;color:var(--soft)}
table.heat td small{color:inherit;opacity:.85}
table.heat td.none{color:var(--soft);background:var(--band)}
table.heat.many td{min-width:2.9rem;padding:.3rem .2rem;font-size:.85rem}
table.heat.many thead th:not(.corner){writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;
 padding:.5rem .2rem;white-space:nowrap;max-width:none;border:0}
.examples{list-style:none;padding:0;margin:0}
.examples li{border-left:3px solid var(--rule);padding:.1rem 0 .1rem .9rem;margin:0 0 1.1rem}
.text{margin:0 0 .2rem;white-space:pre-line;unicode-bidi:isolate}
.verdict{margin:0;font-size:.9rem}.verdict .said{color:var(--bad);font-weight:600}
.verdict .true{color:var(--good);font-weight:600}
.verdict span.fine{overflow-wrap:anywhere}
details summary{cursor:pointer;color:var(--soft);font-size:.85rem}
pre{background:var(--band);border-radius:8px;padding:.7rem .9rem;white-space:pre-wrap;font-size:.88rem;
 font-family:ui-monospace,"Cascadia Mono",Consolas,monospace;margin:.4rem 0}
@media(max-width:34rem){main{padding:1.2rem .8rem 3rem}svg text{font-size:17px}svg .axis,svg .name{font-size:18px}
 svg .mark{font-size:16px}th,td{padding:.4rem .4rem;font-size:.9rem}
 tbody th{min-width:6.5rem}.bar{width:4rem}figure{padding:.5rem}}
@media print{.long{max-height:none}}
@media print{body{font-size:11pt}figure{break-inside:avoid}}
""" + "".join((_RULES.replace(".f", "svg .f"),))
)
