"""What an objective is: the parts that are trained, and sums of losses with their counts, never means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from clozelm.data.rows import Rows
from clozelm.masking.mask import IGNORED, Masking
from clozelm.nn.cross_entropy import linear_cross_entropy
from clozelm.nn.decoder import EncoderDecoder
from clozelm.nn.flops import TRAINING, encoder_flops, vocabulary_flops
from clozelm.nn.heads import Discriminator, MaskedLM
from clozelm.rng import generator
from clozelm.types import TokenBatch
from clozelm.vocab import Vocabulary


@dataclass(frozen=True)
class Example:
    """A micro-batch: pieces as the model reads them, and what they were.

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
        parts = {name: part[start:stop] for name, part in self._extras().items()}
        return replace(self, batch=self.batch.rows(start, stop), **parts)

    def to(self, device: torch.device | str) -> Example:
        """Return the same example on another device."""
        parts = {name: part.to(device, non_blocking=True) for name, part in self._extras().items()}
        return replace(self, batch=self.batch.to(device), **parts)

    def _extras(self) -> dict[str, Any]:
        """Return what there is beside the batch, all of it tensors with a row for each of its rows."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "batch"}
        return {name: part for name, part in named.items() if part is not None}

    @property
    def predicted(self) -> Bool[Tensor, "positions"]:
        """True at flat positions whose piece is to be predicted."""
        return self.labels.flatten() != -100


@dataclass(frozen=True)
class Scores:
    """Sums over predictions: they add up over micro-batches and ranks, which means do not.

    ``correct`` counts right answers, None where there is no right or wrong; ``positive`` answers that are class 1,
    for terms of two classes. Terms that predict pieces also say which piece each prediction should have been,
    ``labels``, and whether it was ``right``.
    """

    loss_sum: Float[Tensor, ""]
    correct: Int[Tensor, ""] | None
    count: int
    positive: int | None = None
    labels: Int[Tensor, "count"] | None = None
    right: Bool[Tensor, "count"] | None = None


class Stored(NamedTuple):
    """One model that a run leaves: its folder, the model, and heads stored beside it.

    Without ``has_head`` a masked language model's own head was not trained, and is left out.
    """

    folder: str
    model: MaskedLM | Discriminator | EncoderDecoder
    heads: Mapping[str, nn.Module]
    has_head: bool = True


class Objective(nn.Module):
    """Everything that is trained, with the sums of its losses.

    The loss of a step is the sum over ``weights`` of weight x sum / count, each count taken over the whole step.
    ``masked_lm`` is the model that fills masks; where ``fills_masks`` is false there is none, and held-out text is
    scored by the terms alone. ``pairs`` names the sentence pairs the data must have, ``draws`` whether examples
    need random numbers.
    """

    masked_lm: MaskedLM
    weights: Mapping[str, float]
    pairs: Literal["next", "order"] | None = None
    draws: bool = False
    fills_masks: bool = True

    def prepare(self, rows: Rows, masking: Masking) -> Example:
        """Return what a step on ``rows`` computes: by default the rows masked, their original pieces as labels.

        Each row is a pure function of (seed, its epoch, its row id, its tokens, rate), whatever rows are beside it.
        """
        masked = masking.mask(rows)
        return Example(
            token_batch(rows, masked.input_ids),
            torch.from_numpy(masked.labels),
            None if rows.pairs is None else _tensor(rows.pairs.labels),
            torch.from_numpy(row_draws(rows, masking.seed, "draws")) if self.draws else None,
        )

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


def token_batch(rows: Rows, input_ids: NDArray[np.int64]) -> TokenBatch:
    """Return rows with the given (masked) ids as tensors."""
    segments = None if rows.pairs is None else _tensor(rows.pairs.segment_ids)
    return TokenBatch(_tensor(input_ids), _tensor(rows.doc_ids), _tensor(rows.positions), segments)


def ordinary_labels(rows: Rows, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return every piece of ``rows`` that is neither special nor padding as its own label, -100 elsewhere."""
    is_ordinary = (rows.doc_ids > 0) & ~vocabulary.is_special[rows.input_ids]
    return np.where(is_ordinary, rows.input_ids, IGNORED)


def row_draws(rows: Rows, seed: int, stream: str, count: int | None = None) -> NDArray[np.float64]:
    """Return ``count`` (default: a row's width) uniform numbers in [0, 1) for each row, [rows, count].

    A function of the row alone, like its masks.
    """
    count = rows.input_ids.shape[1] if count is None else count
    epochs = np.broadcast_to(rows.epoch, len(rows.row_ids)).tolist()
    keys = zip(epochs, rows.row_ids.tolist(), strict=True)
    return np.stack([generator(seed, stream, *key).random(count) for key in keys])


def nothing(like: Tensor) -> Scores:
    """Return the scores of no prediction: sum 0, connected to no parameter."""
    zero = like.new_zeros(())
    return Scores(zero, zero.long(), 0)


def predict_pieces(
    masked_lm: MaskedLM | EncoderDecoder,
    hidden: Float[Tensor, "count hidden"],
    labels: Int[Tensor, "count"],
    importance: Float[Tensor, "count"] | None = None,
) -> Scores:
    """Return the cross-entropy of the pieces ``labels`` given the encoder's vectors at their positions, in nats.

    ``importance`` multiplies the loss of each of them.
    """
    vectors = masked_lm.head.transform(hidden)
    found = linear_cross_entropy(vectors, masked_lm.decoder_weight, masked_lm.head.bias, labels, importance)
    return Scores(found.total, found.right.sum(), len(labels), labels=labels, right=found.right)


def masked_flops(masked_lm: MaskedLM, piece_lengths: NDArray[np.int64], predicted: int, asked: int) -> float:
    """Return the FLOPs of training on ``predicted`` pieces when ``asked`` positions are computed to the end."""
    config = masked_lm.config
    encoder = encoder_flops(config, piece_lengths, asked, masked_lm.reading.context)
    return TRAINING * (encoder + vocabulary_flops(config, predicted))


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(np.int64, copy=False))
