"""Masked language modelling (Devlin et al. 2018, 3.1): cross-entropy at the masked positions."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from clozelm.nn.cross_entropy import linear_cross_entropy
from clozelm.nn.heads import MaskedLM
from clozelm.types import TokenBatch


@dataclass(frozen=True)
class Scores:
    """Sums over predictions: they add up over micro-batches and ranks, which means do not."""

    loss_sum: Float[Tensor, ""]
    correct: Int[Tensor, ""]
    count: int


class MaskedPrediction:
    """Sum of -log p(original piece) over positions whose label is not -100, in nats."""

    def __call__(self, model: MaskedLM, batch: TokenBatch, labels: Int[Tensor, "batch seq"]) -> Scores:
        """Score ``batch``; with nothing to predict the sum is 0, connected to no parameter."""
        flat = labels.flatten()
        scored = (flat != -100).nonzero().squeeze(1)
        if not len(scored):
            zero = model.decoder_weight.new_zeros(())
            return Scores(zero, zero.long(), 0)
        vectors = model.scored_vectors(batch, scored)
        loss, correct = linear_cross_entropy(vectors, model.decoder_weight, model.head.bias, flat[scored])
        return Scores(loss, correct, len(scored))
