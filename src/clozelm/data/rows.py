"""Rows of packed document pieces, and how they are gathered from a token store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clozelm.vocab import Vocabulary

IGNORED = -100
"""The pair label of a cell that has none."""


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
class PairColumns:
    """Say what makes pairs of pieces, for each piece of a plan [pieces] or each cell of rows [rows, seq].

    ``segment_ids`` are 1 for the second piece of a pair and its [SEP], 0 elsewhere. ``labels`` are 0 or
    1 at the first piece of a pair, that is at its [CLS] cell, and ``IGNORED`` elsewhere.
    """

    segment_ids: NDArray[np.int32]
    labels: NDArray[np.int64]

    def take(self, index: NDArray[np.int64]) -> PairColumns:
        """Return the pieces, or the rows, at ``index``."""
        return PairColumns(self.segment_ids[index], self.labels[index])


@dataclass(frozen=True)
class Rows:
    """Hold a batch of packed rows: ``[CLS] piece [SEP]`` one after another, padding last.

    ``doc_ids`` counts the pieces of a row from 1 and is 0 for padding; ``positions`` restart at 0 in
    every piece. ``token_index`` is the token's place in the store, -1 for special tokens and padding;
    ``document_index`` the document's, -1 for padding. ``row_ids`` are unique within an ``epoch``, and
    the rows of one batch may belong to two epochs. With ``pairs``, a document of a row is a pair
    ``[CLS] piece [SEP] piece [SEP]`` or, where nothing could be paired, a piece as ever.
    """

    input_ids: NDArray[np.int64]  # [rows, seq]
    doc_ids: NDArray[np.int32]  # [rows, seq]
    positions: NDArray[np.int32]  # [rows, seq]
    flags: NDArray[np.uint8]  # [rows, seq]
    row_ids: NDArray[np.int64]  # [rows]
    epoch: NDArray[np.int64]  # [rows]
    token_index: NDArray[np.int64]  # [rows, seq]
    document_index: NDArray[np.int64]  # [rows, seq]
    pairs: PairColumns | None = None


@dataclass(frozen=True)
class Pieces:
    """List the document pieces of some rows, row after row: ``row_offsets[r]`` is the first of row ``r``.

    With ``pairs``, a piece of segment 1 stands in one document of its row with the piece before it.
    """

    start: NDArray[np.int64]
    length: NDArray[np.int64]
    document: NDArray[np.int64]
    row_offsets: NDArray[np.int64]
    pairs: PairColumns | None = None

    @property
    def num_rows(self) -> int:
        """How many rows."""
        return int(self.row_offsets.size - 1)

    def take(self, rows: NDArray[np.int64]) -> Pieces:
        """Return the pieces of the given rows, in the given order."""
        counts = self.row_offsets[rows + 1] - self.row_offsets[rows]
        row_offsets = offsets_of(counts)
        index = np.repeat(self.row_offsets[rows] - row_offsets[:-1], counts) + np.arange(row_offsets[-1])
        pairs = None if self.pairs is None else self.pairs.take(index)
        return Pieces(self.start[index], self.length[index], self.document[index], row_offsets, pairs)


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
    lead = np.ones(pieces.start.size, dtype=np.int64)  # [CLS], which a second piece does without
    if pieces.pairs is not None:
        lead -= pieces.pairs.segment_ids
    total = pieces.length + lead + 1  # with [SEP]
    before = offsets_of(total)
    first_of_row = np.repeat(pieces.row_offsets[:-1], counts)
    base = np.repeat(np.arange(pieces.num_rows) * row_length, counts) + before[:-1] - before[first_of_row]
    local = np.arange(before[-1]) - np.repeat(before[:-1], total)
    cell = np.repeat(base, total) + local
    is_token = (local >= np.repeat(lead, total)) & (local < np.repeat(total - 1, total))
    token_cell = cell[is_token]
    token_index = (np.repeat(pieces.start - lead, total) + local)[is_token]
    begins = base[lead == 1]
    spans = list(zip(pieces.start.tolist(), (pieces.start + pieces.length).tolist(), strict=True))

    def filled(value: int, dtype: type, where: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
        array: NDArray[Any] = np.full(shape[0] * shape[1], value, dtype=dtype)
        array[where] = values
        return array

    input_ids = filled(vocabulary.pad_id, np.int64, begins, np.full(begins.size, vocabulary.cls_id))
    input_ids[base + total - 1] = vocabulary.sep_id
    input_ids[token_cell] = joined([store.tokens(start, stop) for start, stop in spans])
    begun: NDArray[np.int64] = np.cumsum(lead)
    number = begun - begun[first_of_row] + 1
    position = local + np.repeat((1 - lead) * np.roll(total, 1), total)
    pairs = None
    if pieces.pairs is not None:
        segment_ids = filled(0, np.int32, cell, np.repeat(pieces.pairs.segment_ids, total))
        labels = filled(IGNORED, np.int64, base, pieces.pairs.labels)
        pairs = PairColumns(segment_ids.reshape(shape), labels.reshape(shape))
    return Rows(
        input_ids=input_ids.reshape(shape),
        doc_ids=filled(0, np.int32, cell, np.repeat(number, total)).reshape(shape),
        positions=filled(0, np.int32, cell, position).reshape(shape),
        flags=filled(0, np.uint8, token_cell, joined([store.flags(*span) for span in spans])).reshape(shape),
        row_ids=row_ids,
        epoch=np.full(shape[0], epoch, dtype=np.int64),
        token_index=filled(-1, np.int64, token_cell, token_index).reshape(shape),
        document_index=filled(-1, np.int64, cell, np.repeat(pieces.document, total)).reshape(shape),
        pairs=pairs,
    )


def join(parts: Sequence[Rows]) -> Rows:
    """Put batches of rows of one length one after another; all of them have pairs, or none."""
    if len(parts) == 1:
        return parts[0]
    pairs = [part.pairs for part in parts if part.pairs is not None]
    if len(pairs) not in (0, len(parts)):
        raise ValueError("rows with pairs and rows without cannot be joined")
    names = [field.name for field in fields(Rows) if field.name != "pairs"]
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    if not pairs:
        return Rows(**columns)
    segment_ids = np.concatenate([each.segment_ids for each in pairs])
    return Rows(**columns, pairs=PairColumns(segment_ids, np.concatenate([each.labels for each in pairs])))


def joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Put slices of a store one after another; there may be none."""
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def offsets_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where runs of these lengths begin, and at the end where the last one stops."""
    offsets = np.zeros(counts.size + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
