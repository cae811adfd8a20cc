"""The one batch layout: a rectangle of tokens in which documents are numbered."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class TokenBatch:
    """Rows of tokens; several documents may share a row, and none sees another.

    ``doc_ids`` is 0 for padding and 1, 2, ... for the documents of the row; ``positions`` restart at 0
    in every document. ``flags`` carries the token store's bits (see ``clozelm.data.store``).
    """

    input_ids: Int[Tensor, "batch seq"]
    doc_ids: Int[Tensor, "batch seq"]
    positions: Int[Tensor, "batch seq"]
    segment_ids: Int[Tensor, "batch seq"] | None = None
    flags: Int[Tensor, "batch seq"] | None = None

    @property
    def is_token(self) -> Bool[Tensor, "batch seq"]:
        """True where there is a token, false on padding."""
        return self.doc_ids > 0

    def to(self, device: torch.device | str) -> TokenBatch:
        """Return the same batch on another device."""
        moved: dict[str, Any] = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return replace(self, **moved)

    def rows(self, start: int, stop: int) -> TokenBatch:
        """Return rows ``start`` to ``stop``."""
        parts: dict[str, Any] = {
            field.name: value[start:stop]
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return TokenBatch(**parts)

    @classmethod
    def from_padded(cls, input_ids: Tensor, attention_mask: Tensor, **rest: Tensor) -> TokenBatch:
        """Build from the Hugging Face pair: one document a row, padding where the mask is 0.

        Positions count every column, padding included, as the stock models do.
        """
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        return cls(input_ids, attention_mask.to(torch.int64), positions, **rest)
