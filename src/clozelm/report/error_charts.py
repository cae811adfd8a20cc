"""Charts of errors by group: how often right and at what loss, for one model or two; and what confidence means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from clozelm.report.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Chart,
    Line,
    forest,
    frame,
    mark,
    stroke,
)

_ROW, _HEAD, _FOOT = 30, 26, 26
_SHARE_AT = 196.0
_ACCURACY = (212.0, 350.0)
_LOSS = (376.0, WIDTH - 12.0)
_STRIP = 34.0
_APART = 5.5


class Scales:
    """The axes that all charts of a report share, so that their groups can be compared by eye."""

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        cells = [cell for group in groups for cell in group["cells"]]
        right = [model["accuracy"]["value"] for cell in cells for model in cell["models"]]
        loss = [model["loss"]["value"] for cell in cells for model in cell["models"]]
        loss += [cell["unigram"] for cell in cells]
        self.accuracy = Axis(0.0, min(100.0, max(20.0, 106.0 * max(right))), *_ACCURACY)
        self.loss = Axis(0.0, 1.05 * max([*loss, 1.0]), *_LOSS)


def group_chart(group: Mapping[str, Any], scales: Scales) -> Chart:
    """Draw a row for every cell: its share of the predictions, the share that is right, the loss.

    Upright strokes are the loss of frequencies alone.
    """
    cells = group["cells"]
    height = _HEAD + _ROW * len(cells) + _FOOT
    parts = [*_heads(), *_grid(scales.accuracy, height, "{:.0f}"), *_grid(scales.loss, height, "{:g}")]
    for number, cell in enumerate(cells):
        parts += _row(cell, scales, _HEAD + _ROW * (number + 0.5))
    return Chart(group["title"], height, "".join(parts))


def _heads() -> Iterator[str]:
    for at, anchor, word in (
        (_SHARE_AT, "end", "share"),
        (sum(_ACCURACY) / 2, "middle", "right, %"),
        (sum(_LOSS) / 2, "middle", "loss, nats"),
    ):
        yield f'<text class="tick" x="{at:.0f}" y="14" text-anchor="{anchor}">{word}</text>'


def _grid(axis: Axis, height: float, form: str) -> Iterator[str]:
    for tick in axis.ticks(4):
        at = axis(tick)
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_HEAD - 4}" y2="{height - _FOOT + 2}"/>'
        label = form.format(tick)
        yield f'<text class="tick" x="{at:.1f}" y="{height - 8}" text-anchor="middle">{label}</text>'


def _row(cell: Mapping[str, Any], scales: Scales, y: float) -> Iterator[str]:
    said = f"{cell['name']}: {cell['predictions']:,} predictions"
    yield f"<g><title>{escape(said)}</title>"
    yield f'<text class="name" x="0" y="{y + 4.5:.1f}">{escape(cell["name"])}</text>'
    share = f"{100 * cell['share']:.{0 if cell['share'] >= 0.095 else 1}f}%"
    yield f'<text class="tick" x="{_SHARE_AT}" y="{y + 4.5:.1f}" text-anchor="end">{share}</text></g>'
    base = scales.loss(cell["unigram"])
    yield f'<line class="base" x1="{base:.1f}" x2="{base:.1f}" y1="{y - 9:.1f}" y2="{y + 9:.1f}"/>'
    offsets = (0.0,) if len(cell["models"]) == 1 else (-_APART, _APART)
    for colour, (model, offset) in enumerate(zip(cell["models"], offsets, strict=True)):
        yield from _dot(colour, model["accuracy"], scales.accuracy, y + offset, 100.0)
        yield from _dot(colour, model["loss"], scales.loss, y + offset, 1.0)


def _dot(colour: int, figure: Mapping[str, Any], axis: Axis, y: float, scale: float) -> Iterator[str]:
    if figure["low"] is not None:
        low, high = (axis(min(max(scale * figure[end], axis.low), axis.high)) for end in ("low", "high"))
        yield stroke(colour, (low, y), (high, y))
    yield mark(colour, axis(scale * figure["value"]), y)


def difference_chart(group: Mapping[str, Any], title: str) -> Chart | None:
    """Draw how the second model's loss differs in every cell that has an interval; None where none has."""
    rows = []
    for cell in group["cells"]:
        one = cell["difference"]["loss"]
        if one["low"] is not None:
            rows.append((cell["name"], Line(1, [(one["value"], 0.0)], [(one["low"], one["high"])])))
    return forest(rows, x_label="loss, nats: left is better", title=title) if rows else None


def calibration_chart(sides: Sequence[Mapping[str, Any]], *, title: str) -> Chart:
    """Draw how often answers of a given confidence are right, for one model or two, with cluster intervals.

    Below, how many answers there are of each confidence, of the first model.
    """
    x, y = Axis(0.0, 100.0, LEFT, WIDTH - RIGHT), Axis(-18.0, 102.0, HEIGHT - BOTTOM, TOP)
    parts = list(frame(x, y, "confidence, %", "right, %"))
    parts.append(f'<line class="zero" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(100):.1f}" y2="{y(100):.1f}"/>')
    largest = max(one["count"] for one in sides[0]["bins"])
    for one in sides[0]["bins"]:
        tall = max(1.5, _STRIP * one["count"] / largest)
        low, high = (x(100.0 * one[end]) for end in ("low", "high"))
        said = f"{one['count']:,} answers given about {one['confidence']:.0%}: {one['accuracy']:.0%} right"
        parts.append(
            f'<rect class="count" x="{low + 1:.1f}" y="{HEIGHT - BOTTOM - tall:.1f}" width="{high - low - 2:.1f}" '
            f'height="{tall:.1f}"><title>{escape(said)}</title></rect>'
        )
    for colour, side in enumerate(sides):
        for one in side["bins"]:
            at, ends = x(100.0 * one["confidence"]), one["interval"]
            if ends[0] is not None:
                parts.append(stroke(colour, (at, y(100.0 * ends[0])), (at, y(100.0 * ends[1]))))
            parts.append(mark(colour, at, y(100.0 * one["accuracy"])))
    return Chart(title, HEIGHT, "".join(parts))
