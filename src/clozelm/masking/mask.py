"""From rows of tokens to masked inputs and labels: the one place where positions are corrupted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import SettingsError
from clozelm.masking.candidates import Candidates, Select, Selection
from clozelm.masking.rates import checked_rate
from clozelm.rng import generator
from clozelm.vocab import WORD_START, Vocabulary

IGNORED = -100
"""The label of a position that is not predicted."""
_LONGEST_WORD = 64  # tokens


class MaskableRows(Protocol):
    """What ``mask`` reads of a batch: arrays [rows, seq], but ``row_ids`` and ``epoch`` [rows]."""

    @property
    def input_ids(self) -> NDArray[np.int64]:
        """Token ids, special tokens and padding included."""

    @property
    def doc_ids(self) -> NDArray[np.int32]:
        """0 for padding, 1.. for the document pieces of a row."""

    @property
    def flags(self) -> NDArray[np.uint8]:
        """The stored bits, 0 for special tokens."""

    @property
    def row_ids(self) -> NDArray[np.int64]:
        """Numbers unique within an epoch."""

    @property
    def epoch(self) -> NDArray[np.int64]:
        """The epoch of each row."""


@dataclass(frozen=True)
class Corruption:
    """Say what becomes of a chosen group: shares masked and replaced at random; the rest stays as it is.

    Source: Devlin et al. 2018, A.1 (80% / 10% / 10%).
    """

    mask: float = 0.8
    random: float = 0.1

    def __post_init__(self) -> None:
        for name, share in (("mask", self.mask), ("random", self.random)):
            if not 0.0 <= share <= 1.0:
                raise SettingsError(f"masking.corruption.{name}={share} must lie between 0 and 1.")
        if self.mask + self.random > 1.0 + 1e-9:
            raise SettingsError(
                f"masking.corruption.mask={self.mask} and masking.corruption.random={self.random} "
                f"add up to more than 1 (BERT uses 0.8 and 0.1)."
            )


@dataclass(frozen=True)
class Masked:
    """Hold masked ids and labels, [rows, seq]: the original id where predicted, ``IGNORED`` elsewhere."""

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Masking:
    """Everything that decides on masks but the rows: ``mask`` with its arguments settled."""

    vocabulary: Vocabulary
    select: Select
    corruption: Corruption
    seed: int
    rate: float | NDArray[np.float64]

    def mask(self, rows: MaskableRows) -> Masked:
        """Mask rows; see ``mask``."""
        return mask(rows, self.vocabulary, self.select, rate=self.rate, corruption=self.corruption, seed=self.seed)


def mask(
    rows: MaskableRows,
    vocabulary: Vocabulary,
    select: Select,
    *,
    rate: float | NDArray[np.float64],
    corruption: Corruption,
    seed: int,
) -> Masked:
    """Choose positions with ``select`` and corrupt them; a new pair of arrays, ``rows`` is not changed.

    Holds for every strategy: no special token and no padding is chosen; every document piece with a
    maskable token has a prediction; one corruption draw per group; replacements come from the whole
    ordinary vocabulary, the original id included. Each row is a pure function of (seed, its epoch,
    its row id, its tokens, its rate), whatever rows share the batch and however far they are padded.
    ``rate`` is one for all rows, or one for each, float64[rows].
    """
    rates = checked_rates(rate, len(rows.row_ids))
    may_mask = (rows.doc_ids > 0) & ~vocabulary.is_special[rows.input_ids]
    word_starts = _word_starts(rows, vocabulary)
    num_rows, seq = rows.input_ids.shape
    chosen = np.zeros((num_rows, seq), dtype=np.bool_)
    leader = np.zeros((num_rows, seq), dtype=np.int64)
    draws = np.empty((num_rows, seq, 2))
    epochs = np.broadcast_to(rows.epoch, num_rows).tolist()
    pieces = maskable_pieces(rows.doc_ids, may_mask)
    for row, row_id in enumerate(rows.row_ids.tolist()):
        rng = generator(seed, "mask", epochs[row], row_id)
        for start, stop in pieces[row]:
            at = (row, slice(start, stop))
            allowed = may_mask[at]
            candidates = Candidates(rows.input_ids[at], allowed, word_starts[at], rows.flags[at], rates[row])
            selection = select(candidates, rng)
            chosen[at] = _at_least_one(selection, candidates, rng)
            leader[at] = selection.group + start
        # One pair of draws a position, in order of position: padding a row further changes nothing.
        rng.random(out=draws[row])
    return _corrupt(rows.input_ids, chosen, leader, draws, vocabulary=vocabulary, corruption=corruption)


def checked_rates(rate: float | NDArray[np.float64], num_rows: int) -> list[float]:
    """Return one rate a row; refuse another number of them, and any that is impossible."""
    if isinstance(rate, np.ndarray):
        if rate.shape != (num_rows,):
            raise ValueError(f"rates of shape {rate.shape} for {num_rows} rows")
        return [checked_rate(one) for one in rate.tolist()]
    return [checked_rate(rate)] * num_rows


def _word_starts(rows: MaskableRows, vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """Read the stored word starts; a token after [CLS] or [SEP] starts a word, or the rest of a cut one."""
    starts: NDArray[np.bool_] = (rows.flags & WORD_START) != 0
    before = rows.input_ids[:, :-1]
    starts[:, 1:] |= (before == vocabulary.cls_id) | (before == vocabulary.sep_id)
    return starts


def maskable_pieces(doc_ids: NDArray[np.int32], may_mask: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """List for each row the (start, stop) of its document pieces that have a maskable token."""
    num_rows, seq = doc_ids.shape
    pieces: list[list[tuple[int, int]]] = [[] for _ in range(num_rows)]
    if doc_ids.size == 0:
        return pieces
    is_first = np.ones((num_rows, seq), dtype=np.bool_)
    is_first[:, 1:] = doc_ids[:, 1:] != doc_ids[:, :-1]
    firsts = np.flatnonzero(is_first)
    stops = np.append(firsts[1:], doc_ids.size)
    useful = np.add.reduceat(may_mask.reshape(-1), firsts, dtype=np.int64) > 0
    for first, stop in zip(firsts[useful].tolist(), stops[useful].tolist(), strict=True):
        row = first // seq
        pieces[row].append((first - row * seq, stop - row * seq))
    return pieces


def _at_least_one(selection: Selection, candidates: Candidates, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Drop what may not be chosen; if nothing is left, choose the group of one maskable token.

    What is longer than any word, such as a line of Chinese that a tokenizer takes for one, is not hidden whole for
    that reason: a run of it is, as long as the rate asks for.
    """
    may_mask = candidates.may_mask
    chosen = selection.chosen & may_mask
    if np.count_nonzero(chosen):
        return chosen
    maskable = may_mask.nonzero()[0]
    picked = maskable[rng.integers(maskable.size)]
    in_group: NDArray[np.bool_] = (selection.group == selection.group[picked]) & may_mask
    if np.count_nonzero(in_group) > _LONGEST_WORD:
        members = in_group.nonzero()[0]
        length = max(1, int(candidates.rate * maskable.size))
        start = int(rng.integers(max(1, members.size - length + 1)))
        in_group[:] = False
        in_group[members[start : start + length]] = True
    return in_group


def _corrupt(
    input_ids: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    leader: NDArray[np.int64],
    draws: NDArray[np.float64],
    *,
    vocabulary: Vocabulary,
    corruption: Corruption,
) -> Masked:
    """Mask, replace or keep each chosen token; the draw at its group's ``leader`` column decides which."""
    row, column = chosen.nonzero()
    original = input_ids[row, column]
    fate = draws[row, leader[row, column], 0]
    ordinary = vocabulary.ordinary_ids
    replacement = ordinary[(draws[row, column, 1] * ordinary.size).astype(np.int64)]
    corrupted = np.where(fate < corruption.mask + corruption.random, replacement, original)
    corrupted = np.where(fate < corruption.mask, vocabulary.mask_id, corrupted)
    masked = input_ids.astype(np.int64)
    masked[row, column] = corrupted
    labels = np.full(input_ids.shape, IGNORED, dtype=np.int64)
    labels[row, column] = original
    return Masked(masked, labels)
