"""The batches of a step: rows, masks and counts, as a pure function of (seed, cursor, rate)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.data.loader import Cursor, RowLoader
from clozelm.data.rows import Rows
from clozelm.data.store import TokenStore
from clozelm.masking import SELECTORS
from clozelm.masking.mask import Corruption, mask
from clozelm.nn.config import EncoderConfig
from clozelm.train.flops import step_flops
from clozelm.train.settings import PretrainSettings
from clozelm.types import TokenBatch
from clozelm.vocab import Vocabulary


@dataclass(frozen=True)
class StepData:
    """One update's micro-batches with their labels, and the counts over all of them."""

    micro_batches: list[tuple[TokenBatch, Int[Tensor, "batch seq"]]]
    count: int
    tokens: int
    rows: int
    flops: float
    next_cursor: Cursor


class Batches:
    """Makes the data of any step from its cursor."""

    def __init__(
        self, settings: PretrainSettings, store: TokenStore, vocabulary: Vocabulary, config: EncoderConfig
    ) -> None:
        data, masking = settings.data, settings.masking
        self.vocabulary, self.config = vocabulary, config
        self.seed = settings.run.seed
        self.rows_per_step = data.tokens_per_step // data.row_length
        self.rows_at_once = max(1, data.micro_batch_tokens // data.row_length)
        self.loader = RowLoader(store, vocabulary, row_length=data.row_length, seed=self.seed)
        self.select = SELECTORS[masking.strategy]().select
        self.corruption = Corruption(masking.corruption.mask, masking.corruption.random)

    def step(self, cursor: Cursor, rate: float) -> StepData:
        """Return the data of the step at ``cursor`` under masking ``rate``."""
        rows, after = self.loader.batch(cursor, self.rows_per_step)
        masked = mask(rows, self.vocabulary, self.select, rate=rate, corruption=self.corruption, seed=self.seed)
        labels = torch.from_numpy(masked.labels)
        whole = token_batch(rows, masked.input_ids)
        count = int((masked.labels != -100).sum())
        starts = range(0, self.rows_per_step, self.rows_at_once)
        return StepData(
            micro_batches=[
                (
                    slice_rows(whole, start, start + self.rows_at_once),
                    labels[start : start + self.rows_at_once],
                )
                for start in starts
            ],
            count=count,
            tokens=int((rows.doc_ids > 0).sum()),
            rows=self.rows_per_step,
            flops=step_flops(self.config, piece_lengths(rows), count),
            next_cursor=after,
        )


def token_batch(rows: Rows, input_ids: NDArray[np.int64]) -> TokenBatch:
    """Return rows with the given (masked) ids as tensors."""
    return TokenBatch(_tensor(input_ids), _tensor(rows.doc_ids), _tensor(rows.positions))


def slice_rows(batch: TokenBatch, start: int, stop: int) -> TokenBatch:
    """Return rows ``start`` to ``stop`` of a batch without segments and flags."""
    return TokenBatch(batch.input_ids[start:stop], batch.doc_ids[start:stop], batch.positions[start:stop])


def piece_lengths(rows: Rows) -> NDArray[np.int64]:
    """Return the lengths of all document pieces in ``rows``, special tokens included."""
    width = int(rows.doc_ids.max(initial=0)) + 1
    keys = rows.doc_ids + np.arange(len(rows.doc_ids))[:, None] * width
    lengths = np.bincount(keys[rows.doc_ids > 0])
    return lengths[lengths > 0]


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(np.int64, copy=False))
