"""Rotary positions turned in place, in the memory of the fused projection."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _RotateInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.mark_dirty(qkv)
        _turn(qkv, cos, sin)
        return qkv

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        grad = grads[0].clone(memory_format=torch.contiguous_format)
        _turn(grad, cos, -sin)
        return grad, None, None


def rotate_projection(
    qkv: Float[Tensor, "batch seq 3 heads size"],
    cos: Float[Tensor, "batch seq half"],
    sin: Float[Tensor, "batch seq half"],
) -> Float[Tensor, "batch seq 3 heads size"]:
    """Equal ``clozelm.nn.attention.rotate_projection``, reusing the projection's memory (fp32; a copy below it).

    A linear layer does not need its output to differentiate, so nothing is lost by writing over it.
    """
    if qkv.dtype != torch.float32:
        turned: Tensor = _RotateInPlace.apply(qkv.float(), cos, sin)  # type: ignore[no-untyped-call]
        return turned.to(qkv.dtype)
    turned = _RotateInPlace.apply(qkv, cos, sin)  # type: ignore[no-untyped-call]
    return turned


def _turn(qkv: Tensor, cos: Tensor, sin: Tensor) -> None:
    first, second = qkv[:, :, :2].chunk(2, dim=-1)
    cos, sin = cos[:, :, None, None], sin[:, :, None, None]
    crossed = first * sin
    first.mul_(cos).addcmul_(second, sin, value=-1)
    second.mul_(cos).add_(crossed)
