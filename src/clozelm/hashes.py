"""64-bit hashes of words and of runs of words, for tables that need no text.

Words are runs of token ids; two different ones share a hash with a probability of about 2^-64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

# Odd constants of the finalisers of SplitMix64 (Steele et al. 2014) and, for places, of Fibonacci hashing.
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_PLACE = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_SPARSE = 8  # bytes of a set's first table for every key


def word_hashes(input_ids: NDArray[Any], starts: NDArray[np.int64]) -> Hashes:
    """Hash the words of a run of tokens, uint64[words]: the ids of each, and their order.

    ``starts`` are the ascending places of the first tokens; a word ends before the next one, the last at the end.
    Tokens before the first start are in no word.
    """
    if not starts.size:
        return np.empty(0, np.uint64)
    first = int(starts[0])
    inner = starts - first if first else starts
    mixed = input_ids[first:].astype(np.uint64)
    place = np.arange(mixed.size)
    place -= inner.repeat(lengths_between(inner, mixed.size))
    mixed += place.view(np.uint64) * _PLACE
    _mix(mixed)
    hashes: Hashes = np.add.reduceat(mixed, inner)
    return hashes


def lengths_between(starts: NDArray[np.int64], stop: int) -> NDArray[np.int64]:
    """Return how far it is from each start to the next, from the last to ``stop``; sooner than ``np.diff`` does."""
    lengths = np.empty(starts.size, np.int64)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1:] = stop - starts[-1:]
    return lengths


def longer_hashes(shorter: Hashes, words: Hashes) -> Hashes:
    """Hash runs of n words from those of n - 1, uint64[words - n + 1]; item i is of words i to i + n - 1.

    ``shorter`` has one item for every run of n - 1 of ``words``; for n = 2 it is ``words``.
    """
    count = shorter.size - 1
    if count < 1:
        return np.empty(0, np.uint64)
    mixed = shorter[:-1] * _PLACE
    mixed += words[words.size - count :]
    return _mix(mixed)


def _mix(values: Hashes) -> Hashes:
    """Scatter the bits of every item, in place."""
    values *= _FIRST
    values ^= values >> _SHIFT
    values *= _SECOND
    values ^= values >> _SHIFT
    return values


class HashSet:
    """A set of hashes to look many up in at once: for most that are not there, their first bits alone say so."""

    def __init__(self, keys: Hashes) -> None:
        """Take ascending keys."""
        bits = max(8, int(keys.size * _SPARSE).bit_length())
        self._keys, self._shift = keys, np.uint64(64 - bits)
        self._may_be = np.zeros(1 << bits, np.bool_)
        self._may_be[keys >> self._shift] = True

    def places(self, keys: Hashes) -> NDArray[np.int64]:
        """Return at which places of ``keys`` there is one of the set, ascending."""
        maybe = self._may_be[keys >> self._shift].nonzero()[0]
        places: NDArray[np.int64] = maybe[found_in(self._keys, keys[maybe])[1]]
        return places


def found_in(sorted_keys: Hashes, keys: Hashes) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Look ``keys`` up in ascending ``sorted_keys``: a place for each, and whether it is really there."""
    place = sorted_keys.searchsorted(keys)
    if not sorted_keys.size:
        return place, np.zeros(keys.size, np.bool_)
    np.minimum(place, sorted_keys.size - 1, out=place)
    return place, sorted_keys[place] == keys
