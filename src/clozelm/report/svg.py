"""Charts as SVG without script, inside a page in its colours, or as files of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 310
MARGIN = 16  # around the chart in a file of its own
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 14, 48
_SIGNS = "●■▲◆▼✚✖★"
COLOURS = 8
_APART = 11.0  # pixels between the middles of two marks
_LETTER = 7.4  # pixels, on average, of a name


@dataclass(frozen=True)
class Line:
    """One thing drawn: its colour (an arm's number), points (x, y), and the 95% interval of y at each or None."""

    colour: int
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float] | None] = ()
    is_faint: bool = False


@dataclass(frozen=True)
class Axis:
    """A linear scale from data to pixels, with round ticks."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)

    def ticks(self, count: int = 5) -> list[float]:
        """Return about ``count`` round numbers on the axis."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / count))
        step *= next(factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (step * factor) <= count)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Chart:
    """A drawn chart: its size in pixels, what it shows, and the SVG inside."""

    title: str
    height: float
    inner: str

    def inline(self) -> str:
        """Return the chart for a page, whose style sheet gives the colours."""
        label = escape(self.title, quote=True)
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height:.0f}" role="img" aria-label="{label}">'
            f"<title>{escape(self.title)}</title>{self.inner}</svg>"
        )

    def standalone(self, style: str, arms: Sequence[tuple[int, str]]) -> str:
        """Return the chart as a file: on a ground of its own, with title, legend of ``arms`` and style sheet."""
        legend, rows = _legend(arms)
        top = MARGIN + 26 + 22 * rows
        width, height = WIDTH + 2 * MARGIN, top + self.height + MARGIN
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
            f'viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(self.title, quote=True)}">'
            f"<title>{escape(self.title)}</title><style>{style}</style>"
            f'<rect class="ground" width="{width}" height="{height:.0f}" rx="10"/>'
            f'<text class="title" x="{MARGIN}" y="{MARGIN + 14}">{escape(self.title)}</text>{legend}'
            f'<g transform="translate({MARGIN} {top})">{self.inner}</g></svg>\n'
        )


def sign(colour: int) -> str:
    """Return the mark of an arm, so that colour is not all that tells arms apart."""
    return _SIGNS[colour % len(_SIGNS)]


def line_chart(lines: Sequence[Line], *, x_label: str, y_label: str, title: str) -> Chart:
    """Draw lines over an axis that begins at 0, with a mark at the end of each."""
    drawn = [line for line in lines if line.points]
    x, y = _axes(drawn, x_from_zero=True)
    parts = list(_frame(x, y, x_label, y_label))
    for line in drawn:
        faint = " faint" if line.is_faint else ""
        path = " ".join(f"{x(px):.1f},{y(py):.1f}" for px, py in line.points)
        parts.append(f'<polyline class="line c{line.colour % COLOURS}{faint}" points="{path}"/>')
        if not line.is_faint:
            parts.append(_mark(line.colour, x(line.points[-1][0]), y(line.points[-1][1])))
    return Chart(title, HEIGHT, "".join(parts))


def point_chart(lines: Sequence[Line], *, x_label: str, y_label: str, title: str) -> Chart:
    """Draw a point for every arm, with its interval upright; those that would hide each other are moved aside."""
    drawn = [line for line in lines if line.points]
    x, y = _axes(drawn, x_from_zero=True)
    parts = list(_frame(x, y, x_label, y_label))
    points = [
        (line.colour, x(px), py, interval)
        for line in drawn
        for (px, py), interval in zip(line.points, line.intervals or [None] * len(line.points), strict=True)
    ]
    places = _apart([at for _, at, _, _ in points])
    for (colour, _, py, interval), at in zip(points, places, strict=True):
        if interval is not None:
            low, high = (y(max(min(end, y.high), y.low)) for end in interval)
            parts.append(_stroke(colour, (at, low), (at, high)))
        parts.append(_mark(colour, at, y(py)))
    return Chart(title, HEIGHT, "".join(parts))


