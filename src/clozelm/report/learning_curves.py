"""How a figure grows with the number of labelled examples: a section of a page, and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clozelm.report.comparison import capital
from clozelm.report.curves import tidy
from clozelm.report.figures import figure, interval_of, interval_text, number, value_of, written
from clozelm.report.page_parts import legend, plain, printable, swatch
from clozelm.report.svg import Line, line_chart

_COLOURS = ("#0072b2", "#d55e00", "#00805e", "#b5508d", "#b07d00", "#3d8fc4", "#7a5cc0", "#6b6b6b")
_MARKS = "os^DvPX*"
_X = "training examples"

Curves = Mapping[str, Any]
"""{"title", "metric", "lines": [{"name", "points": [{"x", "value", "low", "high"}]}]}; no ends, no band."""


def learning_section(curves: Curves) -> str:
    """Return a section of a page: the chart with its legend, and the numbers in a table."""
    title, metric = str(curves.get("title") or "Labels needed"), str(curves["metric"])
    drawn = [line for line in _lines(curves) if line.points]
    if not drawn:
        return ""
    names = [str(line["name"]) for line in curves["lines"]]
    parts = [f"<section><h2>{plain(title)}</h2>", legend((line.colour, names[line.colour]) for line in drawn)]
    chart = line_chart(drawn, x_label=_X, y_label=_y(metric), title=printable(title), is_log=True)
    parts += [f'<figure class="square">{chart.inline()}</figure>', *_table(curves, metric)]
    return "".join([*parts, '<p class="fine">Bands and small print: 95% intervals.</p></section>'])


def learning_picture(curves: Curves, out_png: Path) -> None:
    """Draw the same curves with their bands and save a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure_ = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure_)
    axes = figure_.add_subplot()
    drawn = [line for line in _lines(curves) if line.points]
    for line in drawn:
        colour = _COLOURS[line.colour % len(_COLOURS)]
        xs, ys = zip(*line.points, strict=True)
        bands = [(x, *ends) for x, ends in zip(xs, line.intervals, strict=True) if ends is not None]
        if bands:
            at, low, high = zip(*bands, strict=True)
            axes.fill_between(at, low, high, color=colour, alpha=0.16, linewidth=0)
        name = printable(curves["lines"][line.colour]["name"])
        # A leading underscore would hide the line from the legend.
        label = f"\u200b{name}" if name.startswith("_") else name
        axes.plot(xs, ys, color=colour, marker=_MARKS[line.colour % len(_MARKS)], markersize=5, label=label)
    tidy(axes, printable(curves.get("title") or ""))
    axes.set_ylabel(_y(str(curves["metric"])), parse_math=False)
    axes.set_xlabel(f"{_X} (log scale)")
    if drawn:
        axes.set_xscale("log")
        ticks = _apart(sorted({x for line in drawn for x, _ in line.points}))
        axes.set_xticks(ticks, [f"{x:,.0f}" for x in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        for text in axes.legend(frameon=False, fontsize=9).get_texts():
            text.set_parse_math(False)
    figure_.savefig(out_png, format="png")


def _apart(ticks: Sequence[float]) -> list[float]:
    """Return the ticks, in order, that leave room for their numbers on a logarithmic axis."""
    room = max(ticks[-1] / ticks[0], 1.0) ** 0.08
    kept = [ticks[0]]
    for tick in ticks[1:]:
        if tick > room * kept[-1]:
            kept.append(tick)
    return kept


def _lines(curves: Curves) -> list[Line]:
    """Return the lines as they are drawn, points in order of x, shares as percent; x must lie above 0."""
    scale = 100.0 if figure(str(curves["metric"])).unit == "%" else 1.0
    return [_line(colour, each["points"], scale) for colour, each in enumerate(curves["lines"])]


def _line(colour: int, points: Sequence[Mapping[str, Any]], scale: float) -> Line:
    known = sorted(_known(points), key=lambda one: float(one["x"]))
    ends = [interval_of(one) for one in known]
    return Line(
        colour,
        [(float(one["x"]), scale * (value_of(one) or 0.0)) for one in known],
        [None if end is None else (scale * end[0], scale * end[1]) for end in ends],
        is_marked=True,
    )


def _known(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in points if value_of(one) is not None and (number(one.get("x")) or 0.0) > 0.0]


def _table(curves: Curves, metric: str) -> Iterator[str]:
    every = sorted({float(one["x"]) for line in curves["lines"] for one in _known(line["points"])})
    yield f'<div class="wide"><table><thead><tr><th>{_X}</th>'
    yield from (f"<th>{x:,.0f}</th>" for x in every)
    yield "</tr></thead><tbody>"
    for colour, line in enumerate(curves["lines"]):
        by_x = {float(one["x"]): one for one in _known(line["points"])}
        yield f"<tr><th>{swatch(colour)}{plain(line['name'])}</th>"
        for x in every:
            one = by_x.get(x)
            small = f"<small>{interval_text(one, metric)}</small>" if interval_of(one) else ""
            yield f"<td>{written(value_of(one), metric)}{small}</td>"
        yield "</tr>"
    yield "</tbody></table></div>"


def _y(metric: str) -> str:
    known = figure(metric)
    return printable(f"{capital(known.title)}, %" if known.unit == "%" else capital(known.title))
