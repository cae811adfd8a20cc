"""Batches of rows by cursor: any batch of any run can be computed from a few integers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clozelm.data.pack import Layout, TextUnit, check_store, num_windows, plan_window
from clozelm.data.pairs import PairKind, check_pairs, plan_pairs
from clozelm.data.rows import Pieces, Rows, Tokens, gather, join
from clozelm.errors import SettingsError
from clozelm.vocab import Vocabulary

_PLANS_KEPT = 4


@dataclass(frozen=True)
class Cursor:
    """Point at the next row of a run: row ``row`` of window ``window`` of epoch ``epoch``."""

    epoch: int = 0
    window: int = 0
    row: int = 0


class RowLoader:
    """Give batches of packed rows as a pure function of (seed, cursor), windows and epochs without seams.

    With ``world`` ranks every rank asks for the same global batch and gets its contiguous share, so
    rows, row ids and therefore masks do not depend on the number of ranks. Plans of the last few
    windows are kept. With ``pairs`` the rows hold sentence pairs, see ``clozelm.data.pairs``. With
    ``repeat`` every epoch gives the rows of epoch 0 again, in the same order and numbered alike, so that
    whatever is drawn by row - masks above all - is drawn once for all. ``unit`` is what stands alone in a
    row: documents, as far as it reaches, or sentences.
    """

    def __init__(
        self,
        store: Tokens,
        vocabulary: Vocabulary,
        *,
        row_length: int,
        seed: int,
        world: int = 1,
        rank: int = 0,
        pairs: PairKind | None = None,
        repeat: bool = False,
        unit: TextUnit = "document",
    ) -> None:
        check_store(store, row_length)
        if pairs is not None:
            check_pairs(store, pairs, row_length)
        if not 0 <= rank < world:
            raise SettingsError(f"rank={rank} must lie between 0 and world - 1 = {world - 1}.")
        self.store = store
        self.vocabulary = vocabulary
        self.row_length = row_length
        self.world = world
        self.rank = rank
        self.repeat = repeat
        self.num_windows = num_windows(store)

        @lru_cache(maxsize=_PLANS_KEPT)
        def plan(epoch: int, window: int) -> Pieces:
            if pairs is None:
                return plan_window(
                    store, row_length=row_length, seed=seed, epoch=epoch, window=window, layout=Layout(unit=unit)
                )
            return plan_pairs(store, pairs, row_length=row_length, seed=seed, epoch=epoch, window=window)

        self.plan = plan

    def batch(self, cursor: Cursor, num_rows: int) -> tuple[Rows, Cursor]:
        """Return this rank's share of the ``num_rows`` rows at ``cursor``, and the cursor after them all."""
        if num_rows < 1 or num_rows % self.world:
            raise SettingsError(
                f"A batch of {num_rows} rows cannot be shared evenly by {self.world} ranks: "
                f"use a positive multiple of {self.world}."
            )
        share = num_rows // self.world
        mine_from, mine_to = self.rank * share, (self.rank + 1) * share
        parts: list[Rows] = []
        done = 0
        while done < num_rows:
            plan = self.plan(self._epoch(cursor), cursor.window)
            stop = min(plan.num_rows, cursor.row + num_rows - done)
            first = max(cursor.row, cursor.row + mine_from - done)
            last = min(stop, cursor.row + mine_to - done)
            if first < last:
                parts.append(self._rows(plan, cursor, np.arange(first, last)))
            done += stop - cursor.row
            cursor = self._moved(cursor, stop, plan.num_rows)
        return join(parts), cursor

    def _rows(self, plan: Pieces, cursor: Cursor, rows: np.ndarray) -> Rows:
        return gather(
            self.store,
            self.vocabulary,
            plan.take(rows),
            row_length=self.row_length,
            row_ids=(cursor.window << 32) | rows,
            epoch=self._epoch(cursor),
        )

    def _epoch(self, cursor: Cursor) -> int:
        """Return the epoch whose rows stand at ``cursor``."""
        return 0 if self.repeat else cursor.epoch

    def _moved(self, cursor: Cursor, row: int, num_rows: int) -> Cursor:
        """Move on to ``row``, or to the next window or epoch when the window is used up."""
        if row < num_rows:
            return Cursor(cursor.epoch, cursor.window, row)
        if cursor.window + 1 < self.num_windows:
            return Cursor(cursor.epoch, cursor.window + 1, 0)
        return Cursor(cursor.epoch + 1, 0, 0)
