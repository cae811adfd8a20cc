"""Rows of sentence pairs, for next-sentence prediction and for sentence-order prediction.

A window is packed as ever, with room for a third special token; then every piece is split in two,
and the second halves change places. So a token is in exactly one row of an epoch, as without pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clozelm.data.pack import Layout, num_windows, plan_window
from clozelm.data.rows import IGNORED, PairColumns, Pieces, Tokens, joined, offsets_of
from clozelm.errors import DataError, SettingsError
from clozelm.rng import generator
from clozelm.vocab import SENTENCE_START, WORD_START

PairKind = Literal["next", "order"]

_PAIR = Layout(specials=3, marks=(SENTENCE_START, WORD_START))
_ROUNDS = 8  # of looking for a partner


def plan_pairs(store: Tokens, kind: PairKind, *, row_length: int, seed: int, epoch: int, window: int) -> Pieces:
    """Pack the documents of one window of an epoch into rows of pairs ``[CLS] A [SEP] B [SEP]``.

    A and B are cut from one piece of a document at a random sentence start inside it or, where there is
    none, at the word start nearest to its middle. A piece of one word stays whole, without a label. A
    pure function of the store's lengths and flags and of (seed, epoch, window).

    ``"next"``: 0 where B follows A, 1 where it is of another document (Devlin et al. 2018, 3.1, Task 2;
    coded as in ``transformers``). Pieces of two documents, split so that their B's are equally long,
    exchange them: rows stay as full as they are, and the length does not tell the label. BERT's own
    program reads a random B a second time instead. Half of the pairs are exchanged, to one or two pairs;
    fewer only where partners cannot be found for half: in windows of few pieces, or where one document is
    most of its window.

    ``"order"``: 0 where A comes first, 1 where B does, with equal chances (Lan et al. 2020, 3.1).
    """
    pieces = plan_window(store, row_length=row_length, seed=seed, epoch=epoch, window=window, layout=_PAIR)
    rng = generator(seed, "pairs", epoch, window)
    places = _places(store, pieces)
    first_length = places.drawn(rng)
    itself = np.arange(first_length.size)
    if kind == "order":
        is_swapped = rng.random(itself.size) < 0.5
        return _paired(pieces, first_length, itself, label=is_swapped, is_swapped=is_swapped)
    first_length, partner = _matched(pieces, places, first_length, rng)
    one = rng.permutation(np.flatnonzero(partner > itself))
    one = one[: int(np.count_nonzero(first_length) / 4 + rng.random())]
    takes = itself.copy()
    takes[one], takes[partner[one]] = partner[one], one
    return _paired(pieces, first_length, takes, label=takes != itself, is_swapped=np.zeros(itself.size, np.bool_))


def check_pairs(store: Tokens, kind: PairKind, row_length: int) -> None:
    """Refuse rows too short for a pair and, for ``"next"``, windows of a single document."""
    if row_length < 5:
        raise SettingsError(f"row_length={row_length} must be at least 5 for pairs: [CLS], A, [SEP], B, [SEP].")
    documents, windows = int(np.count_nonzero(np.diff(store.offsets))), num_windows(store)
    if kind == "next" and documents < 2 * windows:
        raise DataError(
            f"The token store holds {documents} documents for {windows} windows of shuffling, but next-sentence "
            f"prediction needs at least 2 in each, to take a random sentence from another document: prepare "
            f"the text again in smaller documents, or predict the order of sentences."
        )


@dataclass(frozen=True)
class _Places:
    """List where each piece may be split: ``first_length[offsets[i]:offsets[i + 1]]`` for piece ``i``."""

    first_length: NDArray[np.int64]
    offsets: NDArray[np.int64]
    at_sentence: NDArray[np.bool_]

    def drawn(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw a place for every piece; 0 for a piece that has none."""
        counts = np.diff(self.offsets)
        index = self.offsets[:-1] + (rng.random(counts.size) * counts).astype(np.int64)
        first_length = np.zeros(counts.size, dtype=np.int64)
        first_length[counts > 0] = self.first_length[index[counts > 0]]
        return first_length

    def of(self, pieces: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all places of some pieces, and beside each the piece."""
        counts = np.diff(self.offsets)[pieces]
        offsets = offsets_of(counts)
        index = np.repeat(self.offsets[pieces] - offsets[:-1], counts) + np.arange(offsets[-1])
        return self.first_length[index], np.repeat(pieces, counts)


def _places(store: Tokens, pieces: Pieces) -> _Places:
    """Find the sentence starts inside each piece; where there is none, the middlemost word start."""
    stops = pieces.start + pieces.length
    spans = zip(pieces.start.tolist(), stops.tolist(), strict=True)
    flags = joined([store.flags(start, stop) for start, stop in spans])
    number = pieces.start.size
    piece = np.repeat(np.arange(number), pieces.length)
    local = np.arange(piece.size) - np.repeat(offsets_of(pieces.length)[:-1], pieces.length)
    sentences = np.flatnonzero((flags & SENTENCE_START != 0) & (local > 0))
    at_sentence = np.zeros(number, dtype=np.bool_)
    at_sentence[piece[sentences]] = True
    words = np.flatnonzero((flags & WORD_START != 0) & (local > 0) & ~at_sentence[piece])
    from_middle = np.abs(2 * local[words] - pieces.length[piece[words]])
    words = words[_first_of_each(piece[words], from_middle)]
    at = np.sort(np.concatenate([sentences, words]))
    return _Places(local[at], offsets_of(np.bincount(piece[at], minlength=number)), at_sentence)


def _matched(
    pieces: Pieces, places: _Places, drawn: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match pieces of different documents two by two; return where each is split, and its partner or itself.

    The B's of partners are of one length and of one kind: both begin a sentence, or neither. Pieces
    left over are split again, each where most others of them can be, and matched among each other; those
    left at last are matched within their rows, where lengths do not matter.
    """
    row = np.repeat(np.arange(pieces.num_rows), np.diff(pieces.row_offsets))
    first_length = drawn.copy()
    partner = np.arange(drawn.size)
    left = np.flatnonzero(drawn)
    for number in range(_ROUNDS):
        if number:
            other, owner = places.of(left)
            key = 2 * (pieces.length[owner] - other) + places.at_sentence[owner]
            first_length[left] = other[_first_of_each(owner, -np.bincount(key)[key], key)]
        key = 2 * (pieces.length[left] - first_length[left]) + places.at_sentence[left]
        takes = _partners(key, pieces.document[left], rng)
        partner[left] = left[takes]
        left = left[takes == np.arange(left.size)]
        if left.size < 2:
            break
    first_length[left] = drawn[left]
    key = 2 * row[left] + places.at_sentence[left]
    partner[left] = left[_partners(key, pieces.document[left], rng)]
    return first_length, partner


def _partners(key: NDArray[np.int64], document: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Match as many members as can be two by two, each with one of its key and of another document.

    Within a key the documents stand one after another in random order, none longer than all others
    together, so that what is half the key further is of another document. Who finds no partner keeps
    itself.
    """
    partner = np.arange(key.size)
    _, number = np.unique(document, return_inverse=True)
    rank = rng.permutation(key.size)[number]
    order = np.lexsort((rng.random(key.size), rank, key))
    bucket_size, _ = _runs(key[order])
    size, place = _runs(key[order], rank[order])
    order = order[place < bucket_size - size]
    size, place = _runs(key[order])
    half = size // 2
    first = np.flatnonzero(place < half)
    one, other = order[first], order[first + half[first]]
    partner[one], partner[other] = other, one
    return partner


def _runs(*columns: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each member of sorted columns the size of its run, and its place in it."""
    starts_run = np.zeros(columns[0].size, dtype=np.bool_)
    starts_run[:1] = True
    for column in columns:
        starts_run[1:] |= column[1:] != column[:-1]
    first = np.flatnonzero(starts_run)
    run = np.cumsum(starts_run) - 1
    size = np.diff(np.append(first, run.size))
    return size[run], np.arange(run.size) - first[run]


def _first_of_each(owner: NDArray[np.int64], *columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each owner, in order, the index of its member that sorts first; the earliest of equals."""
    order: NDArray[np.int64] = np.lexsort((*columns[::-1], owner))
    _, place = _runs(owner[order])
    first: NDArray[np.int64] = order[place == 0]
    return first


def _paired(
    pieces: Pieces,
    first_length: NDArray[np.int64],
    partner: NDArray[np.int64],
    *,
    label: NDArray[np.bool_],
    is_swapped: NDArray[np.bool_],
) -> Pieces:
    """Split pieces after ``first_length`` tokens, each followed by its partner's rest, or led by it."""
    is_pair = first_length > 0
    length = np.where(is_pair, first_length, pieces.length)
    head = np.stack([pieces.start, length, pieces.document])
    tail = np.stack([pieces.start + length, pieces.length - length, pieces.document])[:, partner]
    offsets = offsets_of(1 + is_pair)
    first, second = offsets[:-1], offsets[:-1][is_pair] + 1
    columns = np.empty((3, offsets[-1]), dtype=np.int64)
    columns[:, first] = np.where(is_pair & is_swapped, tail, head)
    columns[:, second] = np.where(is_swapped, head, tail)[:, is_pair]
    segment_ids = np.zeros(offsets[-1], dtype=np.int32)
    segment_ids[second] = 1
    labels = np.full(offsets[-1], IGNORED, dtype=np.int64)
    labels[first[is_pair]] = label[is_pair]
    start, length, document = columns
    return Pieces(start, length, document, offsets[pieces.row_offsets], PairColumns(segment_ids, labels))
