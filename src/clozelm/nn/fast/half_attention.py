"""Attention in half precision on a CPU, whose gradient is matrix products over kept weights.

PyTorch's fused attention takes over ten times as long backward as forward there. Written out it is matrix
products, which such a CPU is fastest at. Dot products and softmax are fp32, as in the
fused one; the weights are rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

_SCORE_BYTES = 8 << 20  # of fp32 dot products at once, for caches
_MOST_BYTES = 64 << 20  # of weights that one layer keeps; they grow with the square of the rows' length


class _Weigh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()  # once, not in every product
        scale = query.shape[-1] ** -0.5
        weights = query.new_empty(*query.shape[:3], key.shape[2])
        for rows in _chunks(weights.shape):
            scores = query[rows].float().mul_(scale) @ key[rows].float().transpose(-1, -2)
            if mask is not None:
                scores.masked_fill_(~mask[rows], float("-inf"))
            weights[rows] = scores.softmax(dim=-1)
        ctx.save_for_backward(query, key, value, weights)
        return weights @ value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, weights = ctx.saved_tensors
        scale = query.shape[-1] ** -0.5
        grad = grads[0].contiguous()
        grad_weights = grad @ value.transpose(-1, -2)
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        grad_query = (grad_scores @ key).mul_(scale)
        grad_key = (grad_scores.transpose(-1, -2) @ query).mul_(scale)
        return grad_query, grad_key, weights.transpose(-1, -2) @ grad, None


def _chunks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Split rows so that the dot products of each part take about so many bytes."""
    rows, heads, queries, keys = shape
    size = max(1, _SCORE_BYTES // max(1, 4 * heads * queries * keys))
    return (slice(start, start + size) for start in range(0, rows, size))


def weigh(
    query: Float[Tensor, "batch heads queries size"],
    key: Float[Tensor, "batch heads seq size"],
    value: Float[Tensor, "batch heads seq size"],
    mask: Bool[Tensor, "batch 1 queries seq"] | None,
) -> Float[Tensor, "batch heads queries size"]:
    """Equal ``clozelm.nn.attention.weigh``: softmax of scaled dot products, times the values.

    Every query must see a key; gradients have no gradients of their own.
    """
    is_half_on_cpu = query.device.type == "cpu" and query.dtype == torch.bfloat16
    kept = 2 * query.shape[:3].numel() * key.shape[2]
    if is_half_on_cpu and query.requires_grad and torch.is_grad_enabled() and kept <= _MOST_BYTES:
        out: Tensor = _Weigh.apply(query, key, value, mask)  # type: ignore[no-untyped-call]
        return out
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
