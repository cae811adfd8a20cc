"""Answers for many token rows: equal lengths together, equal rows once, a capped number of tokens at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.infer.copies import Rows
from clozelm.types import TokenBatch

TOKENS_PER_BATCH = 4096


class Question(NamedTuple):
    """A batch and what is asked of it: ``targets`` at ``scored[which]``; ``scored`` ascends, each place once."""

    batch: TokenBatch
    scored: Int[Tensor, "places"]
    which: Int[Tensor, "count"]
    targets: Int[Tensor, "count"]


Answer = Callable[[Question], NDArray[np.float64]]


def answers(rows: Sequence[Rows], answer: Answer, tokens_per_batch: int | None = None) -> NDArray[np.float64]:
    """Return what ``answer`` gives for everything that ``rows`` ask, in their order.

    Rows of one length make full rectangles, which need neither padding nor an attention mask. A row that comes
    twice, as when two sentences differ in the masked word alone, is computed once.
    """
    limit = TOKENS_PER_BATCH if tokens_per_batch is None else tokens_per_batch
    counts = np.array([len(one.target) for one in rows], dtype=np.int64)
    offsets = np.cumsum(counts) - counts
    scores = np.zeros(int(counts.sum()))
    by_width: dict[int, list[int]] = {}
    for number, one in enumerate(rows):
        by_width.setdefault(one.ids.shape[1], []).append(number)
    for members in by_width.values():
        place = np.concatenate([offsets[number] + np.arange(counts[number]) for number in members])
        for chosen, question in _questions(_stacked([rows[number] for number in members]), limit):
            scores[place[chosen]] = answer(question)
    return scores


def _stacked(parts: Sequence[Rows]) -> Rows:
    """Put rows of one length under each other."""
    sizes = np.array([len(part.ids) for part in parts], dtype=np.int64)
    before = np.cumsum(sizes) - sizes
    return Rows(
        ids=np.concatenate([part.ids for part in parts]),
        row=np.concatenate([part.row + first for part, first in zip(parts, before, strict=True)]),
        column=np.concatenate([part.column for part in parts]),
        target=np.concatenate([part.target for part in parts]),
    )


def _questions(rows: Rows, limit: int) -> Iterator[tuple[NDArray[np.int64], Question]]:
    """Yield batches of distinct rows, at most ``limit`` tokens or one row each, with the places they answer."""
    distinct, inverse = np.unique(rows.ids, axis=0, return_inverse=True)
    row = inverse.reshape(-1)[rows.row]
    order = np.argsort(row, kind="stable")
    width = distinct.shape[1]
    size = max(1, limit // width)
    for start in range(0, len(distinct), size):
        chosen = order[slice(*np.searchsorted(row[order], [start, start + size]))]
        flat = (row[chosen] - start) * width + rows.column[chosen]
        scored, which = np.unique(flat, return_inverse=True)
        targets = torch.from_numpy(rows.target[chosen])
        yield (
            chosen,
            Question(
                _rectangle(distinct[start : start + size]),
                torch.from_numpy(scored),
                torch.from_numpy(which),
                targets,
            ),
        )


def _rectangle(ids: NDArray[np.int64]) -> TokenBatch:
    """One document a row, all of one length."""
    input_ids = torch.from_numpy(ids)
    positions = torch.arange(input_ids.shape[1]).expand_as(input_ids)
    return TokenBatch(input_ids, torch.ones_like(input_ids), positions)
