"""Charts of what a classifier answered: confusion, confidence, and numbers against the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clozelm.report.page_parts import plain
from clozelm.report.statistics import share_interval
from clozelm.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Chart, frame, mark, stroke

_STRIP = 34.0  # height of the strip of counts, in pixels
_DOTS = 2000
_EDGE = 26


def reliability(bins: Sequence[Mapping[str, Any]], *, title: str) -> Chart:
    """Draw how often answers of a given confidence are right, with 95% intervals, and how many there are.

    A calibrated model's points lie on the dashed line. Of a bin are read "confidence", "accuracy" and "count".
    """
    filled = [one for one in bins if one.get("count") and one.get("confidence") is not None]
    x, y = Axis(0.0, 100.0, LEFT, WIDTH - RIGHT), Axis(-18.0, 102.0, HEIGHT - BOTTOM, TOP)
    parts = [*frame(x, y, "confidence, %", "right, %"), _diagonal(x, y, 0.0, 100.0)]
    largest = max([one["count"] for one in filled], default=1)
    for one in filled:
        tall = max(1.5, _STRIP * one["count"] / largest)
        low, high = (100.0 * one.get(end, one["confidence"]) for end in ("low", "high"))
        said = f"confidence {one['confidence']:.1%}: {one['accuracy']:.1%} of {one['count']:,} right"
        parts.append(
            f'<rect class="count" x="{x(low) + 1:.1f}" y="{HEIGHT - BOTTOM - tall:.1f}" '
            f'width="{max(1.0, x(high) - x(low) - 2):.1f}" height="{tall:.1f}"><title>{plain(said)}</title></rect>'
        )
    for one in filled:
        at = x(100.0 * one["confidence"])
        ends = share_interval(one["accuracy"] * one["count"], one["count"])
        parts.append(stroke(0, (at, y(100.0 * ends[0])), (at, y(100.0 * ends[1]))))
    parts += [mark(0, x(100.0 * one["confidence"]), y(100.0 * one["accuracy"])) for one in filled]
    return Chart(title, HEIGHT, "".join(parts))


def scatter(pairs: Sequence[tuple[float, float]], *, title: str) -> Chart:
    """Draw predictions over the truth on equal axes; of more than 2,000 pairs an even choice."""
    values = [value for pair in pairs for value in pair]
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 1.0
    low, high = low - margin, high + margin
    x, y = Axis(low, high, LEFT, WIDTH - RIGHT), Axis(low, high, HEIGHT - BOTTOM, TOP)
    parts = [*frame(x, y, "truth", "prediction"), _diagonal(x, y, low, high)]
    every = math.ceil(len(pairs) / _DOTS)
    parts += [f'<circle class="dot" cx="{x(px):.1f}" cy="{y(py):.1f}" r="3.2"/>' for px, py in pairs[::every]]
    return Chart(title, HEIGHT, "".join(parts))


def matrix(rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]], *, title: str) -> Chart:
    """Draw a confusion matrix of many classes without their names: a square's strength is its share of the row.

    Squares on the diagonal (equal names) and beside it differ in colour; each says its names when pointed at.
    """
    size = (WIDTH - _EDGE - 2) / max(len(rows), len(columns))
    wide, tall = size * len(columns), size * len(rows)
    parts = [f'<rect class="plane" x="{_EDGE}" y="{_EDGE}" width="{wide:.1f}" height="{tall:.1f}"/>']
    parts += _squares(rows, columns, counts, size)
    parts.append(f'<text class="axis" x="{_EDGE + wide / 2:.0f}" y="{_EDGE - 9}">answer →</text>')
    middle = _EDGE + tall / 2
    parts.append(f'<text class="axis" transform="translate(16 {middle:.0f}) rotate(-90)">← truth</text>')
    return Chart(title, _EDGE + tall + 2, "".join(parts))


def _squares(
    rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]], size: float
) -> Iterator[str]:
    for i, (truth, row) in enumerate(zip(rows, counts, strict=True)):
        total = sum(row)
        for j, (predicted, count) in enumerate(zip(columns, row, strict=True)):
            if not count:
                continue
            kind = "right" if truth == predicted else "wrong"
            said, strength = f"{truth} → {predicted}: {count:,} of {total:,}", 0.12 + 0.88 * count / total
            yield (
                f'<rect class="{kind}" x="{_EDGE + j * size:.1f}" y="{_EDGE + i * size:.1f}" width="{size:.1f}" '
                f'height="{size:.1f}" opacity="{strength:.2f}"><title>{plain(said)}</title></rect>'
            )


def _diagonal(x: Axis, y: Axis, low: float, high: float) -> str:
    return f'<line class="zero" x1="{x(low):.1f}" y1="{y(low):.1f}" x2="{x(high):.1f}" y2="{y(high):.1f}"/>'
