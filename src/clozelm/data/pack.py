"""The packing plan: document pieces put into rows with next to no padding, one window at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clozelm.data.order import shuffled
from clozelm.data.rows import Pieces, Rows, Tokens, gather
from clozelm.errors import DataError, SettingsError
from clozelm.rng import generator
from clozelm.vocab import SENTENCE_START, WORD_START, Vocabulary

WINDOW_TOKENS = 1 << 20
_PENDING = 256  # pieces to choose from: enough for an exact fit nearly always
_SMALLEST_FILL = 16  # columns worth cutting a piece for, special tokens included
_REACH = 8  # tokens to go back for a cut at a mark
_SHORTEST_SENTENCE = 8  # tokens; a shorter one stays with the next

Piece = tuple[int, int, int]  # start in the store, length, document


TextUnit = Literal["document", "sentence"]


@dataclass(frozen=True)
class Layout:
    """Say how many special tokens a piece comes with, and at which marks it is best cut, best first.

    The ``unit`` is what stands alone: a document, or each of its sentences.
    """

    specials: int = 2
    marks: tuple[int, ...] = (WORD_START,)
    unit: TextUnit = "document"


ONE_PIECE = Layout()


def num_windows(store: Tokens) -> int:
    """Count the windows of an epoch: about ``WINDOW_TOKENS`` tokens each, whole documents."""
    return max(1, min(store.num_documents, round(store.num_tokens / WINDOW_TOKENS)))


def plan_window(
    store: Tokens, *, row_length: int, seed: int, epoch: int, window: int, layout: Layout = ONE_PIECE
) -> Pieces:
    """Pack the documents of one window of an epoch into rows, in shuffled order.

    A pure function of the store's lengths and flags and of (seed, epoch, window). Every token
    of every document is in exactly one row of exactly one window of an epoch.
    """
    places = _window_places(store, window)
    documents = shuffled(places, store.num_documents, seed=seed, epoch=epoch)
    pieces = _packed(store, documents, row_length, layout)
    return pieces.take(generator(seed, "row order", epoch, window).permutation(pieces.num_rows))


def evaluation_rows(store: Tokens, vocabulary: Vocabulary, row_length: int, rows_per_batch: int) -> Iterator[Rows]:
    """Yield every document once, in the store's order but for the packing; the last batch may be smaller."""
    check_store(store, row_length, must_fill_a_row=False)
    first_row = 0
    for window in range(num_windows(store)):
        pieces = _packed(store, _window_places(store, window), row_length, ONE_PIECE)
        for first in range(0, pieces.num_rows, rows_per_batch):
            rows = np.arange(first, min(first + rows_per_batch, pieces.num_rows))
            yield gather(
                store, vocabulary, pieces.take(rows), row_length=row_length, row_ids=first_row + rows, epoch=0
            )
        first_row += pieces.num_rows


def check_store(store: Tokens, row_length: int, *, must_fill_a_row: bool = True) -> None:
    """Refuse rows too short for any token and stores too small for one row."""
    if row_length < 3:
        raise SettingsError(f"row_length={row_length} must be at least 3: [CLS], one token, [SEP].")
    if store.num_tokens == 0:
        raise DataError("The token store is empty: prepare it again from text that has at least one word.")
    with_specials = store.num_tokens + 2 * store.num_documents
    if must_fill_a_row and with_specials < row_length:
        raise DataError(
            f"The token store holds {store.num_tokens} tokens in {store.num_documents} documents, too few "
            f"to fill one row of {row_length}: add text or use shorter rows."
        )


