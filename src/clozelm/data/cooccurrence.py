"""Count which pieces stand near each other in a token store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clozelm.data.counts import SLICE_TOKENS
from clozelm.data.rows import Tokens

REACH = 4
MOST_TOKENS = 20_000_000
_MOST_CELLS = 1 << 27  # half a gigabyte


@dataclass(frozen=True)
class Cooccurrences:
    """How often pieces (rows) stood near context pieces (columns), a pair k tokens apart counting 1/k.

    ``contexts`` are the ids of the columns: all that occur, or the most frequent of a large vocabulary.
    """

    counts: Float[np.ndarray, "vocab contexts"]
    contexts: NDArray[np.int64]


def cooccurrences(store: Tokens, is_special: NDArray[np.bool_], unigrams: NDArray[np.int64]) -> Cooccurrences:
    """Count pairs at most ``REACH`` apart within a document, of ordinary pieces, in either order.

    ``is_special`` and ``unigrams`` go by id. Of a store of more than ``MOST_TOKENS`` slices of a million tokens are
    read, spread evenly.
    """
    usual = np.where(is_special, 0, unigrams)
    most = max(1, _MOST_CELLS // len(usual))
    contexts = np.sort(np.argsort(-usual, kind="stable")[:most])
    contexts = contexts[usual[contexts] > 0]
    column = np.full(len(usual), -1, np.int64)
    column[contexts] = np.arange(len(contexts))
    counts = np.zeros(len(usual) * len(contexts), np.float32)
    for low, high in _slices(store):
        ids = store.tokens(low, high).astype(np.int64)
        document = store.offsets.searchsorted(np.arange(low, high), side="right")
        is_usual = ~is_special[ids]
        for distance in range(1, min(REACH, len(ids) - 1) + 1):
            one, other = ids[:-distance], ids[distance:]
            is_pair = (document[:-distance] == document[distance:]) & is_usual[:-distance] & is_usual[distance:]
            for row, near in ((one, other), (other, one)):
                keys = (row * len(contexts) + column[near])[is_pair & (column[near] >= 0)]
                # Sorted, so that the table is walked through and not jumped about in: twenty times faster.
                np.add.at(counts, np.sort(keys.astype(np.uint32)), np.float32(1 / distance))
    return Cooccurrences(counts.reshape(len(usual), len(contexts)), contexts)


def _slices(store: Tokens) -> list[tuple[int, int]]:
    """Return where to read: all of a small store, else slices at equal distances."""
    starts = np.arange(0, store.num_tokens, SLICE_TOKENS)
    wanted = max(1, MOST_TOKENS // SLICE_TOKENS)
    if len(starts) > wanted:
        starts = starts[np.linspace(0, len(starts) - 1, wanted).astype(np.int64)]
    return [(int(low), min(int(low) + SLICE_TOKENS, store.num_tokens)) for low in starts]
