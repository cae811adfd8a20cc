"""A fused projection laid out as heads and turned by position, in one piece of memory each way."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from clozelm.nn import attention

_TURNED_BYTES = 1 << 20  # of fp32 that are turned at once: what caches hold
_Heads = tuple[Tensor, Tensor, Tensor]


class _RotateInPlace(torch.autograd.Function):
    """For fp32, whose attention reads heads where they are: a linear layer does not need its output again."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.mark_dirty(qkv)
        _turn_in_place(qkv, cos, sin)
        return qkv

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        grad = grads[0].clone(memory_format=torch.contiguous_format)
        _turn_in_place(grad, cos, -sin)
        return grad, None, None


class _SplitHeads(torch.autograd.Function):
    """For half precision: a copy head by head, turned in fp32; gradients go straight into one buffer."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor | None, sin: Tensor | None) -> _Heads:
        ctx.save_for_backward(cos, sin)
        heads = qkv.permute(2, 0, 3, 1, 4).contiguous()
        if cos is not None and sin is not None:
            _turn(heads[:2], heads[:2], cos, sin)
        query, key, value = heads
        return query, key, value

    @staticmethod
    @once_differentiable
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
    """Equal ``clozelm.nn.attention.split_heads``; in fp32 the projection's memory is written over.

    Gradients have no gradients of their own.
    """
    if qkv.dtype == torch.float32:
        if cos is not None:
            qkv = _RotateInPlace.apply(qkv, cos, sin)  # type: ignore[no-untyped-call]
        return attention.split_heads(qkv, None, None)  # views: attention in fp32 reads them as they are
    if cos is None and not qkv.requires_grad:
        return attention.split_heads(qkv, None, None)
    out: _Heads = _SplitHeads.apply(qkv, cos, sin)  # type: ignore[no-untyped-call]
    return out


def _turn_in_place(qkv: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn queries and keys of [batch, seq, 3, heads, size]."""
    first, second = qkv[:, :, :2].chunk(2, dim=-1)
    cos, sin = cos[:, :, None, None], sin[:, :, None, None]
    crossed = first * sin
    first.mul_(cos).addcmul_(second, sin, value=-1)
    second.mul_(cos).add_(crossed)


def _turn(parts: Tensor, into: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn [parts, batch, heads, seq, size] by the angles of [batch, seq] in fp32, some rows at a time."""
    batch = parts.shape[1]
    rows = max(1, _TURNED_BYTES * batch // max(1, 4 * parts.numel())) if parts.device.type == "cpu" else batch
    cos, sin = cos[:, None], sin[:, None]
    for start in range(0, batch, max(1, rows)):
        some = slice(start, start + rows)
        first, second = parts[:, some].float().chunk(2, dim=-1)
        turned = into[:, some].chunk(2, dim=-1)
        crossed = first * sin[some]
        turned[0].copy_(torch.addcmul(first * cos[some], second, sin[some], value=-1))
        turned[1].copy_((second * cos[some]).add_(crossed))
