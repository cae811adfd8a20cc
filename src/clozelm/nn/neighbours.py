"""First weights with which heads look at the tokens beside them.

Drawn at random, attention is the same everywhere, and an encoder must find out where the next token is before any
word can help to predict another: the loss stays for long just below that of word frequencies. First weights that
do what trained heads do have helped before (Trockman & Kolter 2023). Learned positions begin as sinusoids here,
which say where things are (Vaswani et al. 2017, 3.5); rotary ones know it (Su et al. 2021), and need a part of the
vectors that all tokens share to tell it to. Both are a start: every weight goes on learning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clozelm.errors import ModelError
from clozelm.nn.encoder import Embeddings, Encoder, Layer
from clozelm.types import Context

_SLOWEST = 100.0  # tokens per radian of the slowest sinusoid: what separates neighbours, not chapters
_SHARPNESS = 10.0  # logit of the token looked at, before the softmax; others fall off within a few tokens
_MOST_DIMS = 64
_SHARED_DIMS, _SHARED = 4, 0.25  # dimensions that all tokens share under rotary positions, and their strength
_LEAST_WIDTH = 8
_PROBES = 512


@torch.no_grad()
def look_beside(encoder: Encoder, generator: torch.Generator, context: Context = "both") -> None:
    """Let head ``h`` of every layer begin with the token 1 before, 1 after, 2 before, 2 after it, and so on.

    Where tokens see one side alone, the heads begin with the tokens 1, 2, 3, ... away on that side.

    Learned positions: a quarter of the embedding's dimensions, at most 64, is given to sinusoids of the position,
    and tokens and segments begin without them; queries and keys read these dimensions, the keys turned by the
    head's distance. A projection of narrow embeddings begins without loss, and with vectors as long as those that
    norms give later layers. Rotary positions: four dimensions are the same in all tokens, and queries and keys
    begin with a vector read from them, turned against each other. Everything else stays as it was drawn. Embeddings
    narrower than 8 have no room for this: ``ModelError``.
    """
    if encoder.config.embedding_width < _LEAST_WIDTH:
        raise ModelError(
            f"Heads that look beside their token need embeddings at least {_LEAST_WIDTH} wide, not "
            f"{encoder.config.embedding_width}: widen them, or set model.look_beside=false."
        )
    distances = [_distance(head, context) for head in range(encoder.config.num_heads)]
    if encoder.embeddings.positions is None:
        _begin_rotary(encoder, distances)
    else:
        _begin_learned(encoder, distances, generator)


def reserved_dims(encoder: Encoder) -> int:
    """Return how many of the first dimensions of token vectors ``look_beside`` takes for itself."""
    if encoder.embeddings.positions is None:
        return _SHARED_DIMS
    return min(_MOST_DIMS, encoder.config.embedding_width // 4) // 2 * 2


def _distance(head: int, context: Context) -> int:
    if context != "both":
        return (head + 1) * (-1 if context == "left" else 1)
    return (head // 2 + 1) * (-1 if head % 2 == 0 else 1)


def _queries_and_keys(encoder: Encoder, layer: nn.Module) -> Float[Tensor, "two heads size hidden"]:
    assert isinstance(layer, Layer)
    config = encoder.config
    return layer.attention.qkv.weight.view(3, config.num_heads, config.head_size, config.hidden_size)[:2]


def _begin_rotary(encoder: Encoder, distances: Sequence[int]) -> None:
    config, tokens = encoder.config, encoder.embeddings.tokens.weight
    signs = torch.tensor([1.0, -1.0]).repeat(_SHARED_DIMS // 2)  # of mean 0, which a norm would take away
    tokens[:, :_SHARED_DIMS] = signs * config.init_std * math.sqrt(_SHARED * tokens.shape[1] / _SHARED_DIMS)
    shared = encoder.embeddings.norm(tokens)[:, :_SHARED_DIMS].mean(0)
    read = shared / shared.square().sum()
    half = torch.arange(config.head_size // 2) / (config.head_size // 2)
    for index, layer in enumerate(encoder.layers):
        speeds = (config.rope_theta if config.is_global(index) else config.local_rope_theta) ** -half
        used = (speeds >= 1 / _SLOWEST).float()
        length = math.sqrt(_SHARPNESS * math.sqrt(config.head_size) / float(used.sum()))
        queries_keys = _queries_and_keys(encoder, layer)
        queries_keys[..., :_SHARED_DIMS] = 0.0
        for head, distance in enumerate(distances):
            angles = speeds * distance
            query = length * torch.cat((used, torch.zeros_like(used)))
            key = length * torch.cat((used * angles.cos(), -used * angles.sin()))
            queries_keys[0, head, :, :_SHARED_DIMS] = torch.outer(query, read)
            queries_keys[1, head, :, :_SHARED_DIMS] = torch.outer(key, read)


def _begin_learned(encoder: Encoder, distances: Sequence[int], generator: torch.Generator) -> None:
    embeddings, config = encoder.embeddings, encoder.config
    size = config.head_size
    dims = reserved_dims(encoder)
    speeds = _SLOWEST ** -torch.linspace(0.0, 1.0, dims // 2)
    _place_sinusoids(embeddings, speeds, config.init_std)
    _widen(embeddings)
    read, power = _reader(embeddings, dims, generator)
    wide = max(size, dims)
    scale = math.sqrt(_SHARPNESS * math.sqrt(size) / power)
    for layer in encoder.layers:
        queries_keys = _queries_and_keys(encoder, layer)
        for head, distance in enumerate(distances):
            mixed = torch.linalg.qr(torch.randn(wide, wide, generator=generator))[0][:size, :dims]
            queries_keys[0, head] += scale * mixed @ read
            queries_keys[1, head] += scale * mixed @ _turn(-speeds * distance) @ read


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
        drawn = embeddings.project.weight
        wide, narrow = drawn.shape
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
