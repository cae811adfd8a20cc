"""First weights with which heads look at the tokens beside them, for encoders with learned positions.

Drawn at random, an encoder with learned positions attends everywhere alike, and must find out which position is
next to which before any word can help to predict another: for millions of tokens the loss stays just below that of
word frequencies. Sinusoids say where things are (Vaswani et al. 2017, 3.5), and first weights that do what trained
heads do have helped before (Trockman & Kolter 2023). Both meet here as a start: every weight goes on learning.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clozelm.errors import ModelError
from clozelm.nn.encoder import Embeddings, Encoder, Layer

_SLOWEST = 100.0  # tokens per radian of the slowest sinusoid: what separates neighbours, not chapters
_SHARPNESS = 10.0  # logit of the token looked at, before the softmax; others fall off within a few tokens
_MOST_DIMS = 64
_PROBES = 512


@torch.no_grad()
def look_beside(encoder: Encoder, generator: torch.Generator) -> None:
    """Let head ``h`` of every layer begin with the token 1 before, 1 after, 2 before, 2 after it, and so on.

    A quarter of the embedding's dimensions, at most 64, is given to sinusoids of the position, and tokens and
    segments begin without them; queries and keys read these dimensions, the keys turned by the head's distance.
    A projection of narrow embeddings begins without loss, and with vectors as long as those that norms give later
    layers. Everything else stays as it was drawn. Raises ``ModelError`` for rotary encoders, which need no help.
    """
    embeddings, config = encoder.embeddings, encoder.config
    if embeddings.positions is None:
        raise ModelError("An encoder with rotary positions cannot begin with heads that look beside them.")
    size = config.hidden_size // config.num_heads
    dims = min(_MOST_DIMS, config.embedding_width // 4) // 2 * 2
    speeds = _SLOWEST ** -torch.linspace(0.0, 1.0, dims // 2)
    _place_sinusoids(embeddings, speeds, config.init_std)
    _widen(embeddings)
    read, power = _reader(embeddings, dims, generator)
    wide = max(size, dims)
    scale = math.sqrt(_SHARPNESS * math.sqrt(size) / power)
    for layer in encoder.layers:
        assert isinstance(layer, Layer)
        qkv = layer.attention.qkv.weight.view(3, config.num_heads, size, config.hidden_size)
        for head in range(config.num_heads):
            mixed = torch.linalg.qr(torch.randn(wide, wide, generator=generator))[0][:size, :dims]
            distance = (head // 2 + 1) * (1 if head % 2 == 0 else -1)
            qkv[0, head] += scale * mixed @ read
            qkv[1, head] += scale * mixed @ _turn(speeds * distance) @ read


def _place_sinusoids(embeddings: Embeddings, speeds: Float[Tensor, "half"], std: float) -> None:
    """Give the first dimensions to positions, as strong in all as a token's drawn vector."""
    assert embeddings.positions is not None
    table = embeddings.positions.weight
    dims = 2 * len(speeds)
    angles = torch.arange(len(table) - embeddings.first_position)[:, None] * speeds
    amplitude = std * math.sqrt(2 * table.shape[1] / dims)
    table[embeddings.first_position :] = 0.0
    table[embeddings.first_position :, 0:dims:2] = amplitude * angles.sin()
    table[embeddings.first_position :, 1:dims:2] = amplitude * angles.cos()
    embeddings.tokens.weight[:, :dims] = 0.0
    if embeddings.segments is not None:
        embeddings.segments.weight[:, :dims] = 0.0


def _widen(embeddings: Embeddings) -> None:
    """Let a projection of narrow embeddings lose nothing and give vectors as long as a norm does."""
    if isinstance(embeddings.project, nn.Linear):
        wide, narrow = embeddings.project.weight.shape
        drawn = embeddings.project.weight
        left, _, right = torch.linalg.svd(drawn, full_matrices=False)
        drawn.copy_(left @ right * max(1.0, wide / narrow) ** 0.5)


def _reader(
    embeddings: Embeddings, dims: int, generator: torch.Generator
) -> tuple[Float[Tensor, "dims hidden"], float]:
    """Return the map from what layers see to the positions' dimensions, and the squared length found there."""
    assert embeddings.positions is not None
    tokens = torch.randint(len(embeddings.tokens.weight), (_PROBES,), generator=generator)
    places = torch.randint(
        embeddings.first_position, len(embeddings.positions.weight), (_PROBES,), generator=generator
    )
    summed = embeddings.tokens.weight[tokens] + embeddings.positions.weight[places]
    if embeddings.segments is not None:
        summed = summed + embeddings.segments.weight[0]
    seen = embeddings.project(embeddings.norm(summed))
    read = torch.eye(seen.shape[1])[:dims]
    if isinstance(embeddings.project, nn.Linear):
        read = torch.linalg.pinv(embeddings.project.weight)[:dims]
    return read, float((seen @ read.T).square().sum(1).mean())


def _turn(angles: Float[Tensor, "half"]) -> Float[Tensor, "dims dims"]:
    """Return the matrix that moves sinusoids (sine, cosine by turns) on by ``angles``."""
    turn = torch.zeros(2 * len(angles), 2 * len(angles))
    even = torch.arange(len(angles)) * 2
    turn[even, even] = turn[even + 1, even + 1] = angles.cos()
    turn[even, even + 1], turn[even + 1, even] = angles.sin(), -angles.sin()
    return turn
