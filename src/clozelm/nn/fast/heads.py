"""A fused projection laid out as heads and turned by position, whose gradients go straight into one buffer."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clozelm.nn import attention

_TURNED_BYTES = 1 << 20  # of fp32 that are turned at once: what caches hold
_Heads = tuple[Tensor, Tensor, Tensor]


class _SplitHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor | None, sin: Tensor | None) -> _Heads:
        ctx.save_for_backward(cos, sin)
        heads = qkv.permute(2, 0, 3, 1, 4).contiguous()
        if cos is not None and sin is not None:
            _turn(heads[:2], heads[:2], cos, sin)
        query, key, value = heads
        return query, key, value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        batch, heads, seq, size = grads[0].shape
        grad = grads[0].new_empty(batch, seq, 3, heads, size)
        into = grad.permute(2, 0, 3, 1, 4)
        for part, given in enumerate(grads):
            if cos is None or part == 2:
                into[part].copy_(given)
            else:
                _turn(given[None], into[part, None], cos, -sin)
        return grad, None, None


def split_heads(
    qkv: Float[Tensor, "batch seq 3 heads size"],
    cos: Float[Tensor, "batch seq half"] | None,
    sin: Float[Tensor, "batch seq half"] | None,
) -> tuple[
    Float[Tensor, "batch heads seq size"],
    Float[Tensor, "batch heads seq size"],
    Float[Tensor, "batch heads seq size"],
]:
    """Equal ``clozelm.nn.attention.split_heads``, in memory of its own, head by head, where that pays."""
    if cos is None and not (qkv.requires_grad and qkv.dtype != torch.float32):
        return attention.split_heads(qkv, cos, sin)  # views; fp32 attention reads them as they are
    out: _Heads = _SplitHeads.apply(qkv, cos, sin)  # type: ignore[no-untyped-call]
    return out


def _turn(parts: Tensor, into: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn [parts, batch, heads, seq, size] by the angles of [batch, seq] in fp32, some rows at a time."""
    rows = max(1, _TURNED_BYTES // (4 * parts[:, 0].numel())) if parts.device.type == "cpu" else parts.shape[1]
    cos, sin = cos[:, None], sin[:, None]
    for start in range(0, parts.shape[1], rows):
        some = slice(start, start + rows)
        first, second = parts[:, some].float().chunk(2, dim=-1)
        turned = into[:, some].chunk(2, dim=-1)
        crossed = first * sin[some]
        turned[0].copy_(torch.addcmul(first * cos[some], second, sin[some], value=-1))
        turned[1].copy_((second * cos[some]).add_(crossed))
