"""Attention as pictures: one square for every head, rows look at columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clozelm.report.page_parts import plain
from clozelm.report.svg import Chart

MOST_PIECES = 48
_NAMED = 24
_WIDTH = 520.0
_LEVELS = 8
_LEAST = 0.02
_LETTER = 8.6
_LONGEST = 12


def attention_map(
    weights: NDArray[np.float32], pieces: Sequence[str], asking: Sequence[int], *, title: str
) -> Chart:
    """Draw float[pieces, pieces]: the darker a square, the more the piece of its row looks at that of its column.

    Rows of ``asking``, which give the answer, are framed. Weights below 2% are left white.
    """
    is_named = len(pieces) <= _NAMED
    names = [piece if len(piece) <= _LONGEST else piece[: _LONGEST - 1] + "…" for piece in pieces]
    edge = (max(map(len, names)) * _LETTER + 10) if is_named else 4.0
    size = (_WIDTH - edge - 2) / len(pieces)
    side = size * len(pieces)
    parts = [f'<rect class="plane" x="{edge:.1f}" y="{edge:.1f}" width="{side:.1f}" height="{side:.1f}"/>']
    parts += _squares(weights, edge, size)
    for row in asking:
        parts.append(
            f'<rect class="asking" x="{edge:.1f}" y="{edge + row * size:.1f}" width="{side:.1f}" '
            f'height="{size:.1f}"/>'
        )
    if is_named:
        parts += _names(names, edge, size)
    return Chart(title, edge + side + 3, "".join(parts))


def _squares(weights: NDArray[np.float32], edge: float, size: float) -> Iterator[str]:
    """Draw all squares of one strength as one path, which keeps pages of many heads small."""
    levels = np.where(weights < _LEAST, 0, np.ceil(weights * _LEVELS)).astype(np.int64)
    for level in range(1, _LEVELS + 1):
        places = np.argwhere(levels == level).tolist()
        if places:
            each = (
                f"M{edge + column * size:.1f} {edge + row * size:.1f}h{size:.1f}v{size:.1f}h-{size:.1f}z"
                for row, column in places
            )
            yield f'<path class="right" opacity="{0.08 + 0.92 * level / _LEVELS:.2f}" d="{"".join(each)}"/>'


def _names(names: Sequence[str], edge: float, size: float) -> Iterator[str]:
    for number, name in enumerate(names):
        at = edge + (number + 0.5) * size
        yield f'<text x="{edge - 5:.1f}" y="{at + 4.5:.1f}" text-anchor="end">{plain(name)}</text>'
        yield f'<text transform="translate({at + 4.5:.1f} {edge - 5:.1f}) rotate(-90)">{plain(name)}</text>'
