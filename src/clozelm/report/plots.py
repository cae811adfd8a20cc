"""The plots of a comparison: drawn once, for its page and for files of their own."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clozelm.report.comparison import capital
from clozelm.report.page_style import FILE_STYLE
from clozelm.report.svg import Chart, Line, forest, line_chart, point_chart

Report = Mapping[str, Any]
_AXES = (
    ("tokens", "tokens seen"),
    ("steps", "optimiser steps"),
    ("flops", "FLOPs the objective had to do"),
    ("seconds", "seconds"),
)
_COSTS = (("flops", "FLOPs"), ("seconds", "seconds of training"))
_AS_ANOTHER = ("masked_accuracy", "words_right")  # say what another measure says as well


@dataclass(frozen=True)
class Plot:
    """A chart with the name of its file; ``arms`` are the numbers and labels of those it has no names of."""

    name: str
    chart: Chart
    arms: Sequence[tuple[int, str]] = ()

    def file(self) -> str:
        """Return the plot as an SVG file, readable on a white page and on a dark one."""
        return self.chart.standalone(FILE_STYLE, self.arms)


def plots(report: Report) -> list[Plot]:
    """Return every plot of a report made by ``clozelm.report.comparison.build``."""
    return [*curve_plots(report), *difference_plots(report), *compute_plots(report)]


def curve_plots(report: Report) -> Iterator[Plot]:
    """Draw the held-out loss over what was spent, ``loss-tokens``, ``loss-steps`` and so on."""
    for key, label in _AXES:
        lines = list(_curve_lines(report, key))
        if lines:
            title = f"Held-out loss over {label}"
            chart = line_chart(lines, x_label=label, y_label="loss, nats a piece", title=title)
            yield Plot(f"loss-{key}", chart, _named(report, lines, stars=asked_otherwise(report)))


def asked_otherwise(report: Report) -> set[str]:
    """Return the arms whose held-out loss, on the way too, answers another question than that of masked pieces."""
    return {arm for one in report["measures"] if one["name"] == "masked_loss" for arm in one.get("caveats", ())}


def difference_plots(report: Report) -> Iterator[Plot]:
    """Draw for every measure how arms differ from the first, ``difference-MEASURE``."""
    for one in report["measures"]:
        rows = []
        for number, arm in enumerate(report["arms"]):
            difference = one["differences"].get(arm["name"])
            if difference is not None:
                rows.append((arm["label"], Line(number, *_point(one, 0.0, difference, is_upright=False))))
        if rows:
            unit = "points" if one["unit"] == "%" else one["unit"]
            better = "left" if one["better"] < 0 else "right"
            label = f"{unit}: {better} is better"
            title = f"{capital(one['title'])}, difference from {report['arms'][0]['label']}"
            yield Plot(f"difference-{_hyphened(one)}", forest(rows, x_label=label, title=title))


def compute_plots(report: Report) -> Iterator[Plot]:
    """Draw measures against what arms cost, ``quality-MEASURE-flops`` and ``quality-MEASURE-seconds``."""
    spent = {one["name"]: one["arms"] for one in report["costs"]}
    for one in report["measures"]:
        for cost, label in _COSTS if one["name"] not in _AS_ANOTHER else ():
            lines = []
            for number, arm in enumerate(report["arms"]):
                mean, amount = one["arms"].get(arm["name"]), spent[cost].get(arm["name"])
                if mean is not None and amount is not None:
                    lines.append(Line(number, *_point(one, amount, mean, is_upright=True)))
            if lines:
                title = f"{capital(one['title'])} against {label}"
                chart = point_chart(lines, x_label=label, y_label=f"{one['title']}, {one['unit']}", title=title)
                yield Plot(f"quality-{_hyphened(one)}-{cost}", chart, _named(report, lines))


def _point(
    measure: Mapping[str, Any], at: float, found: Mapping[str, Any], *, is_upright: bool
) -> tuple[list[tuple[float, float]], list[tuple[float, float] | None]]:
    """Return a mean as a point, at ``at`` on the other axis, with its interval; shares as percent."""
    scale = 100.0 if measure["unit"] == "%" else 1.0
    mean = scale * found["mean"]
    interval = None if found["low"] is None else (scale * found["low"], scale * found["high"])
    return [(at, mean) if is_upright else (mean, at)], [interval]


def _curve_lines(report: Report, key: str) -> Iterator[Line]:
    for number, arm in enumerate(report["arms"]):
        curves = [run["curve"] for run in arm["runs"] if run["curve"].get(key) and run["curve"].get("loss")]
        for curve in curves if len(curves) > 1 else []:
            yield Line(number, list(zip(curve[key], curve["loss"], strict=True)), is_faint=True)
        lengths = {len(curve["loss"]) for curve in curves}
        if len(lengths) == 1:
            xs, ys = (_means([curve[name] for curve in curves]) for name in (key, "loss"))
            yield Line(number, list(zip(xs, ys, strict=True)))
        else:
            for curve in curves:
                yield Line(number, list(zip(curve[key], curve["loss"], strict=True)))


def _means(lists: Sequence[Sequence[float]]) -> list[float]:
    return [math.fsum(column) / len(column) for column in zip(*lists, strict=True)]


def _named(report: Report, lines: Sequence[Line], *, stars: Collection[str] = ()) -> list[tuple[int, str]]:
    drawn = {line.colour for line in lines}
    return [
        (number, arm["label"] + "*" * (arm["name"] in stars))
        for number, arm in enumerate(report["arms"])
        if number in drawn
    ]


def _hyphened(measure: Mapping[str, Any]) -> str:
    return str(measure["name"]).replace("_", "-")
