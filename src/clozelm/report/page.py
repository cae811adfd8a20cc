"""The report of a comparison as one page of HTML: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from html import escape
from typing import Any

from clozelm.report.comparison import capital, not_measured, shown
from clozelm.report.page_parts import document, legend, swatch
from clozelm.report.plots import Plot, Report, asked_otherwise, compute_plots, curve_plots, difference_plots


def page(report: Report) -> str:
    """Return the page of a report made by ``clozelm.report.comparison.build``."""
    parts = [*_head(report), *_table(report), *_reading(report), *_differences(report), *_curves(report)]
    parts += [*_compute(report), *_costs(report), *_arms(report), *_notes(report)]
    return document(report["title"], parts)


def _head(report: Report) -> Iterator[str]:
    yield f'<header><p class="kind">Comparison</p><h1>{escape(report["title"])}</h1>'
    if report["question"]:
        yield f'<p class="question">{escape(report["question"])}</p>'
    seeds = ", ".join(str(seed) for seed in report["seeds"])
    yield (
        f'<p class="terms">Each run gets <b>{escape(report["budget"]["text"])}</b>; seeds {seeds}; '
        f"{len(report['arms'])} arms on {escape(report['data'])}.</p></header>"
    )
    if report["missing"]:
        yield f'<p class="warning">Not finished: {escape(", ".join(report["missing"]))}.</p>'


def _reading(report: Report) -> Iterator[str]:
    yield f"<section><h2>What it shows</h2><p>{escape(report['summary'])}</p>"
    for measure in report["measures"]:
        if measure["reading"]:
            yield f'<h3>{escape(capital(measure["title"]))}</h3><ul class="reading">'
            verdicts = [each["verdict"] for each in measure["differences"].values()]
            for line, verdict in zip(measure["reading"], verdicts, strict=True):
                said = capital(line.partition(": ")[2])
                yield f'<li class="{verdict.replace(" ", "-")}">{escape(said)}</li>'
            yield "</ul>"
    yield "</section>"


def _table(report: Report) -> Iterator[str]:
    measures = [one for one in report["measures"] if any(one["arms"].values())]
    yield "<section><h2>Quality</h2>"
    if not measures:
        yield "<p>Nothing has been measured yet.</p></section>"
        return
    yield '<div class="wide"><table><thead><tr><th>measure</th>'
    for number, arm in enumerate(report["arms"]):
        yield f"<th>{swatch(number)}{escape(arm['label'])}{'<small>reference</small>' * (number == 0)}</th>"
    yield "</tr></thead><tbody>"
    for one in measures:
        arrow = "lower is better" if one["better"] < 0 else "higher is better"
        unit = "" if one["unit"] == "%" else f"{one['unit']}, "
        yield f'<tr><th>{escape(one["title"])}<small class="about">{escape(unit)}{arrow}</small></th>'
        yield from (_cell(one, arm["name"]) for arm in report["arms"])
        yield "</tr>"
    yield "</tbody></table></div>"
    yield (
        '<p class="fine">Means over seeds; below them the 95% t-interval, which with few seeds is wide and assumes '
        "that seeds scatter normally. ▲ better and ▼ worse than the reference, after Holm's correction for the "
        "number of arms.</p>"
    )
    yield from (f'<p class="fine">* {escape(line)}</p>' for line in report.get("caveats", []))
    yield from (f'<p class="fine">{escape(line)}</p>' for line in not_measured(report))
    yield "</section>"


def _cell(measure: Mapping[str, Any], arm: str) -> str:
    mean = measure["arms"].get(arm)
    if mean is None:
        return "<td>–</td>"
    verdict = measure["differences"].get(arm, {}).get("verdict", "")
    mark = {"better": " ▲", "worse": " ▼"}.get(verdict, "")
    interval = ""
    if mean["low"] is not None:
        low, high = (shown(mean[end], measure["unit"]) for end in ("low", "high"))
        interval = f"<small>{low} to {high}</small>"
    value = shown(mean["mean"], measure["unit"]) + "*" * (arm in measure.get("caveats", ()))
    return f'<td class="{verdict.replace(" ", "-")}"><b>{value}</b>{mark}{interval}</td>'


def _differences(report: Report) -> Iterator[str]:
    plots = list(difference_plots(report))
    if not plots:
        return
    first = report["arms"][0]["label"]
    yield f"<section><h2>Differences from {escape(first)}</h2>"
    yield from _figures(plots)
    none = "; with one seed there are none" if len(report["seeds"]) < 2 else ""
    yield f'<p class="fine">Paired by seed, 95% t-intervals{none}.</p></section>'


def _curves(report: Report) -> Iterator[str]:
    plots = list(curve_plots(report))
    if not plots:
        return
    stars = asked_otherwise(report)
    yield f"<section><h2>Held-out loss on the way</h2>{_legend(report, stars=stars)}"
    yield from _figures(plots)
    yield (
        '<p class="fine">Strong lines are means over seeds, faint ones the seeds. The loss is that of masked '
        "pieces under each run's own evaluation settings, on the part of the held-out text that is read while "
        f"training{'; * another question, see above' if stars else ''}.</p></section>"
    )


def _compute(report: Report) -> Iterator[str]:
    plots = list(compute_plots(report))
    if not plots:
        return
    yield f"<section><h2>Quality against compute</h2>{_legend(report)}"
    yield from _figures(plots)
    yield (
        '<p class="fine">Upright bars: 95% t-intervals over seeds, cut where they leave the chart; points that '
        "would hide each other stand side by side.</p></section>"
    )


def _figures(plots: Iterable[Plot]) -> Iterator[str]:
    yield '<div class="charts">'
    for plot in plots:
        yield f"<figure><figcaption><b>{escape(plot.chart.title)}</b></figcaption>{plot.chart.inline()}</figure>"
    yield "</div>"


def _costs(report: Report) -> Iterator[str]:
    costs = [one for one in report["costs"] if any(value is not None for value in one["arms"].values())]
    if not costs:
        return
    yield '<section><h2>What it cost</h2><div class="wide"><table><thead><tr><th>arm</th>'
    yield from (f"<th>{escape(one['title'])}</th>" for one in costs)
    yield "</tr></thead><tbody>"
    for number, arm in enumerate(report["arms"]):
        yield f"<tr><th>{swatch(number)}{escape(arm['label'])}</th>"
        yield from (f"<td>{shown(one['arms'].get(arm['name']), one['unit'])}</td>" for one in costs)
        yield "</tr>"
    yield '</tbody></table></div><ul class="fine">'
    yield from (f"<li>{escape(one['title'])}: {escape(one['about'])}</li>" for one in costs)
    yield "</ul></section>"


def _arms(report: Report) -> Iterator[str]:
    yield '<section><h2>The arms</h2><dl class="arms">'
    for number, arm in enumerate(report["arms"]):
        yield f"<dt>{swatch(number)}{escape(arm['label'])}</dt><dd>"
        if arm["about"]:
            yield f"<p>{escape(arm['about'])}</p>"
        yield f'<p class="settings">{_settings(arm["settings"])}</p>'
        own = report["own_terms"].get(arm["name"])
        if own:
            terms = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in own.items())
            yield f'<p class="fine">held out, in its own terms: {escape(terms)}</p>'
        yield "</dd>"
    yield "</dl>"
    if report.get("shared"):
        yield "<p>What all arms share, where it is not the default:</p>"
        yield f'<p class="settings">{_settings(report["shared"])}</p>'
    yield "</section>"


def _settings(values: Mapping[str, Any]) -> str:
    return " ".join(f"<code>{escape(name)} = {escape(_toml(value))}</code>" for name, value in values.items())


def _notes(report: Report) -> Iterator[str]:
    yield "<section><h2>What is not comparable, and how it was measured</h2><ul>"
    yield from (f"<li>{escape(note)}</li>" for note in report["notes"])
    machine = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    yield f'</ul><p class="fine">{escape("; ".join(report["machines"]))}. {escape(machine)}.</p></section>'


def _legend(report: Report, *, stars: Collection[str] = ()) -> str:
    return legend(
        (number, arm["label"] + "*" * (arm["name"] in stars)) for number, arm in enumerate(report["arms"])
    )


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
