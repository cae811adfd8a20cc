"""GEGLU whose gradient is written straight into one buffer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Geglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, wide: Tensor) -> Tensor:
        inner, gate = wide.chunk(2, dim=-1)
        active = F.gelu(inner)
        ctx.save_for_backward(wide, active)
        return active * gate

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        wide, active = ctx.saved_tensors
        inner, gate = wide.chunk(2, dim=-1)
        grad_wide = torch.empty_like(wide)
        grad_inner, grad_gate = grad_wide.chunk(2, dim=-1)
        torch.mul(grads[0], active, out=grad_gate)
        torch.ops.aten.gelu_backward.grad_input(grads[0] * gate, inner, grad_input=grad_inner)
        return grad_wide


def geglu(wide: Float[Tensor, "*rows twice"]) -> Float[Tensor, "*rows width"]:
    """Equal ``clozelm.nn.encoder.geglu``: GELU of the first half times the second (Shazeer 2020)."""
    out: Tensor = _Geglu.apply(wide)  # type: ignore[no-untyped-call]
    return out
