"""First weights that know which pieces are neighbours.

Drawn at random, token vectors say nothing, and the loss stays near that of piece frequencies until both vectors and
attention have become useful. What counts of neighbouring pieces can tell need not be learned by gradient descent: a
low-rank factor of the pieces' pointwise mutual information makes good word vectors (Levy & Goldberg 2014, "Neural
word embedding as implicit matrix factorization"; Levy, Goldberg & Dagan 2015). Input and output vectors are one
matrix here, so a piece's vector times the mean of its neighbours' says how much likelier they make it.
The first layer therefore begins by passing on what its heads see, and the head by comparing that with every piece.
Both are a start: every weight goes on learning.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clozelm.nn.decoder import EncoderDecoder
from clozelm.nn.encoder import Encoder, Layer
from clozelm.nn.heads import MaskedLM

_SMOOTHING = 0.75  # exponent of context frequencies: rare contexts are overrated (Levy et al. 2015, 3.1)
_OVERSAMPLING, _ITERATIONS = 16, 2
_DRAWN = 0.2  # what is left of drawn weights beside the identity


@torch.no_grad()
def word_vectors(
    counts: Float[Tensor, "vocab contexts"], width: int, generator: torch.Generator
) -> Float[Tensor, "vocab width"]:
    """Return a vector for each row of ``counts``, of length 1; rows without counts are 0. Overwrites ``counts``.

    They are U S^(1/2) of the positive pointwise mutual information, by randomised subspace iteration (Halko,
    Martinsson & Tropp 2011, 4.4). Dimensions beyond the rank are 0.
    """
    totals, contexts = counts.sum(1), counts.sum(0)
    shares = contexts**_SMOOTHING
    shares /= shares.sum()
    least = torch.finfo(counts.dtype).tiny
    ratios = counts.div_(totals.clamp_min(least)[:, None]).div_(shares.clamp_min(least))
    information = ratios.clamp_min_(1.0).log_()
    rank = min(width, *information.shape)
    wide = min(rank + _OVERSAMPLING, *information.shape)
    basis = torch.randn(information.shape[1], wide, generator=generator)
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(information.T @ torch.linalg.qr(information @ basis)[0])[0]
    left, values, _ = torch.linalg.svd(information @ basis, full_matrices=False)
    vectors = left[:, :rank] * values[:rank].sqrt()
    is_seen = totals > 0
    vectors -= vectors[is_seen].mean(0)
    vectors[~is_seen] = 0.0
    return nn.functional.pad(nn.functional.normalize(vectors, dim=1), (0, width - rank))


@torch.no_grad()
def begin_with(model: MaskedLM | EncoderDecoder, vectors: Float[Tensor, "vocab width"]) -> None:
    """Let tokens begin as ``vectors``, as long as they were drawn, in the last of their dimensions.

    Rows of zeros keep what was drawn. The first layer's heads begin by passing on the part of a token's vector that
    is theirs, the output head by leaving it as it is; layers that share weights, and projections of narrow
    embeddings, stay as they were.
    """
    width = vectors.shape[1]
    is_given = vectors.any(1)
    tokens = model.encoder.embeddings.tokens.weight[: len(vectors), -width:]
    length = tokens[is_given].norm(dim=1).mean()
    tokens[is_given] = vectors[is_given].to(tokens) * length
    _pass_on(model.encoder)
    dense = model.head.dense.weight
    if dense.shape[0] == dense.shape[1]:
        dense.mul_(_DRAWN).diagonal().add_(1.0)


def _pass_on(encoder: Encoder) -> None:
    first = encoder.layers[0]
    if encoder.config.num_groups is not None or not isinstance(first, Layer):
        return
    values = first.attention.qkv.weight.chunk(3)[2]
    for weight in (values, first.attention.out.weight):
        weight.mul_(_DRAWN).diagonal().add_(1.0)
