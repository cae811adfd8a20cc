"""What attention needs to know of a batch, worked out once for all layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clozelm.nn.attention import Record, attend, rotary_angles, split_heads, visible
from clozelm.nn.config import EncoderConfig
from clozelm.nn.dropout import Dropout
from clozelm.nn.select import fastest
from clozelm.types import Context, TokenBatch


@dataclass(frozen=True)
class Kind:
    """What all global, or all local, layers share: the mask (None: everything is seen) and the angles."""

    mask: Bool[Tensor, "batch 1 seq seq"] | None
    cos: Float[Tensor, "batch seq half"] | None
    sin: Float[Tensor, "batch seq half"] | None


@dataclass(frozen=True)
class Scored:
    """The scored positions: flat, and as a rectangle of columns per row, padded with column 0."""

    flat: Int[Tensor, "count"]
    columns: Int[Tensor, "batch queries"]
    is_real: Bool[Tensor, "batch queries"]

    @classmethod
    def of(cls, flat: Int[Tensor, "count"], rows: int, width: int) -> Scored:
        """Arrange ascending flat positions by row."""
        row, column = flat // width, flat % width
        counts = torch.bincount(row, minlength=rows)
        widest = max(int(counts.max()), 1) if len(flat) else 1
        place = torch.arange(len(flat), device=flat.device) - (counts.cumsum(0) - counts)[row]
        columns = torch.zeros(rows, widest, dtype=flat.dtype, device=flat.device)
        columns[row, place] = column
        is_real = torch.arange(widest, device=flat.device) < counts[:, None]
        return cls(flat, columns, is_real)


@dataclass(frozen=True)
class Layout:
    """Masks, rotary angles and scored positions of one batch; a ``record`` is kept of all that attends by it."""

    rows: int
    width: int
    kinds: dict[bool, Kind]
    scored: Scored | None
    record: Record | None = None

    @classmethod
    def of(
        cls,
        batch: TokenBatch,
        config: EncoderConfig,
        scored: Int[Tensor, "count"] | None,
        context: Context = "both",
        record: Record | None = None,
    ) -> Layout:
        """Work out what the layers of ``config`` will ask of ``batch``."""
        rows, width = batch.input_ids.shape
        kinds = {}
        for is_global in {config.is_global(index) for index in range(config.num_layers)}:
            window = None if is_global else config.window
            theta = config.rope_theta if is_global else config.local_rope_theta
            angles = rotary_angles(batch.positions, config.head_size, theta) if config.rotary else (None, None)
            kinds[is_global] = Kind(_mask(batch, window, context), *angles)
        return cls(rows, width, kinds, None if scored is None else Scored.of(scored, rows, width), record)

    def scored_of(self, x: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "count hidden"]:
        """Return the rows of ``x`` at the scored positions."""
        assert self.scored is not None
        return x.index_select(0, self.scored.flat)

    def attend(
        self,
        qkv: Float[Tensor, "tokens three_hidden"],
        *,
        num_heads: int,
        is_global: bool,
        dropout: Dropout,
        scored_only: bool,
    ) -> Float[Tensor, "count hidden"]:
        """Attend within documents; with ``scored_only`` one answer per scored position."""
        kind = self.kinds[is_global]
        qkv = qkv.view(self.rows, self.width, 3, num_heads, -1)
        query, key, value = fastest(split_heads)(qkv, kind.cos, kind.sin)
        mask = kind.mask
        if scored_only:
            assert self.scored is not None
            row = torch.arange(self.rows, device=qkv.device)[:, None]
            query = query.transpose(1, 2)[row, self.scored.columns].transpose(1, 2)
            mask = None if mask is None else mask[:, 0][row, self.scored.columns][:, None]
        heads = query, key, value
        mixed = attend(*heads, mask, dropout) if self.record is None else self.record.attend(*heads, mask)
        mixed = mixed.transpose(1, 2).flatten(2)
        if scored_only:
            assert self.scored is not None
            return mixed[self.scored.is_real]
        return mixed.flatten(0, 1)


def _mask(batch: TokenBatch, window: int | None, context: Context) -> Bool[Tensor, "batch 1 seq seq"] | None:
    """Return who sees whom, or None when every row is one whole document, within the window, and all see all."""
    is_whole = context == "both" and bool((batch.doc_ids == 1).all())
    if is_whole and (window is None or int(batch.positions.max()) <= window // 2):
        return None
    return visible(batch.doc_ids, batch.positions, window, context)
