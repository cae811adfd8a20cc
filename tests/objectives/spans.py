"""Rows and masking settings for tests of span corruption."""

import numpy as np

from clozelm.data.rows import Rows
from clozelm.masking import Corruption, Masking, Uniform
from clozelm.types import TokenBatch
from tests import tiny_models


def rows_of(batch: TokenBatch) -> Rows:
    """The same cells as rows of a store would be, numbered from 0."""
    ids, docs, positions = (part.numpy() for part in (batch.input_ids, batch.doc_ids, batch.positions))
    nowhere = np.full_like(ids, -1)
    return Rows(
        input_ids=ids,
        doc_ids=docs.astype(np.int32),
        positions=positions.astype(np.int32),
        flags=np.zeros(ids.shape, dtype=np.uint8),
        row_ids=np.arange(len(ids)),
        epoch=np.zeros(len(ids), dtype=np.int64),
        token_index=nowhere,
        document_index=nowhere,
    )


def masking(rate: float = 0.15, seed: int = 0) -> Masking:
    return Masking(tiny_models.wordpiece().vocabulary, Uniform().select, Corruption(), seed=seed, rate=rate)
