"""Encoded texts in memory, laid out as a token store lays them out on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EncodedTexts:
    """A flat array of ids cut into documents, for texts that are measured once; flags are all 0."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[NDArray[np.int32]]) -> Self:
        """Lay the ids of several texts end to end."""
        lengths = [len(ids) for ids in texts]
        offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        return cls(np.concatenate(texts) if texts else np.zeros(0, dtype=np.int32), offsets)

    @property
    def num_documents(self) -> int:
        """How many texts, empty ones included."""
        return len(self.offsets) - 1

    @property
    def num_tokens(self) -> int:
        """How many tokens, in all texts."""
        return len(self.ids)

    def tokens(self, start: int, stop: int) -> NDArray[Any]:
        """Ids of a slice."""
        return self.ids[start:stop]

    def flags(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Flag bytes of a slice: none is known."""
        return np.zeros(stop - start, dtype=np.uint8)
