"""Rows of packed document pieces, and how they are gathered from a token store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clozelm.vocab import Vocabulary


class Tokens(Protocol):
    """A flat array of tokens cut into documents, as ``TokenStore`` keeps it; no special tokens inside."""

    @property
    def num_documents(self) -> int:
        """How many documents, empty ones included."""

    @property
    def num_tokens(self) -> int:
        """How many tokens, in all documents."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each document starts, and at the end ``num_tokens``."""

    def tokens(self, start: int, stop: int) -> NDArray[Any]:
        """Ids of a slice; any unsigned integer type."""

    def flags(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Flag bytes of a slice."""


@dataclass(frozen=True)
class Rows:
    """Hold a batch of packed rows: ``[CLS] piece [SEP]`` one after another, padding last.

    ``doc_ids`` counts the pieces of a row from 1 and is 0 for padding; ``positions`` restart at 0 in
    every piece. ``token_index`` is the token's place in the store, -1 for special tokens and padding;
    ``document_index`` the document's, -1 for padding. ``row_ids`` are unique within an ``epoch``, and
    the rows of one batch may belong to two epochs.
    """

    input_ids: NDArray[np.int64]  # [rows, seq]
    doc_ids: NDArray[np.int32]  # [rows, seq]
    positions: NDArray[np.int32]  # [rows, seq]
    flags: NDArray[np.uint8]  # [rows, seq]
    row_ids: NDArray[np.int64]  # [rows]
    epoch: NDArray[np.int64]  # [rows]
    token_index: NDArray[np.int64]  # [rows, seq]
    document_index: NDArray[np.int64]  # [rows, seq]


@dataclass(frozen=True)
class Pieces:
    """List the document pieces of some rows, row after row: ``row_offsets[r]`` is the first of row ``r``."""

    start: NDArray[np.int64]
    length: NDArray[np.int64]
    document: NDArray[np.int64]
    row_offsets: NDArray[np.int64]

    @property
    def num_rows(self) -> int:
        """How many rows."""
        return int(self.row_offsets.size - 1)

    def take(self, rows: NDArray[np.int64]) -> Pieces:
        """Return the pieces of the given rows, in the given order."""
        counts = self.row_offsets[rows + 1] - self.row_offsets[rows]
        row_offsets = _offsets(counts)
        index = np.repeat(self.row_offsets[rows] - row_offsets[:-1], counts) + np.arange(row_offsets[-1])
        return Pieces(self.start[index], self.length[index], self.document[index], row_offsets)


def gather(
    store: Tokens,
    vocabulary: Vocabulary,
    pieces: Pieces,
    *,
    row_length: int,
    row_ids: NDArray[np.int64],
    epoch: int,
) -> Rows:
    """Read the tokens of some rows from the store and lay them out."""
    shape = (pieces.num_rows, row_length)
    counts = np.diff(pieces.row_offsets)
    total = pieces.length + 2  # with [CLS] and [SEP]
    before = _offsets(total)
    first_of_row = np.repeat(pieces.row_offsets[:-1], counts)
    base = np.repeat(np.arange(pieces.num_rows) * row_length, counts) + before[:-1] - before[first_of_row]
    local = np.arange(before[-1]) - np.repeat(before[:-1], total)
    cell = np.repeat(base, total) + local
    is_token = (local > 0) & (local < np.repeat(total - 1, total))
    token_cell = cell[is_token]
    token_index = (np.repeat(pieces.start - 1, total) + local)[is_token]
    spans = list(zip(pieces.start.tolist(), (pieces.start + pieces.length).tolist(), strict=True))

    def filled(value: int, dtype: type, where: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
        array: NDArray[Any] = np.full(shape[0] * shape[1], value, dtype=dtype)
        array[where] = values
        return array

    input_ids = filled(vocabulary.pad_id, np.int64, base, np.full(base.size, vocabulary.cls_id))
    input_ids[base + total - 1] = vocabulary.sep_id
    input_ids[token_cell] = _joined([store.tokens(start, stop) for start, stop in spans])
    number = np.arange(base.size) - first_of_row + 1
    return Rows(
        input_ids=input_ids.reshape(shape),
        doc_ids=filled(0, np.int32, cell, np.repeat(number, total)).reshape(shape),
        positions=filled(0, np.int32, cell, local).reshape(shape),
        flags=filled(0, np.uint8, token_cell, _joined([store.flags(*span) for span in spans])).reshape(shape),
        row_ids=row_ids,
        epoch=np.full(shape[0], epoch, dtype=np.int64),
        token_index=filled(-1, np.int64, token_cell, token_index).reshape(shape),
        document_index=filled(-1, np.int64, cell, np.repeat(pieces.document, total)).reshape(shape),
    )


def join(parts: Sequence[Rows]) -> Rows:
    """Put batches of rows of one length one after another."""
    if len(parts) == 1:
        return parts[0]
    names = Rows.__annotations__
    return Rows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(counts.size + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
