"""Span corruption: spans of a text give way to sentinels, and become a text of their own (Raffel et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import SettingsError
from clozelm.masking.candidates import draw_budget
from clozelm.masking.mask import MaskableRows, checked_rates, maskable_pieces
from clozelm.rng import generator
from clozelm.vocab import Vocabulary


@dataclass(frozen=True)
class Cells:
    """Hold rows of packed documents, [rows, seq]; ``doc_ids`` are 0 for padding, which comes last in a row."""

    input_ids: NDArray[np.int64]
    doc_ids: NDArray[np.int64]
    positions: NDArray[np.int64]


def choose_spans(
    rows: MaskableRows,
    vocabulary: Vocabulary,
    *,
    rate: float | NDArray[np.float64],
    mean_span: float,
    seed: int,
) -> NDArray[np.bool_]:
    """Choose the cells to take out, bool[rows, seq]: spans of random lengths at random places.

    Of n maskable tokens of a document piece, rate x n are chosen, in (rate x n) / mean_span spans, each number
    rounded up or down at random and at least 1; how spans and the text between them are cut is equally likely for
    all cuts (Raffel et al. 2020, 3.1.4). Never a special token: one inside a span divides it in two. Each row is a
    pure function of (seed, its epoch, its row id, its tokens, its rate, mean_span); ``rate`` is as ``mask`` has it.

    T5's code begins every text with what is kept and ends it with a span, which hides the last token of each; here
    what is kept before the first span and after the last may be empty.
    """
    rates = checked_rates(rate, len(rows.row_ids))
    if mean_span < 1.0:
        raise SettingsError(f"objective.span_corruption.mean_span={mean_span} must be at least 1 (T5 uses 3).")
    may_mask = (rows.doc_ids > 0) & ~vocabulary.is_special[rows.input_ids]
    chosen = np.zeros(may_mask.shape, dtype=np.bool_)
    epochs = np.broadcast_to(rows.epoch, len(chosen)).tolist()
    pieces = maskable_pieces(rows.doc_ids, may_mask)
    for row, row_id in enumerate(rows.row_ids.tolist()):
        rng = generator(seed, "spans", epochs[row], row_id)
        for start, stop in pieces[row]:
            maskable = start + may_mask[row, start:stop].nonzero()[0]
            chosen[row, maskable[_draw(maskable.size, rates[row], mean_span, rng)]] = True
    return chosen


def most_sentinels(length: int, *, rate: float, mean_span: float) -> int:
    """Return how many sentinels ``length`` tokens need at most, the final one included.

    Special tokens among them, such as unknown pieces, take part of the length and divide spans: so many are
    assumed, at the worst places, as make the most of it.
    """
    most = 0
    for maskable in range(1, length + 1):
        tokens = min(int(rate * maskable) + 1, maskable)
        spans = min(int(tokens / mean_span) + 1, tokens, maskable - tokens + 1)
        most = max(most, min(spans + length - maskable, tokens))
    return most + 1


def take_out(
    rows: MaskableRows, chosen: NDArray[np.bool_], *, first_sentinel: int, sentinels: int, pad_id: int
) -> tuple[Cells, Cells]:
    """Return the rows with a sentinel in place of each run of chosen cells, and the runs as rows of their own.

    The k-th run of a document piece is replaced by sentinel k, counted from 0. The second rows hold for each piece
    ``sentinel 0, run 0, sentinel 1, run 1, ...`` and a final sentinel; nothing for a piece without runs. Both are
    packed again: no padding but at the end of a row, positions from 0 in each piece. The second row of a piece is
    never longer than the piece, since runs stand apart. A piece of more runs than there are sentinels for is a
    ``SettingsError``.
    """
    is_token = rows.doc_ids > 0
    begins_piece, ends_piece = _borders(rows.doc_ids)
    begins_run = chosen.copy()
    begins_run[:, 1:] &= ~chosen[:, :-1] | begins_piece[:, 1:]
    runs = _counted(begins_run, begins_piece)
    _check_sentinels(int(runs.max(initial=0)), sentinels)
    sentinel = first_sentinel + runs - 1
    stays = is_token & (~chosen | begins_run)
    text = np.where(begins_run, sentinel, rows.input_ids)[stays]
    is_final = ends_piece & is_token & (runs > 0)
    sizes = begins_run.astype(np.int64) + chosen + is_final  # of what each cell gives to the second rows
    after = sizes.cumsum().reshape(sizes.shape)
    taken = np.repeat(rows.input_ids.reshape(-1), sizes.reshape(-1))
    taken[(after - sizes)[begins_run]] = sentinel[begins_run]
    taken[after[is_final] - 1] = sentinel[is_final] + 1
    kept = _packed(text, stays.astype(np.int64), rows.doc_ids, pad_id)
    return kept, _packed(taken, sizes, rows.doc_ids, pad_id)


def _draw(count: int, rate: float, mean_span: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw the spans of ``count`` tokens that follow one another."""
    tokens = max(1, draw_budget(count, rate, rng))
    spans = min(max(1, draw_budget(tokens, 1.0 / mean_span, rng)), tokens, count - tokens + 1)
    lengths = np.empty(2 * spans + 1, dtype=np.int64)
    lengths[1::2] = _segments(tokens, spans, rng)
    lengths[0::2] = _segments(count - tokens + 2, spans + 1, rng)
    lengths[[0, -1]] -= 1  # the text before the first span and after the last may be empty
    return np.repeat(np.arange(lengths.size) % 2 == 1, lengths)


