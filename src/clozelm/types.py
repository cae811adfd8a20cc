"""The one batch layout: a rectangle of tokens in which documents are numbered."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Context = Literal["both", "left", "right"]
"""Which tokens of its document a token sees: all of them, or itself and those on one side."""


@dataclass(frozen=True)
class Reading:
    """How a model arrives at the piece at a position: what its encoder sees, and where it is read off.

    ``ahead`` reads the piece at a position off the vector before it, as models that predict the next piece do. BERT
    is ``Reading("both")``, GPT ``Reading("left", ahead=True)``, GPT-BERT ``Reading("both", ahead=True)``.
    """

    context: Context = "both"
    ahead: bool = False

    def __post_init__(self) -> None:
        if self.context not in get_args(Context) or not isinstance(self.ahead, bool):
            raise ValueError(f"no model reads with context={self.context!r} and ahead={self.ahead!r}")

    @property
    def words(self) -> str:
        """The same for a person."""
        side = {"both": "both sides", "left": "the left side alone", "right": "the right side alone"}[self.context]
        return f"{side}, each piece off the vector {'before it' if self.ahead else 'in its place'}"

    @property
    def is_causal(self) -> bool:
        """Whether every piece is predicted from those before it alone, so that no mask is needed."""
        return self.context == "left" and self.ahead


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
        return self.at(slice(start, stop))

    def at(self, rows: slice | Int[Tensor, "count"]) -> TokenBatch:
        """Return the given rows."""
        parts: dict[str, Any] = {
            field.name: value[rows] for field in fields(self) if (value := getattr(self, field.name)) is not None
        }
        return TokenBatch(**parts)

    @classmethod
    def from_padded(cls, input_ids: Tensor, attention_mask: Tensor, **rest: Tensor) -> TokenBatch:
        """Build from the Hugging Face pair: one document a row, padding where the mask is 0.

        Positions count every column, padding included, as the stock models do.
        """
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        return cls(input_ids, attention_mask.to(torch.int64), positions, **rest)