def forest(rows: Sequence[tuple[str, Line]], *, x_label: str, title: str) -> Chart:
    """Draw a row for every named difference: a point with its interval, and an upright line at no difference."""
    height = 34 * len(rows) + 14 + _BOTTOM
    ends = [end for _, line in rows for each in line.intervals if each is not None for end in each]
    reach = max([abs(end) for end in ends] + [abs(px) for _, line in rows for px, _ in line.points] + [1e-9]) * 1.08
    x = Axis(-reach, reach, 170, WIDTH - _RIGHT)
    parts = list(_ticks_below(x, height - _BOTTOM, x_label))
    parts.append(f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="4" y2="{height - _BOTTOM}"/>')
    for number, (label, line) in enumerate(rows):
        at = 24 + 34 * number
        parts.append(f'<text class="name" x="0" y="{at + 4}">{escape(label)}</text>')
        for (px, _), interval in zip(line.points, line.intervals or [None] * len(line.points), strict=True):
            if interval is not None:
                parts.append(_stroke(line.colour, (x(interval[0]), at), (x(interval[1]), at)))
            parts.append(_mark(line.colour, x(px), at))
    return Chart(title, height, "".join(parts))


def _apart(places: Sequence[float]) -> list[float]:
    """Move places that are closer than a mark is wide apart from each other, around their middle."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[list[int]] = []
    for index in order:
        if groups and places[index] - places[groups[-1][-1]] < _APART:
            groups[-1].append(index)
        else:
            groups.append([index])
    moved = list(places)
    for group in groups:
        middle = sum(places[index] for index in group) / len(group)
        for turn, index in enumerate(group):
            moved[index] = middle + _APART * (turn - (len(group) - 1) / 2)
    return moved


def _axes(lines: Sequence[Line], *, x_from_zero: bool) -> tuple[Axis, Axis]:
    xs = [px for line in lines for px, _ in line.points]
    ys = [py for line in lines for _, py in line.points]
    spread = max(ys) - min(ys) or abs(ys[0]) * 0.1 or 1.0
    reach = [end for line in lines for each in line.intervals if each is not None for end in each]
    # Intervals of two seeds can be very wide: what lies beyond twice the spread of the points is cut off.
    kept = [end for end in reach if min(ys) - 2 * spread <= end <= max(ys) + 2 * spread]
    kept += [min(max(end, min(ys) - 2 * spread), max(ys) + 2 * spread) for end in reach]
    low, high = min(ys + kept), max(ys + kept)
    margin = 0.06 * (high - low) or 0.05
    right = max(xs) * 1.04 or 1.0
    return (
        Axis(0.0 if x_from_zero else min(xs), right, _LEFT, WIDTH - _RIGHT),
        Axis(low - margin, high + margin, HEIGHT - _BOTTOM, _TOP),
    )


def _frame(x: Axis, y: Axis, x_label: str, y_label: str) -> Iterator[str]:
    for tick in y.ticks():
        at = y(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="tick" x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_short(tick, y)}</text>'
    yield from _ticks_below(x, HEIGHT - _BOTTOM, x_label)
    middle = (HEIGHT - _BOTTOM + _TOP) / 2
    yield f'<text class="axis" transform="translate(14 {middle:.0f}) rotate(-90)">{escape(y_label)}</text>'


def _ticks_below(x: Axis, bottom: float, label: str) -> Iterator[str]:
    for tick in x.ticks():
        at = x(tick)
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
        yield f'<text class="tick" x="{at:.1f}" y="{bottom + 19}" text-anchor="middle">{_short(tick, x)}</text>'
    yield f'<text class="axis" x="{(x.begin + x.end) / 2:.0f}" y="{bottom + 40}">{escape(label)}</text>'


def _short(value: float, axis: Axis) -> str:
    """Write a tick with the digits that tell it from its neighbours, and thousands as k, M, G, T, P."""
    largest = max(abs(axis.low), abs(axis.high))
    power = max(0, min(int(math.log10(largest)) // 3, 6)) if largest >= 10_000 else 0
    scaled = value / 1000**power
    spacing = (axis.ticks()[1] - axis.ticks()[0]) / 1000**power if len(axis.ticks()) > 1 else 1.0
    if value == 0.0:
        return "0"
    digits = max(0, -math.floor(math.log10(spacing) + 1e-9))
    return f"{scaled:.{digits}f}".replace("-", "−") + ["", "k", "M", "G", "T", "P", "E"][power]


def _mark(colour: int, x: float, y: float) -> str:
    return f'<text class="mark f{colour % COLOURS}" x="{x:.1f}" y="{y + 4.5:.1f}">{sign(colour)}</text>'


def _stroke(colour: int, begin: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = begin, end
    return f'<line class="interval c{colour % COLOURS}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _legend(arms: Sequence[tuple[int, str]]) -> tuple[str, int]:
    """Write the marks and names of arms in rows; return them and the number of rows."""
    x, row, parts = float(MARGIN), 0, []
    for colour, label in arms:
        width = 34.0 + _LETTER * len(label)
        if x > MARGIN and x + width > WIDTH + MARGIN:
            x, row = float(MARGIN), row + 1
        y = MARGIN + 38 + 22 * row
        parts.append(_mark(colour, x + 7, y - 4.5))
        parts.append(f'<text class="name" x="{x + 19:.0f}" y="{y}">{escape(label)}</text>')
        x += width
    return "".join(parts), row + 1 if arms else 0
