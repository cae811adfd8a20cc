"""What a token store holds, counted in one pass over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clozelm.data.pack import num_windows, plan_window
from clozelm.data.prepare import HELD_OUT
from clozelm.data.store import TokenStore
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.record import open_data
from clozelm.vocab import SENTENCE_START

LONG_SENTENCE = 8  # tokens: shorter ones repeat by nature
_MOST_SENTENCES = 2_000_000
_TOKENS_AT_ONCE = 1 << 21
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class StoreFacts:
    """A token store, its tokenizer, and the held-out store in it, if there is one."""

    path: Path
    store: TokenStore
    tokenizer: Tokenizer
    held_out: TokenStore | None
    row_length: int

    @classmethod
    def of(cls, path: Path, *, row_length: int = 128) -> StoreFacts:
        """Open a store; raises ``DataError`` where it is damaged or belongs to another tokenizer."""
        store, tokenizer = open_data(path)
        inside = path / HELD_OUT
        held = TokenStore.open(inside, tokenizer) if inside.is_dir() else None
        return cls(path, store, tokenizer, held, row_length)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How often each piece occurs."""
        return self.store.unigram_counts()

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every document."""
        return np.diff(self.store.offsets)

    @cached_property
    def hashes(self) -> Hashes:
        """Hashes of the documents and long sentences of the training text."""
        return Hashes.of(self.store)

    @cached_property
    def held_out_hashes(self) -> Hashes | None:
        """The same of the held-out text."""
        return None if self.held_out is None else Hashes.of(self.held_out, self.hashes.keeps_one_in)

    @cached_property
    def fill(self) -> float:
        """Share of the cells of an epoch's rows that hold tokens, special ones included; of its first window."""
        pieces = plan_window(self.store, row_length=self.row_length, seed=0, epoch=0, window=0)
        return float((pieces.length + 2).sum() / (pieces.num_rows * self.row_length))

    @property
    def windows(self) -> int:
        """How many windows an epoch has."""
        return num_windows(self.store)


@dataclass(frozen=True)
class Hashes:
    """64-bit hashes of every document, and of long sentences: those one in ``keeps_one_in`` by their value."""

    documents: NDArray[np.uint64]
    sentences: NDArray[np.uint64]
    keeps_one_in: int

    @classmethod
    def of(cls, store: TokenStore, keeps_one_in: int | None = None) -> Hashes:
        """Hash a store in chunks; memory grows by 8 bytes a document and at most 2 million sentences."""
        one_in = keeps_one_in or max(1, store.num_tokens // (20 * _MOST_SENTENCES))
        documents, sentences = [], []
        for begin, end, offsets in _chunks(store):
            ids, flags = store.tokens(begin, end), store.flags(begin, end)
            documents.append(_hashes(ids, offsets[:-1] - begin, np.diff(offsets)))
            firsts = np.union1d(np.flatnonzero(flags & SENTENCE_START), offsets[:-1] - begin)
            firsts = firsts[firsts < end - begin]
            sizes = np.diff(np.append(firsts, end - begin))
            each = _hashes(ids, firsts, sizes)[sizes >= LONG_SENTENCE]
            sentences.append(each[each % np.uint64(one_in) == 0])
        return cls(np.concatenate(documents), np.concatenate(sentences), one_in)


def repeated(hashes: NDArray[np.uint64]) -> float:
    """Return the share of hashes that an earlier one equals."""
    return 0.0 if not hashes.size else 1.0 - np.unique(hashes).size / hashes.size


def _chunks(store: TokenStore) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    first = 0
    while first < store.num_documents:
        begin = int(store.offsets[first])
        last = int(np.searchsorted(store.offsets, begin + _TOKENS_AT_ONCE, "right")) - 1
        last = min(max(last, first + 1), store.num_documents)
        yield begin, int(store.offsets[last]), store.offsets[first : last + 1]
        first = last


def _hashes(ids: NDArray[np.integer], firsts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash runs of ids by their values and places; an empty run is 0."""
    result = np.zeros(len(firsts), np.uint64)
    has = sizes > 0
    if not has.any():
        return result
    place = np.arange(len(ids)) - np.repeat(firsts[has], sizes[has])
    with np.errstate(over="ignore"):
        mixed = (ids.astype(np.uint64) + np.uint64(1)) * _MIX ^ (place.astype(np.uint64) + np.uint64(1))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        result[has] = np.add.reduceat(mixed ^ (mixed >> np.uint64(31)), firsts[has])
    return result
