"""Count runs of words over a corpus: streaming, in tables of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clozelm.data.rows import Tokens
from clozelm.hashes import Hashes, found_in, longer_hashes, word_hashes
from clozelm.vocab import WORD_START

SLICE_TOKENS = 1 << 20


class CountTable:
    """Counts by key, exact while at most ``most`` keys are there; beyond that rare ones are forgotten.

    When there are more, all keys of at most some count are dropped, that count being the smallest that halves the
    table; ``lost`` adds those counts up. Any count is then at most ``lost`` too low, a key that is not there
    occurred at most ``lost`` times, and no count is too high. Source: the lossy counting of Manku & Motwani 2002,
    "Approximate frequency counts over data streams", with a size given instead of an error.
    ``first`` is the smallest place given with a key since it was last new.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.keys: Hashes = np.empty(0, np.uint64)
        self.counts: NDArray[np.int64] = np.empty(0, np.int64)
        self.first: NDArray[np.int64] = np.empty(0, np.int64)
        self.lost = 0

    def add(self, keys: Hashes, places: NDArray[np.int64]) -> None:
        """Count every item of ``keys`` once; ``places`` are ascending, and above those of earlier calls."""
        new, first, counts = np.unique(keys, return_index=True, return_counts=True)
        place, is_there = found_in(self.keys, new)
        self.counts[place[is_there]] += counts[is_there]
        if not is_there.all():
            at = place_of_new(self.keys, new[~is_there])
            self.keys = np.insert(self.keys, at, new[~is_there])
            self.counts = np.insert(self.counts, at, counts[~is_there])
            self.first = np.insert(self.first, at, places[first[~is_there]])
        if self.keys.size > self.most:
            self._forget()

    def keep(self, is_kept: NDArray[np.bool_]) -> None:
        """Drop the others."""
        self.keys, self.counts, self.first = self.keys[is_kept], self.counts[is_kept], self.first[is_kept]

    def counts_of(self, keys: Hashes) -> NDArray[np.int64]:
        """Return the counts of keys, 0 where one is not there."""
        place, is_there = found_in(self.keys, keys)
        counts = np.zeros(keys.size, np.int64)
        counts[is_there] = self.counts[place[is_there]]
        return counts

    def _forget(self) -> None:
        kept = self.most // 2
        threshold = int(np.partition(self.counts, self.counts.size - 1 - kept)[self.counts.size - 1 - kept])
        self.lost += threshold
        self.keep(self.counts > threshold)


def place_of_new(sorted_keys: Hashes, new: Hashes) -> NDArray[np.int64]:
    """Say where new keys go in a sorted table, as ``np.insert`` wants it."""
    return np.asarray(sorted_keys.searchsorted(new), np.int64)


@dataclass(frozen=True)
class WordSlice:
    """Some whole documents as words: hashes, where each begins in the corpus, where its document ends.

    ``first`` is the place of a word's first token; ``left`` counts the words from each to the end of its document,
    or to the next word with a special token: a run of n words is one that may be counted where ``left`` >= n.
    """

    keys: Hashes
    first: NDArray[np.int64]
    left: NDArray[np.int64]

    def runs(self, longest: int) -> Iterator[tuple[int, Hashes, NDArray[np.bool_]]]:
        """Yield n, the hash of the n words from each word on, and whether they may be counted, n = 1 .. longest."""
        keys = self.keys
        for words in range(1, longest + 1):
            keys = keys if words == 1 else longer_hashes(keys, self.keys)
            yield words, keys, self.left[: keys.size] >= words


def word_slices(store: Tokens, is_special: NDArray[np.bool_]) -> Iterator[WordSlice]:
    """Read a store as words, some whole documents of about a million tokens at a time.

    A word is what lies between two word starts; a document begins one. ``is_special`` is bool[vocab].
    """
    offsets = store.offsets
    document = 0
    while document < store.num_documents:
        stop = int(offsets.searchsorted(offsets[document] + SLICE_TOKENS, side="right")) - 1
        stop = min(max(stop, document + 1), store.num_documents)
        low, high = int(offsets[document]), int(offsets[stop])
        if high > low:
            yield _words(store, low, high, offsets[document : stop + 1] - low, is_special)
        document = stop


def _words(
    store: Tokens, low: int, high: int, offsets: NDArray[np.int64], is_special: NDArray[np.bool_]
) -> WordSlice:
    ids = store.tokens(low, high)
    is_start = (store.flags(low, high) & WORD_START) != 0
    is_start[offsets[:-1][np.diff(offsets) > 0]] = True
    starts = is_start.nonzero()[0]
    bad = np.logical_or.reduceat(is_special[ids], starts)
    # The word before which a run must end: the first of the next document, or the next one that is bad.
    borders = np.unique(np.concatenate([starts.searchsorted(offsets[1:]), bad.nonzero()[0]]))
    here = np.arange(starts.size)
    left = borders[borders.searchsorted(here, side="right").clip(max=borders.size - 1)] - here
    left[bad] = 0
    return WordSlice(word_hashes(ids, starts), starts + low, left)
