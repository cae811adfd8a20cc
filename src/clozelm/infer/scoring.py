"""Costs of single predictions, and intervals of their means."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.nn.heads import MaskedLM
from clozelm.nn.linear import linear
from clozelm.rng import generator
from clozelm.types import TokenBatch

_RESAMPLES = 1000
_LOGITS_AT_ONCE = 512


def piece_losses(
    model: MaskedLM, batch: TokenBatch, scored: Int[Tensor, "count"], target: Int[Tensor, "count"]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return -log p of ``target`` in nats, and whether it is the best piece, at ascending flat positions."""
    device = model.decoder_weight.device
    scored, target = scored.to(device), target.to(device)
    return vector_losses(model, model.scored_vectors(batch.to(device), scored), target)


def vector_losses(
    model: MaskedLM, vectors: Float[Tensor, "count embedding"], target: Int[Tensor, "count"]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return -log p of ``target`` in nats, and whether it is the best piece, given the head's vectors."""
    losses, right = [], []
    for start in range(0, len(vectors), _LOGITS_AT_ONCE):
        part = slice(start, start + _LOGITS_AT_ONCE)
        logits = linear(vectors[part], model.decoder_weight, model.head.bias).float()
        picked = logits.gather(1, target[part, None]).squeeze(1)
        losses.append(logits.logsumexp(dim=1) - picked)
        right.append(logits.argmax(dim=1) == target[part])
    if not losses:
        return np.zeros(0), np.zeros(0, dtype=np.bool_)
    return torch.cat(losses).double().cpu().numpy(), torch.cat(right).cpu().numpy()


class evaluating:
    """Put a model into evaluation mode, and back into the mode it had."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.was_training = model, model.training

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.was_training)


def ratio_interval(
    above: NDArray[np.float64], below: NDArray[np.float64], owner: NDArray[np.int64], *, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of sum(above) / sum(below), resampling owners (documents).

    Documents are the units, since predictions of one document are not independent (Koehn 2004 does so for
    sentences). One document alone gives (nan, nan): nothing can be said.
    """
    _, index = np.unique(owner, return_inverse=True)
    tops, bottoms = np.bincount(index, weights=above), np.bincount(index, weights=below)
    if tops.size < 2:
        return math.nan, math.nan
    rng = generator(seed, "bootstrap")
    ratios = [
        tops[drawn].sum() / bottoms[drawn].sum()
        for drawn in (rng.integers(tops.size, size=tops.size) for _ in range(_RESAMPLES))
    ]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)
