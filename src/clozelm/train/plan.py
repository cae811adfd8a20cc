"""The batches of a step: rows, masks and counts, as a pure function of (seed, cursor, rate)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clozelm.data.loader import Cursor, RowLoader
from clozelm.data.rows import Rows
from clozelm.data.store import TokenStore
from clozelm.errors import SettingsError
from clozelm.masking import Select
from clozelm.masking.mask import Corruption, Masking
from clozelm.masking.rates import random_rates
from clozelm.objectives import Example, Objective
from clozelm.train.ranks import Ranks
from clozelm.train.settings import PretrainSettings
from clozelm.vocab import Vocabulary

ALONE = Ranks()


@dataclass(frozen=True)
class StepData:
    """One update's micro-batches in this process, and the counts of every term of the loss over all of them."""

    micro_batches: list[Example]
    counts: dict[str, int]
    tokens: int
    rows: int
    flops: float
    next_cursor: Cursor


class Batches:
    """Makes the data of any step from its cursor."""

    def __init__(
        self,
        settings: PretrainSettings,
        store: TokenStore,
        vocabulary: Vocabulary,
        objective: Objective,
        select: Select,
        ranks: Ranks = ALONE,
    ) -> None:
        data, masking = settings.data, settings.masking
        self.vocabulary, self.objective = vocabulary, objective
        self.seed = settings.run.seed
        self.rows_per_step = data.tokens_per_step // data.row_length
        if self.rows_per_step % ranks.world:
            raise SettingsError(
                f"data.tokens_per_step={data.tokens_per_step} makes {self.rows_per_step} rows, which {ranks.world} "
                f"processes cannot share evenly: use a multiple of {ranks.world * data.row_length}."
            )
        self.rows_at_once = max(1, data.micro_batch_tokens // data.row_length)
        self.loader = RowLoader(
            store,
            vocabulary,
            row_length=data.row_length,
            seed=self.seed,
            pairs=objective.pairs,
            repeat=not masking.dynamic,
            world=ranks.world,
            rank=ranks.rank,
            unit=data.unit,
        )
        self.ranks = ranks
        self.select, self.schedule = select, masking.schedule
        self.corruption = Corruption(masking.corruption.mask, masking.corruption.random)

    def step(self, cursor: Cursor, rate: float) -> StepData:
        """Return the data of the step at ``cursor`` under masking ``rate``, or one for each row if it is random.

        The micro-batches are this rank's; all counts are of the whole step.
        """
        rows, after = self.loader.batch(cursor, self.rows_per_step)
        is_random = self.schedule == "random"
        rates = random_rates(rows.row_ids, rows.epoch, seed=self.seed) if is_random else rate
        masking = Masking(self.vocabulary, self.select, self.corruption, self.seed, rates)
        whole = self.objective.prepare(rows, masking)
        starts = range(0, len(rows.row_ids), self.rows_at_once)
        own = self.objective.counts(whole)
        tokens, flops, *counts = self.ranks.sums(
            [int((rows.doc_ids > 0).sum()), self.objective.flops(piece_lengths(rows), own), *own.values()]
        )
        return StepData(
            micro_batches=[whole.rows(start, start + self.rows_at_once) for start in starts],
            counts={term: int(count) for term, count in zip(own, counts, strict=True)},
            tokens=int(tokens),
            rows=self.rows_per_step,
            flops=flops,
            next_cursor=after,
        )


def piece_lengths(rows: Rows) -> NDArray[np.int64]:
    """Return the lengths of all document pieces in ``rows``, special tokens included."""
    width = int(rows.doc_ids.max(initial=0)) + 1
    keys = rows.doc_ids + np.arange(len(rows.doc_ids))[:, None] * width
    lengths = np.bincount(keys[rows.doc_ids > 0])
    return lengths[lengths > 0]