def _segments(total: int, parts: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Cut ``total`` into ``parts`` lengths of at least 1, every way equally likely."""
    cuts = np.sort(rng.permutation(total - 1)[: parts - 1]) + 1
    lengths: NDArray[np.int64] = np.diff(cuts, prepend=0, append=total)
    return lengths


def _borders(doc_ids: NDArray[np.int32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which cells begin, and which end, a document piece or a row's padding."""
    begins, ends = np.ones((2, *doc_ids.shape), dtype=np.bool_)
    begins[:, 1:] = ends[:, :-1] = doc_ids[:, 1:] != doc_ids[:, :-1]
    return begins, ends


def _counted(begins_run: NDArray[np.bool_], begins_piece: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many runs have begun in a cell's document piece, itself included."""
    begun = begins_run.reshape(-1).cumsum()
    before = np.where(begins_piece.reshape(-1), begun - begins_run.reshape(-1), 0)
    counted: NDArray[np.int64] = begun - np.maximum.accumulate(before)
    return counted.reshape(begins_run.shape)


def _check_sentinels(runs: int, sentinels: int) -> None:
    if runs >= sentinels:
        raise SettingsError(
            f"A document piece has {runs} spans, which take {runs + 1} sentinels with the final one, but "
            f"objective.span_corruption.sentinels={sentinels}: set it to {runs + 1} or more, or mean_span higher."
        )


def _packed(ids: NDArray[np.int64], sizes: NDArray[np.int64], doc_ids: NDArray[np.int32], pad_id: int) -> Cells:
    """Lay out ``ids`` row by row, of which each cell of the old rows gave ``sizes``."""
    per_row = sizes.sum(axis=1)
    shape = len(sizes), max(int(per_row.max(initial=0)), 1)
    row = np.repeat(np.arange(len(sizes)), per_row)
    index = np.arange(ids.size)
    column = index - np.repeat(per_row.cumsum() - per_row, per_row)
    document = np.repeat(doc_ids.reshape(-1), sizes.reshape(-1))
    is_first = np.ones(ids.size, dtype=np.bool_)
    is_first[1:] = (document[1:] != document[:-1]) | (row[1:] != row[:-1])
    position = index - np.maximum.accumulate(np.where(is_first, index, 0))

    def laid(values: NDArray[Any], fill: int = 0) -> NDArray[np.int64]:
        array = np.full(shape, fill, dtype=np.int64)
        array[row, column] = values
        return array

    return Cells(laid(ids, pad_id), laid(document), laid(position))
