"""PMI masking: collocations, words that belong together, are hidden together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clozelm.hashes import Hashes, HashSet, longer_hashes, word_hashes
from clozelm.masking.candidates import Candidates, Selection
from clozelm.masking.whole_word import choose_whole


@dataclass(frozen=True)
class Pmi:
    """Cut the text into collocations and single words, and choose among them as ``whole_word`` does.

    ``tables[i]`` holds the hashes of the collocations of i + 2 words, ascending; see ``clozelm.data.collocations``.
    From left to right, the longest collocation that begins at a word is taken as one unit. The paper does not say
    how overlaps are resolved. No collocation crosses a special token, nor begins or ends in a cut word.
    Source: Levine et al. 2020, "PMI-Masking: principled masking of correlated spans", section 4.
    Relations: Equals ``whole_word`` when the tables are empty.
    """

    tables: Sequence[Hashes] = ()

    @cached_property
    def _sets(self) -> list[HashSet]:
        return [HashSet(table) for table in self.tables]

    def select(self, candidates: Candidates, rng: np.random.Generator) -> Selection:
        """Choose collocations and words in one document piece; may choose none in a short one."""
        return choose_whole(self._units(candidates), candidates, rng)

    def _units(self, candidates: Candidates) -> NDArray[np.int64]:
        """Number the units from 0, token by token."""
        starts = piece_words(candidates)
        keys = word_hashes(candidates.input_ids, starts)
        lengths = np.ones(keys.size, dtype=np.int64)
        runs = keys
        for words, table in enumerate(self._sets, 2):
            runs = longer_hashes(runs, keys)
            lengths[table.places(runs)] = words
        matches = (lengths > 1).nonzero()[0]
        inner: list[int] = []
        stop = 0
        for first, length in zip(matches.tolist(), lengths[matches].tolist(), strict=True):
            if first >= stop:
                stop = first + length
                inner.extend(range(first + 1, stop))
        return joined_units(candidates, starts[inner])


def piece_words(candidates: Candidates) -> NDArray[np.int64]:
    """Return where the words of a document piece begin, ascending.

    Every special token begins a word here, and what follows it inside a word belongs to it; the words are the whole
    piece.
    """
    is_start = candidates.word_starts | ~candidates.may_mask
    is_start[:1] = True
    return is_start.nonzero()[0]


def joined_units(candidates: Candidates, inner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number words from 0, token by token, those that begin at the places ``inner`` with the word before."""
    is_start = candidates.word_starts.copy()
    is_start[inner] = False
    unit: NDArray[np.int64] = is_start.cumsum()
    unit -= unit[0]
    return unit
