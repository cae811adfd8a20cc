"""Self-attention inside documents: who sees whom, and the weighted sum, in their readable form."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clozelm.nn.dropout import Dropout
from clozelm.nn.select import fastest
from clozelm.types import Context


def visible(
    doc_ids: Int[Tensor, "batch seq"],
    positions: Int[Tensor, "batch seq"],
    window: int | None,
    context: Context = "both",
) -> Bool[Tensor, "batch 1 seq seq"]:
    """Return which keys each query may see: same document, at most ``window // 2`` tokens away, on the given side.

    A token always sees itself. Padding (document 0) sees padding only, so its softmax is defined; its output is
    never read.
    """
    seen = doc_ids[:, :, None] == doc_ids[:, None, :]
    if window is not None or context != "both":
        ahead = positions[:, None, :] - positions[:, :, None]
        if window is not None:
            seen = seen & (ahead.abs() <= window // 2)
        if context != "both":
            seen = seen & (ahead <= 0 if context == "left" else ahead >= 0)
    return seen[:, None]


def attend(
    query: Float[Tensor, "batch heads queries size"],
    key: Float[Tensor, "batch heads seq size"],
    value: Float[Tensor, "batch heads seq size"],
    mask: Bool[Tensor, "batch 1 queries seq"] | None,
    dropout: Dropout | None = None,
) -> Float[Tensor, "batch heads queries size"]:
    """Weigh the values by scaled dot products (Vaswani et al. 2017, 3.2.1); no mask means everything is seen."""
    if dropout is None or not dropout.is_active:
        return fastest(weigh)(query, key, value, mask)
    weights: Tensor = dropout(attention_weights(query, key, mask))
    return weights @ value


def weigh(
    query: Float[Tensor, "batch heads queries size"],
    key: Float[Tensor, "batch heads seq size"],
    value: Float[Tensor, "batch heads seq size"],
    mask: Bool[Tensor, "batch 1 queries seq"] | None,
) -> Float[Tensor, "batch heads queries size"]:
    """Return the values, weighed by the softmax of the scaled dot products, without dropout."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def attention_weights(
    query: Float[Tensor, "batch heads queries size"],
    key: Float[Tensor, "batch heads seq size"],
    mask: Bool[Tensor, "batch 1 queries seq"] | None,
) -> Float[Tensor, "batch heads queries seq"]:
    """Return the softmax of the scaled dot products: each row sums to 1 over what its query sees, 0 elsewhere."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights: Tensor = scores.softmax(dim=-1)
    return weights


@dataclass(frozen=True)
class Record:
    """What an encoder computed on the way, in the order of its layers; it fills the lists it is given.

    ``hidden`` begins with what enters the first layer, and has the output of each layer before the final norm.
    """

    hidden: list[Float[Tensor, "batch seq hidden"]] = field(default_factory=list)
    weights: list[Float[Tensor, "batch heads seq seq"]] = field(default_factory=list)

    def attend(
        self,
        query: Float[Tensor, "batch heads seq size"],
        key: Float[Tensor, "batch heads seq size"],
        value: Float[Tensor, "batch heads seq size"],
        mask: Bool[Tensor, "batch 1 seq seq"] | None,
    ) -> Float[Tensor, "batch heads seq size"]:
        """Equal ``attend`` without dropout, written out, and keep the weights."""
        weights = attention_weights(query, key, mask)
        self.weights.append(weights)
        return weights @ value


def rotary_angles(
    positions: Int[Tensor, "batch seq"], head_size: int, theta: float
) -> tuple[Float[Tensor, "batch seq half"], Float[Tensor, "batch seq half"]]:
    """Return cosines and sines of every position (Su et al. 2021), in fp32."""
    exponent = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    angles = positions[..., None].float() * (1.0 / theta**exponent)
    return angles.cos(), angles.sin()


def split_heads(
    qkv: Float[Tensor, "batch seq 3 heads size"],
    cos: Float[Tensor, "batch seq half"] | None,
    sin: Float[Tensor, "batch seq half"] | None,
) -> tuple[
    Float[Tensor, "batch heads seq size"],
    Float[Tensor, "batch heads seq size"],
    Float[Tensor, "batch heads seq size"],
]:
    """Return queries, keys and values, the first two turned by position where there are angles."""
    if cos is not None and sin is not None:
        qkv = rotate_projection(qkv, cos, sin)
    query, key, value = qkv.transpose(1, 3).unbind(2)
    return query, key, value


def rotate_projection(
    qkv: Float[Tensor, "batch seq 3 heads size"],
    cos: Float[Tensor, "batch seq half"],
    sin: Float[Tensor, "batch seq half"],
) -> Float[Tensor, "batch seq 3 heads size"]:
    """Turn queries and keys by their position's angle: each pair (i, i + size/2) of a head, in fp32."""
    query_key, value = qkv[:, :, :2], qkv[:, :, 2:]
    first, second = query_key.float().chunk(2, dim=-1)
    cos, sin = cos[:, :, None, None], sin[:, :, None, None]
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return torch.cat((turned.to(qkv.dtype), value), dim=2)
