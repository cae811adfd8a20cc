"""The style sheets of reports: readable on a phone, in the dark and for the colour-blind (Okabe & Ito 2008)."""

import re

_ARMS = 8
_COLOURS = {  # on a light page and on a dark one
    "ink": ("#1d2329", "#e8ecf0"),
    "soft": ("#5c6670", "#a0aab4"),
    "paper": ("#fff", "#14181c"),
    "band": ("#f4f6f8", "#1d2328"),
    "rule": ("#dfe4e9", "#323a42"),
    "good": ("#00684a", "#4fd1a5"),
    "bad": ("#a8400a", "#ff9a5c"),
    "right": ("0,114,178", "0,114,178"),  # to be mixed with the ground, as rgba(var(--right),.3)
    "wrong": ("213,94,0", "213,94,0"),
    "a0": ("#0072b2", "#56b4e9"),
    "a1": ("#d55e00", "#ff8a3d"),
    "a2": ("#00805e", "#2fc79a"),
    "a3": ("#b5508d", "#e79ac6"),
    "a4": ("#b07d00", "#f0c03c"),
    "a5": ("#3d8fc4", "#9ad0f5"),
    "a6": ("#7a5cc0", "#b9a3f0"),
    "a7": ("#6b6b6b", "#b0b0b0"),
}
_LIGHT, _DARK = ({name: pair[dark] for name, pair in _COLOURS.items()} for dark in (0, 1))


def _defined(palette: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in palette.items())


def _resolved(rules: str, palette: dict[str, str]) -> str:
    """Write the colours themselves in place of their names, for readers of SVG that know no names."""
    return re.sub(r"var\(--(\w+)\)", lambda found: palette[found[1]], rules).replace("\n", "")


_CHART = """
svg text{fill:var(--soft);font-size:13.5px}
svg .axis{text-anchor:middle;fill:var(--ink)}
svg .name{fill:var(--ink);font-size:14.5px}
svg .mark{font-size:14px;text-anchor:middle}
.grid{stroke:var(--rule)}.zero{stroke:var(--soft);stroke-dasharray:4 3}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}.faint{opacity:.28;stroke-width:1.1}
.interval{stroke-width:2.4;stroke-linecap:round}
.band{opacity:.16;stroke:none}.count{fill:var(--soft);opacity:.35}.plane{fill:var(--paper);stroke:var(--rule)}
.base{stroke:var(--soft);stroke-width:2;opacity:.6}
.dot{fill:var(--a0);opacity:.5}svg .right{fill:var(--a0)}svg .wrong{fill:var(--a1)}
""" + "".join(f".c{i}{{stroke:var(--a{i})}}svg .f{i}{{fill:var(--a{i})}}" for i in range(_ARMS))

_FILE = """
svg{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
svg .ground{fill:var(--band)}svg .title{fill:var(--ink);font-size:15px;font-weight:600}
"""

_PAGE = """
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
figure{margin:0;background:var(--band);border-radius:10px;padding:.8rem}
figure.square{max-width:40rem}
figcaption{font-size:.9rem;margin:0 0 .4rem}figcaption b{font-weight:600}
svg{display:block;width:100%;height:auto;font-family:inherit}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;margin:.2rem 0 .8rem;font-size:.92rem}
.swatch{font-style:normal;display:inline-block;width:1.25em;text-align:left}
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
.words{font-size:1.12rem;line-height:2.1;margin:.2rem 0}.words.big{font-size:clamp(1.3rem,4vw,1.9rem)}
.words span,.chips span{border-radius:5px;padding:.12em .22em;unicode-bidi:isolate}
.words .asked{border:2px dashed var(--a1);font-weight:600}
.words .hidden{background:var(--rule);color:transparent;user-select:none}
.chips{line-height:2}.chips span{margin-right:.4em;white-space:nowrap}.chips b{font-weight:600}
.chips span.plain{padding:0}
.method{border-left:4px solid var(--rule);padding:.1rem 0 .1rem .9rem;margin:0 0 1rem}
.method.best{border-color:var(--good)}.method h3{margin:.1rem 0}.badge{color:var(--good);font-size:.85rem}
.maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,14.5rem),1fr));gap:.8rem}
.asking{fill:none;stroke:var(--a1);stroke-width:1.6}
.pieces{display:flex;flex-wrap:wrap;gap:.35rem;margin:.6rem 0}
.pieces span{border:1px solid var(--rule);border-radius:6px;padding:.2rem .5rem;text-align:center}
.pieces .later{margin-left:-.25rem;border-style:dashed}
.pieces .mask{background:rgba(var(--right),.22)}.pieces .random{background:rgba(var(--wrong),.25)}
.pieces .keep{background:var(--band);border-style:double;border-width:3px}
.blank{border-bottom:2px solid var(--good);color:var(--good)}
details summary{cursor:pointer;color:var(--soft);font-size:.85rem}
pre{background:var(--band);border-radius:8px;padding:.7rem .9rem;white-space:pre-wrap;font-size:.88rem;
 font-family:ui-monospace,"Cascadia Mono",Consolas,monospace;margin:.4rem 0}
@media print{.long{max-height:none}}
@media print{body{font-size:11pt}figure{break-inside:avoid}}
""" + "".join(f".t{i}{{color:var(--a{i})}}" for i in range(_ARMS))

_PHONE = """
@media(max-width:34rem){main{padding:1.2rem .8rem 3rem}svg text{font-size:17px}svg .axis,svg .name{font-size:18px}
 svg .mark{font-size:16px}th,td{padding:.4rem .4rem;font-size:.9rem}
 tbody th{min-width:6.5rem}.bar{width:4rem}figure{padding:.5rem}}
"""

STYLE = (
    f":root{{color-scheme:light dark;{_defined(_LIGHT)}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_defined(_DARK)}}}}}{_PAGE}{_CHART}{_PHONE}"
)
"""Of a page, the charts in it included."""

FILE_STYLE = _resolved(_FILE + _CHART, _LIGHT) + (
    f"@media(prefers-color-scheme:dark){{{_resolved(_FILE + _CHART, _DARK)}}}"
)
"""Of a chart in a file of its own."""
