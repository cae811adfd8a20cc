"""Charts as SVG without script, inside a page in its colours, or as files of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 310
MARGIN = 16  # around the chart in a file of its own
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 14, 48
_SIGNS = "●■▲◆▼✚✖★"
COLOURS = 8
_APART = 11.0  # pixels between the middles of two marks
_LETTER = 7.4  # pixels, on average, of a name


@dataclass(frozen=True)
class Line:
    """One thing drawn: its colour (an arm's number), points (x, y), and the 95% interval of y at each or None.

    A faint line has no mark, others have one at the end, and a marked one at every point.
    """

    colour: int
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float] | None] = ()
    is_faint: bool = False
    is_marked: bool = False


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

    def written(self, tick: float) -> str:
        """Write a tick with the digits that tell it from its neighbours, and thousands as k, M, G, T, P."""
        largest, ticks = max(abs(self.low), abs(self.high)), self.ticks()
        power = max(0, min(int(math.log10(largest)) // 3, 6)) if largest >= 10_000 else 0
        spacing = (ticks[1] - ticks[0]) / 1000**power if len(ticks) > 1 else 1.0
        if tick == 0.0:
            return "0"
        digits = max(0, -math.floor(math.log10(spacing) + 1e-9))
        return f"{tick / 1000**power:.{digits}f}".replace("-", "−") + ["", "k", "M", "G", "T", "P", "E"][power]


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic scale from data above 0 to pixels."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self, count: int = 8) -> list[float]:
        """Return 1, 2 and 5 of every power of ten on the axis, or fewer where these are more than ``count``."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            every = [factor * 10.0**power for power in powers for factor in factors]
            kept = [tick for tick in every if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]
            if len(kept) <= count:
                break
        return kept

    def written(self, tick: float) -> str:
        """Write a tick, thousands as k, M, G, T, P."""
        power = max(0, min(math.floor(math.log10(tick) + 1e-9) // 3, 6)) if tick >= 10_000 else 0
        return f"{tick / 1000**power:g}" + ["", "k", "M", "G", "T", "P", "E"][power]


Scale = Axis | LogAxis


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


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    title: str,
    is_log: bool = False,
    uprights: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Draw lines and the bands of their intervals over an axis that begins at 0, or a logarithmic one.

    ``uprights`` are places on it to mark, each with a word.
    """
    drawn = [line for line in lines if line.points]
    x, y = _log_axes(drawn) if is_log else _axes(drawn, x_from_zero=True)
    parts = [*frame(x, y, x_label, y_label), *(_band(line, x, y) for line in drawn if line.intervals)]
    parts += [part for at, word in uprights for part in _upright(x, at, word)]
    for line in drawn:
        faint = " faint" if line.is_faint else ""
        path = " ".join(f"{x(px):.1f},{y(py):.1f}" for px, py in line.points)
        parts.append(f'<polyline class="line c{line.colour % COLOURS}{faint}" points="{path}"/>')
        if not line.is_faint:
            marked = line.points if line.is_marked else line.points[-1:]
            parts += [mark(line.colour, x(px), y(py)) for px, py in marked]
    return Chart(title, HEIGHT, "".join(parts))


def point_chart(lines: Sequence[Line], *, x_label: str, y_label: str, title: str) -> Chart:
    """Draw a point for every arm, with its interval upright; those that would hide each other are moved aside."""
    drawn = [line for line in lines if line.points]
    x, y = _axes(drawn, x_from_zero=True)
    parts = list(frame(x, y, x_label, y_label))
    points = [
        (line.colour, x(px), py, interval)
        for line in drawn
        for (px, py), interval in zip(line.points, line.intervals or [None] * len(line.points), strict=True)
    ]
    places = _apart([at for _, at, _, _ in points])
    for (colour, _, py, interval), at in zip(points, places, strict=True):
        if interval is not None:
            low, high = (y(max(min(end, y.high), y.low)) for end in interval)
            parts.append(stroke(colour, (at, low), (at, high)))
        parts.append(mark(colour, at, y(py)))
    return Chart(title, HEIGHT, "".join(parts))


def forest(rows: Sequence[tuple[str, Line]], *, x_label: str, title: str) -> Chart:
    """Draw a row for every named difference: a point with its interval, and an upright line at no difference."""
    height = 34 * len(rows) + 14 + BOTTOM
    ends = [end for _, line in rows for each in line.intervals if each is not None for end in each]
    reach = max([abs(end) for end in ends] + [abs(px) for _, line in rows for px, _ in line.points] + [1e-9]) * 1.08
    x = Axis(-reach, reach, 170, WIDTH - RIGHT)
    parts = list(_ticks_below(x, height - BOTTOM, x_label))
    parts.append(f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="4" y2="{height - BOTTOM}"/>')
    for number, (label, line) in enumerate(rows):
        at = 24 + 34 * number
        parts.append(f'<text class="name" x="0" y="{at + 4}">{escape(label)}</text>')
        for (px, _), interval in zip(line.points, line.intervals or [None] * len(line.points), strict=True):
            if interval is not None:
                parts.append(stroke(line.colour, (x(interval[0]), at), (x(interval[1]), at)))
            parts.append(mark(line.colour, x(px), at))
    return Chart(title, height, "".join(parts))


def frame(x: Scale, y: Axis, x_label: str, y_label: str) -> Iterator[str]:
    """Draw the grid, the ticks and what the axes are."""
    for tick in y.ticks():
        at = y(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{y.written(tick)}</text>'
    yield from _ticks_below(x, HEIGHT - BOTTOM, x_label)
    middle = (HEIGHT - BOTTOM + TOP) / 2
    yield f'<text class="axis" transform="translate(14 {middle:.0f}) rotate(-90)">{escape(y_label)}</text>'


def mark(colour: int, x: float, y: float) -> str:
    """Draw the sign of a colour at a pixel."""
    return f'<text class="mark f{colour % COLOURS}" x="{x:.1f}" y="{y + 4.5:.1f}">{sign(colour)}</text>'


def stroke(colour: int, begin: tuple[float, float], end: tuple[float, float]) -> str:
    """Draw an interval between two pixels."""
    (x1, y1), (x2, y2) = begin, end
    return f'<line class="interval c{colour % COLOURS}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


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
    margin = 0.06 * (high - low) or 0.5 * spread
    right = max(xs) * 1.04 or 1.0
    return (
        Axis(0.0 if x_from_zero else min(xs), right, LEFT, WIDTH - RIGHT),
        Axis(low - margin, high + margin, HEIGHT - BOTTOM, TOP),
    )


def _log_axes(lines: Sequence[Line]) -> tuple[LogAxis, Axis]:
    xs = [px for line in lines for px, _ in line.points]
    _, y = _axes(lines, x_from_zero=False)
    return LogAxis(min(xs) / 1.25, max(xs) * 1.25, LEFT, WIDTH - RIGHT), y


def _band(line: Line, x: Scale, y: Axis) -> str:
    """Fill between the ends of the intervals, cut where they leave the chart."""
    known = [
        (x(px), *(y(max(min(end, y.high), y.low)) for end in interval))
        for (px, _), interval in zip(line.points, line.intervals, strict=True)
        if interval is not None
    ]
    path = [f"{px:.1f},{low:.1f}" for px, low, _ in known] + [f"{px:.1f},{high:.1f}" for px, _, high in known[::-1]]
    return f'<polygon class="band f{line.colour % COLOURS}" points="{" ".join(path)}"/>'


def _upright(x: Scale, at: float, word: str) -> Iterator[str]:
    pixel = x(at)
    is_right = pixel > (x.begin + x.end) / 2
    yield f'<line class="zero" x1="{pixel:.1f}" x2="{pixel:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    anchor, place = ("end", pixel - 5) if is_right else ("start", pixel + 5)
    yield f'<text class="tick" x="{place:.1f}" y="{TOP + 11}" text-anchor="{anchor}">{escape(word)}</text>'


def _ticks_below(x: Scale, bottom: float, label: str) -> Iterator[str]:
    for tick in x.ticks():
        at = x(tick)
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
        yield f'<text class="tick" x="{at:.1f}" y="{bottom + 19}" text-anchor="middle">{x.written(tick)}</text>'
    yield f'<text class="axis" x="{(x.begin + x.end) / 2:.0f}" y="{bottom + 40}">{escape(label)}</text>'


def _legend(arms: Sequence[tuple[int, str]]) -> tuple[str, int]:
    """Write the marks and names of arms in rows; return them and the number of rows."""
    x, row, parts = float(MARGIN), 0, []
    for colour, label in arms:
        width = 34.0 + _LETTER * len(label)
        if x > MARGIN and x + width > WIDTH + MARGIN:
            x, row = float(MARGIN), row + 1
        y = MARGIN + 38 + 22 * row
        parts.append(mark(colour, x + 7, y - 4.5))
        parts.append(f'<text class="name" x="{x + 19:.0f}" y="{y}">{escape(label)}</text>')
        x += width
    return "".join(parts), row + 1 if arms else 0
