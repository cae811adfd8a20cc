"""Units laid out in rows, several to a row, so that hardly any padding is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.tasks.encode import Unit
from clozelm.types import TokenBatch


class Laid(NamedTuple):
    """Units in rows: the batch, the flat positions that are asked (ascending), and what each answer belongs to.

    Answer ``i`` is place ``places[i]`` of example ``owners[i]``.
    """

    batch: TokenBatch
    scored: Int[Tensor, "count"]
    owners: NDArray[np.int64]
    places: NDArray[np.int64]


def lay_out(units: Sequence[Unit], *, pad_id: int) -> Laid:
    """Pack units into rows as long as the longest of them: longest first, each into the fullest row it fits."""
    rows = packed([len(unit.ids) for unit in units])
    width = max((len(unit.ids) for unit in units), default=1)
    shape = (max(len(rows), 1), width)
    input_ids = np.full(shape, pad_id, np.int64)
    doc_ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    has_segments = any(unit.segments is not None for unit in units)
    segments = np.zeros(shape, np.int64) if has_segments else None
    scored, owners, places = [], [], []
    for number, row in enumerate(rows):
        start = 0
        for document, index in enumerate(row, start=1):
            unit = units[index]
            stop = start + len(unit.ids)
            input_ids[number, start:stop] = unit.ids
            doc_ids[number, start:stop] = document
            positions[number, start:stop] = np.arange(len(unit.ids))
            if segments is not None and unit.segments is not None:
                segments[number, start:stop] = unit.segments
            scored.append(number * width + start + unit.columns.astype(np.int64))
            owners.append(np.full(len(unit.columns), unit.owner, np.int64))
            places.append(unit.places.astype(np.int64))
            start = stop
    batch = TokenBatch(
        torch.from_numpy(input_ids),
        torch.from_numpy(doc_ids),
        torch.from_numpy(positions),
        None if segments is None else torch.from_numpy(segments),
    )
    return Laid(batch, torch.from_numpy(_joined(scored)), _joined(owners), _joined(places))


def packed(lengths: Sequence[int]) -> list[list[int]]:
    """Return rows of numbers of units, none longer than the longest unit: best fit decreasing."""
    width = max(lengths, default=0)
    rows: list[list[int]] = []
    free: list[int] = []
    open_rows: list[list[int]] = [[] for _ in range(width + 1)]  # rows by the room that they have left
    for index in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        room = next((left for left in range(lengths[index], width + 1) if open_rows[left]), None)
        if room is None:
            number, room = len(rows), width
            rows.append([])
            free.append(width)
        else:
            number = open_rows[room].pop()
        rows[number].append(index)
        free[number] = room - lengths[index]
        open_rows[free[number]].append(number)
    return rows


def batches(units: Sequence[Unit], *, pad_id: int, tokens: int) -> Iterator[Laid]:
    """Yield units in batches, in their order, at most ``tokens`` pieces or one unit at a time."""
    chosen: list[Unit] = []
    size = 0
    for unit in units:
        if chosen and size + len(unit.ids) > tokens:
            yield lay_out(chosen, pad_id=pad_id)
            chosen, size = [], 0
        chosen.append(unit)
        size += len(unit.ids)
    if chosen:
        yield lay_out(chosen, pad_id=pad_id)


def longest_first(units: Sequence[Unit]) -> list[Unit]:
    """Return the units by length, so that batches of neighbours hardly need padding."""
    return sorted(units, key=lambda unit: -len(unit.ids))


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
