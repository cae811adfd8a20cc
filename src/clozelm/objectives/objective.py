"""What an objective is: the parts that are trained, and sums of losses with their counts, never means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from clozelm.nn.cross_entropy import linear_cross_entropy
from clozelm.nn.flops import TRAINING, encoder_flops, vocabulary_flops
from clozelm.nn.heads import Discriminator, MaskedLM
from clozelm.types import TokenBatch


@dataclass(frozen=True)
class Example:
    """A micro-batch: corrupted pieces, and what they were.

    ``labels`` holds the original piece where it is to be predicted and -100 elsewhere; ``pair_labels`` the class
    of a pair of segments at its [CLS] and -100 elsewhere; ``draws`` a uniform random number in [0, 1) for every
    position, for objectives that draw.
    """

    batch: TokenBatch
    labels: Int[Tensor, "batch seq"]
    pair_labels: Int[Tensor, "batch seq"] | None = None
    draws: Float[Tensor, "batch seq"] | None = None

    def rows(self, start: int, stop: int) -> Example:
        """Return rows ``start`` to ``stop``."""
        return Example(
            self.batch.rows(start, stop),
            self.labels[start:stop],
            None if self.pair_labels is None else self.pair_labels[start:stop],
            None if self.draws is None else self.draws[start:stop],
        )

    def to(self, device: torch.device | str) -> Example:
        """Return the same example on another device."""
        return replace(
            self,
            batch=self.batch.to(device),
            labels=self.labels.to(device, non_blocking=True),
            pair_labels=None if self.pair_labels is None else self.pair_labels.to(device, non_blocking=True),
            draws=None if self.draws is None else self.draws.to(device, non_blocking=True),
        )

    @property
    def predicted(self) -> Bool[Tensor, "positions"]:
        """True at flat positions whose piece is to be predicted."""
        return self.labels.flatten() != -100


@dataclass(frozen=True)
class Scores:
    """Sums over predictions: they add up over micro-batches and ranks, which means do not.

    ``correct`` counts right answers, None where there is no right or wrong; ``positive`` answers that are class 1,
    for terms of two classes.
    """

    loss_sum: Float[Tensor, ""]
    correct: Int[Tensor, ""] | None
    count: int
    positive: int | None = None


class Stored(NamedTuple):
    """One model that a run leaves: its folder, the model, and heads stored beside it."""

    folder: str
    model: MaskedLM | Discriminator
    heads: Mapping[str, nn.Module]


class Objective(nn.Module):
    """Everything that is trained, with the sums of its losses.

    The loss of a step is the sum over ``weights`` of weight x sum / count, each count taken over the whole step.
    ``masked_lm`` is the model that fills masks. ``pairs`` names the sentence pairs the data must have, ``draws``
    whether examples need random numbers.
    """

    masked_lm: MaskedLM
    weights: Mapping[str, float]
    pairs: Literal["next", "order"] | None = None
    draws: bool = False

    def forward(self, example: Example) -> dict[str, Scores]:
        """Return the sums of every term of ``weights``; one that has nothing to score may be absent."""
        raise NotImplementedError

    def counts(self, example: Example) -> dict[str, int]:
        """Return how many predictions of every term ``example`` holds, without computing them."""
        raise NotImplementedError

    def flops(self, piece_lengths: NDArray[np.int64], counts: Mapping[str, int]) -> float:
        """Return the floating-point operations that a step on these document pieces must do."""
        raise NotImplementedError

    def lower(self, dtype: torch.dtype) -> None:
        """Take over ``dtype`` for what is computed with but not trained, such as a teacher."""

    def stored(self) -> list[Stored]:
        """Return the models to keep at the end of a run, the main one first."""
        return [Stored("model", self.masked_lm, {})]


def nothing(like: Tensor) -> Scores:
    """Return the scores of no prediction: sum 0, connected to no parameter."""
    zero = like.new_zeros(())
    return Scores(zero, zero.long(), 0)


def predict_pieces(
    masked_lm: MaskedLM, hidden: Float[Tensor, "count hidden"], labels: Int[Tensor, "count"]
) -> Scores:
    """Return the cross-entropy of the pieces ``labels`` given the encoder's vectors at their positions, in nats."""
    vectors = masked_lm.head.transform(hidden)
    loss, correct = linear_cross_entropy(vectors, masked_lm.decoder_weight, masked_lm.head.bias, labels)
    return Scores(loss, correct, len(labels))


def masked_flops(masked_lm: MaskedLM, piece_lengths: NDArray[np.int64], predicted: int, asked: int) -> float:
    """Return the FLOPs of training on ``predicted`` pieces when ``asked`` positions are computed to the end."""
    config = masked_lm.config
    return TRAINING * (encoder_flops(config, piece_lengths, asked) + vocabulary_flops(config, predicted))