def _window_places(store: Tokens, window: int) -> NDArray[np.int64]:
    windows = num_windows(store)
    return np.arange(window * store.num_documents // windows, (window + 1) * store.num_documents // windows)


def _packed(store: Tokens, documents: NDArray[np.int64], row_length: int, layout: Layout) -> Pieces:
    longest = row_length - layout.specials
    packer = _Packer(store, longest, _cut_documents(store, documents, longest, layout), layout)
    packer.pack()
    columns = np.array(packer.packed, dtype=np.int64).reshape(-1, 3).T
    start, length, document = np.ascontiguousarray(columns)
    row_offsets = np.array([*packer.row_firsts, len(packer.packed)], dtype=np.int64)
    return Pieces(start, length, document, row_offsets)


def _cut_documents(store: Tokens, documents: NDArray[np.int64], longest: int, layout: Layout) -> list[Piece]:
    """Cut documents into pieces of at most ``longest`` tokens, at a mark where one is within reach."""
    offsets = store.offsets
    starts = offsets[documents]
    lengths = offsets[documents + 1] - starts
    pieces: list[Piece] = []
    for first, total, document in zip(starts.tolist(), lengths.tolist(), documents.tolist(), strict=True):
        whole = [(first, total)] if layout.unit == "document" else _sentences(store, first, total)
        for start, length in whole:
            while length > longest:
                cut = _cut(store, start, longest, layout.marks)
                pieces.append((start, cut, document))
                start, length = start + cut, length - cut
            if length:
                pieces.append((start, length, document))
    return pieces


def _sentences(store: Tokens, start: int, length: int) -> list[tuple[int, int]]:
    """Return start and length of each sentence of a document; short ones stay with the next, or the one before."""
    cuts = [0]
    for place in np.flatnonzero(store.flags(start, start + length) & SENTENCE_START).tolist():
        if place - cuts[-1] >= _SHORTEST_SENTENCE:
            cuts.append(place)
    if len(cuts) > 1 and length - cuts[-1] < _SHORTEST_SENTENCE:
        cuts.pop()
    return [(start + a, b - a) for a, b in pairwise([*cuts, length])]


def _cut(store: Tokens, start: int, longest: int, marks: tuple[int, ...]) -> int:
    """Return the length of a piece of at most ``longest`` tokens whose successor has a mark, if it can."""
    reach = min(_REACH, longest // 2)
    flags = store.flags(start + longest - reach, start + longest + 1)
    for mark in marks:
        starts = np.flatnonzero(flags & mark)
        if starts.size:
            return longest - reach + int(starts[-1])
    return longest


class _Packer:
    """Best fit from a bounded buffer of pending pieces, sorted into buckets by length.

    A row begins with the oldest pending piece, so that none waits for ever, and goes on with the
    longest that fits. ``lengths`` has a bit for every length with a pending piece: the longest that
    fits is its highest bit within the space left. ``arrivals`` holds lengths in order of arrival;
    ``early[n]`` counts pieces of length ``n`` that were taken before their turn in it.
    """

    def __init__(self, store: Tokens, longest: int, pieces: list[Piece], layout: Layout) -> None:
        self.store = store
        self.longest = longest
        self.layout = layout
        self.waiting = pieces[::-1]
        self.buckets: list[deque[Piece]] = [deque() for _ in range(longest + 1)]
        self.lengths = 0
        self.arrivals: deque[int] = deque()
        self.early = [0] * (longest + 1)
        self.packed: list[Piece] = []
        self.row_firsts: list[int] = []

    def pack(self) -> None:
        """Fill rows until no piece is left; only the last ones may end in much padding."""
        packed, specials = self.packed, self.layout.specials
        for piece in [self.waiting.pop() for _ in range(min(_PENDING, len(self.waiting)))]:
            self._add(piece)
        while self.lengths:
            self.row_firsts.append(len(packed))
            piece = self._oldest()
            packed.append(piece)
            space = self.longest - piece[1] - specials
            while space > 0 and self.lengths:
                fitting = self.lengths & ((2 << space) - 1)
                if fitting:
                    piece = self._take(fitting.bit_length() - 1)
                elif space + specials >= _SMALLEST_FILL:
                    piece = self._split(space)
                else:
                    break
                packed.append(piece)
                space -= piece[1] + specials

    def _oldest(self) -> Piece:
        while self.early[self.arrivals[0]]:
            self.early[self.arrivals.popleft()] -= 1
        length = self.arrivals[0]
        piece = self._take(length)
        self.arrivals.popleft()
        self.early[length] -= 1
        return piece

    def _take(self, length: int) -> Piece:
        """Remove the oldest pending piece of this length; another one moves up to the buffer."""
        bucket = self.buckets[length]
        piece = bucket.popleft()
        if not bucket:
            self.lengths ^= 1 << length
        self.early[length] += 1
        if self.waiting:
            self._add(self.waiting.pop())
        return piece

    def _add(self, piece: Piece) -> None:
        length = piece[1]
        self.buckets[length].append(piece)
        self.lengths |= 1 << length
        self.arrivals.append(length)

    def _split(self, space: int) -> Piece:
        """Cut the longest pending piece, all being longer than ``space``; its rest stays pending."""
        start, length, document = self._take(self.lengths.bit_length() - 1)
        cut = _cut(self.store, start, space, self.layout.marks)
        self._add((start + cut, length - cut, document))
        return start, cut, document
