"""Encoded texts in memory, laid out as a token store lays them out on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from clozelm.text.tokenizer import Tokenizer
from clozelm.text.word_cache import BatchEncoder


@dataclass(frozen=True)
class EncodedTexts:
    """Flat arrays of ids and flags cut into documents, for texts that are measured once."""

    ids: NDArray[Any]
    all_flags: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, tokenizer: Tokenizer, texts: Sequence[str]) -> Self:
        """Encode texts exactly as ``prepare`` does, so that the same text gives the same rows and masks."""
        encoded = BatchEncoder(tokenizer)(texts)
        return cls(encoded.ids, encoded.flags, np.concatenate(([0], np.cumsum(encoded.lengths, dtype=np.int64))))

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
        """Flag bytes of a slice."""
        return self.all_flags[start:stop]
