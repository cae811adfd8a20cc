"""What a masking strategy is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Candidates(NamedTuple):
    """Hold one document piece of ``n`` tokens, its special tokens included.

    ``word_starts`` is never set late: pieces before the first word start are the end of a word that
    was cut, and belong to one word. Arrays may be views of a batch; never write to them.
    """

    input_ids: NDArray[np.int64]
    may_mask: NDArray[np.bool_]
    word_starts: NDArray[np.bool_]
    flags: NDArray[np.uint8]
    rate: float


class Selection(NamedTuple):
    """Say which of the ``n`` tokens to predict and which share one corruption draw.

    ``group`` holds numbers in [0, n); tokens with the same number get the same corruption. It is read
    at chosen positions only.
    """

    chosen: NDArray[np.bool_]
    group: NDArray[np.int64]


Select = Callable[[Candidates, np.random.Generator], Selection]


def draw_budget(num_tokens: int, rate: float, rng: np.random.Generator) -> int:
    """Round ``rate * num_tokens`` up or down at random, so that its mean is exact.

    Rounding to nearest would mask 20% of all 5-token sentences at a rate of 0.15, and 14% of those of 7.
    """
    return int(rate * num_tokens + rng.random())
