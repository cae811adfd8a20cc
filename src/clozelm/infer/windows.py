"""Pieces of text that a model reads, several to a row, and the columns it is asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.types import TokenBatch

TOKENS_PER_BATCH = 8192


class Window(NamedTuple):
    """One sequence with its special tokens, and the columns to be scored, ascending."""

    ids: NDArray[np.int64]
    columns: list[int]


class WindowBatch(NamedTuple):
    """Windows laid out in rows: the batch, the flat positions to score, and the window each belongs to."""

    batch: TokenBatch
    scored: Int[Tensor, "count"]
    owners: list[int]


def window_batches(windows: Sequence[Window]) -> Iterator[WindowBatch]:
    """Yield batches that hold every window once, longest first; no window sees another of its row."""
    for rows in _pack([len(window.ids) for window in windows]):
        yield _lay_out(windows, rows)


def _pack(lengths: list[int]) -> Iterator[list[list[int]]]:
    """Yield batches of rows of window numbers, longest first, no row longer than the batch's first window."""
    rows: list[list[int]] = []
    width = free = 0
    for index in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        if rows and lengths[index] <= free:
            rows[-1].append(index)
            free -= lengths[index]
            continue
        if (len(rows) + 1) * width > TOKENS_PER_BATCH and rows:
            yield rows
            rows = []
        if not rows:
            width = lengths[index]
        rows.append([index])
        free = width - lengths[index]
    if rows:
        yield rows


def _lay_out(windows: Sequence[Window], rows: list[list[int]]) -> WindowBatch:
    width = max(sum(len(windows[index].ids) for index in row) for row in rows)
    input_ids, doc_ids, positions = (np.zeros((len(rows), width), dtype=np.int64) for _ in range(3))
    scored, owners = [], []
    for number, row in enumerate(rows):
        start = 0
        for document, index in enumerate(row, start=1):
            ids, columns = windows[index]
            place = (number, slice(start, start + len(ids)))
            input_ids[place] = ids
            doc_ids[place] = document
            positions[place] = np.arange(len(ids))
            scored += [number * width + start + column for column in columns]
            owners += [index] * len(columns)
            start += len(ids)
    batch = TokenBatch(*(torch.from_numpy(each) for each in (input_ids, doc_ids, positions)))
    return WindowBatch(batch, torch.tensor(scored, dtype=torch.int64), owners)
