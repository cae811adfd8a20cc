"""What is known of a word before any model sees it: how frequent it is, how written, its sentence's length."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clozelm.data.rows import Tokens
from clozelm.rng import generator
from clozelm.vocab import SENTENCE_START, WORD_START

SHAPES = (
    "lower case",
    "Capitalised",
    "Capitalised, first word",
    "CAPITALS",
    "miXed case",
    "with digits",
    "punctuation",
    "script without case",
)
_LOWER, _CAPITALISED, _FIRST, _CAPITALS, _MIXED, _DIGITS, _PUNCTUATION, _CASELESS = range(len(SHAPES))
_SLOTS = 1 << 22
_LONGEST_WORD = 64
_TOKENS_AT_ONCE = 1 << 20


@lru_cache(maxsize=1 << 16)
def shape_of(word: str) -> int:
    """Return the place in ``SHAPES`` of how a word is written, wherever it stands; "I" and "A" are Capitalised."""
    letters = [char for char in word if char.isalpha()]
    if any(char.isnumeric() for char in word):
        return _DIGITS
    if not letters:
        return _PUNCTUATION
    cased = "".join(char for char in letters if char.lower() != char.upper())
    if not cased:
        return _CASELESS
    if cased.islower():
        return _LOWER
    if cased[0].isupper() and cased[1:] == cased[1:].lower():
        return _CAPITALISED
    return _CAPITALS if cased.isupper() else _MIXED


def shapes_and_lengths(
    text: str, offsets: NDArray[np.int32], flags: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return for every piece of a text the shape of its word and the word's characters, at most 255."""
    firsts = starts_of(flags)
    sizes = np.diff(np.append(firsts, len(flags)))
    shapes, lengths = np.zeros((2, len(firsts)), np.uint8)
    begins, ends = offsets[firsts, 0].tolist(), offsets[firsts + sizes - 1, 1].tolist()
    is_first = ((flags[firsts] & SENTENCE_START) > 0).tolist()
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        shape = shape_of(text[begin:end])
        shapes[number] = _FIRST if shape == _CAPITALISED and is_first[number] else shape
        lengths[number] = min(end - begin, 255)
    return np.repeat(shapes, sizes), np.repeat(lengths, sizes)


def starts_of(flags: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return where words begin; the first piece always begins one."""
    is_start = (flags & WORD_START) > 0
    is_start[:1] = True
    return np.flatnonzero(is_start)


def sentence_words(flags: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return for every piece of a document how many words its sentence has, at most 65,535."""
    is_first = (flags & SENTENCE_START) > 0
    is_first[:1] = True
    sentence = np.cumsum(is_first) - 1
    words = np.bincount(sentence, weights=(flags & WORD_START) > 0)
    counts: NDArray[np.uint16] = np.minimum(np.maximum(words, 1), 65_535).astype(np.uint16)[sentence]
    return counts


def word_keys(ids: NDArray[np.integer], flags: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return a hash of every word's pieces, and how many these are."""
    firsts = starts_of(flags)
    sizes = np.diff(np.append(firsts, len(ids)))
    if not len(ids):
        return np.zeros(0, np.uint64), sizes
    place = np.arange(len(ids)) - np.repeat(firsts, sizes)
    factors = generator(0, "word keys").integers(1, 2**63, _LONGEST_WORD, dtype=np.uint64) | np.uint64(1)
    with np.errstate(over="ignore"):
        weighted = (ids.astype(np.uint64) + np.uint64(1)) * factors[np.minimum(place, _LONGEST_WORD - 1)]
        keys: NDArray[np.uint64] = np.add.reduceat(weighted, firsts)
        keys = (keys ^ (keys >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        keys ^= keys >> np.uint64(31)
    return keys, sizes


class WordCounts:
    """How often words occur, in 32 MB however many there are: two tables of hashes, the smaller count holds.

    Never too small; too large where a word shares its slot in both tables with others.
    """

    def __init__(self) -> None:
        self._tables = np.zeros((2, _SLOTS), np.uint32)

    @classmethod
    def of(cls, store: Tokens) -> WordCounts:
        """Count the words of a store."""
        counts, first = cls(), 0
        while first < store.num_documents:
            begin = int(store.offsets[first])
            last = int(np.searchsorted(store.offsets, begin + _TOKENS_AT_ONCE, "right")) - 1
            last = max(last, first + 1)
            end = int(store.offsets[last])
            counts.add(word_keys(store.tokens(begin, end), _with_starts(store, begin, end))[0])
            first = last
        return counts

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Count words once more each."""
        for table, slots in zip(self._tables, _slots(keys), strict=True):
            np.add.at(table, slots, 1)

    def __getitem__(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return how often words occur."""
        first, second = (table[slots] for table, slots in zip(self._tables, _slots(keys), strict=True))
        return np.minimum(first, second).astype(np.int64)


def _with_starts(store: Tokens, begin: int, end: int) -> NDArray[np.uint8]:
    """Return flags in which every document begins a word."""
    flags = np.array(store.flags(begin, end))
    edges = store.offsets[np.searchsorted(store.offsets, begin) : np.searchsorted(store.offsets, end)]
    flags[edges[edges < end] - begin] |= WORD_START
    return flags


def _slots(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    mask = np.uint64(_SLOTS - 1)
    return (keys & mask).astype(np.int64), ((keys >> np.uint64(40)) & mask).astype(np.int64)
