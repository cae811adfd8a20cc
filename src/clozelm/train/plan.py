"""The batches of a step: rows, masks and counts, as a pure function of (seed, cursor, rate)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clozelm.data.loader import Cursor, RowLoader
from clozelm.data.rows import Rows
from clozelm.data.store import TokenStore
from clozelm.masking import SELECTORS
from clozelm.masking.mask import Corruption, mask
from clozelm.objectives import Example, Objective
from clozelm.rng import generator
from clozelm.train.settings import PretrainSettings
from clozelm.types import TokenBatch
from clozelm.vocab import Vocabulary


@dataclass(frozen=True)
class StepData:
    """One update's micro-batches, and the counts of every term of the loss over all of them."""

    micro_batches: list[Example]
    counts: dict[str, int]
    tokens: int
    rows: int
    flops: float
    next_cursor: Cursor


class Batches:
    """Makes the data of any step from its cursor."""

    def __init__(
        self, settings: PretrainSettings, store: TokenStore, vocabulary: Vocabulary, objective: Objective
    ) -> None:
        data, masking = settings.data, settings.masking
        self.vocabulary, self.objective = vocabulary, objective
        self.seed = settings.run.seed
        self.rows_per_step = data.tokens_per_step // data.row_length
        self.rows_at_once = max(1, data.micro_batch_tokens // data.row_length)
        self.loader = RowLoader(
            store, vocabulary, row_length=data.row_length, seed=self.seed, pairs=objective.pairs
        )
        self.select = SELECTORS[masking.strategy]().select
        self.corruption = Corruption(masking.corruption.mask, masking.corruption.random)

    def step(self, cursor: Cursor, rate: float) -> StepData:
        """Return the data of the step at ``cursor`` under masking ``rate``."""
        rows, after = self.loader.batch(cursor, self.rows_per_step)
        whole = self._example(rows, rate)
        starts = range(0, self.rows_per_step, self.rows_at_once)
        counts = self.objective.counts(whole)
        return StepData(
            micro_batches=[whole.rows(start, start + self.rows_at_once) for start in starts],
            counts=counts,
            tokens=int((rows.doc_ids > 0).sum()),
            rows=self.rows_per_step,
            flops=self.objective.flops(piece_lengths(rows), counts),
            next_cursor=after,
        )

    def _example(self, rows: Rows, rate: float) -> Example:
        masked = mask(rows, self.vocabulary, self.select, rate=rate, corruption=self.corruption, seed=self.seed)
        return Example(
            token_batch(rows, masked.input_ids),
            torch.from_numpy(masked.labels),
            None if rows.pairs is None else _tensor(rows.pairs.labels),
            self._draws(rows) if self.objective.draws else None,
        )

    def _draws(self, rows: Rows) -> Tensor:
        """Return a uniform number for every position, a function of the row alone like its masks."""
        width = rows.input_ids.shape[1]
        keys = zip(np.broadcast_to(rows.epoch, len(rows.row_ids)).tolist(), rows.row_ids.tolist(), strict=True)
        return torch.from_numpy(np.stack([generator(self.seed, "draws", *key).random(width) for key in keys]))


def token_batch(rows: Rows, input_ids: NDArray[np.int64]) -> TokenBatch:
    """Return rows with the given (masked) ids as tensors."""
    segments = None if rows.pairs is None else _tensor(rows.pairs.segment_ids)
    return TokenBatch(_tensor(input_ids), _tensor(rows.doc_ids), _tensor(rows.positions), segments)


def piece_lengths(rows: Rows) -> NDArray[np.int64]:
    """Return the lengths of all document pieces in ``rows``, special tokens included."""
    width = int(rows.doc_ids.max(initial=0)) + 1
    keys = rows.doc_ids + np.arange(len(rows.doc_ids))[:, None] * width
    lengths = np.bincount(keys[rows.doc_ids > 0])
    return lengths[lengths > 0]


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(np.int64, copy=False))
