"""Masked diffusion: any share of a text hidden, and the loss a bound on its likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.data.rows import Rows
from clozelm.masking.mask import IGNORED, Masking
from clozelm.nn.cross_entropy import linear_cross_entropy
from clozelm.nn.heads import MaskedLM
from clozelm.objectives.objective import (
    Example,
    Objective,
    Scores,
    masked_flops,
    nothing,
    ordinary_labels,
)


@dataclass(frozen=True)
class DiffusionExample(Example):
    """An example with what each of its predictions counts for, and how many pieces each row could have hidden."""

    importance: Float[Tensor, "batch seq"] | None = None
    num_pieces: Int[Tensor, "batch"] | None = None


class MaskedDiffusion(Objective):
    """Term ``diffusion``: a bound on -log p(text) in nats per piece; term ``mlm``, of weight 0, its plain mean.

    Every row draws its own masking rate, uniform over (0, 1). Hiding l of a document piece's n pieces, l being each
    of 1 .. n with the same probability, n / l times the loss of those hidden bounds the negative log-likelihood
    (Nie et al. 2025, "Large language diffusion models", eq. 6; Sahoo et al. 2024). The rates give l = 1 and l = n
    other probabilities than 1 / n, which the weights make up for. Hidden pieces must all be masked: set
    masking.corruption.mask=1 and random=0, strategy=uniform and schedule=random.
    """

    def __init__(self, masked_lm: MaskedLM) -> None:
        super().__init__()
        self.masked_lm = masked_lm
        self.weights = {"mlm": 0.0, "diffusion": 1.0}

    def prepare(self, rows: Rows, masking: Masking) -> DiffusionExample:
        """Return the rows masked, each at the rate that ``masking`` has for it."""
        example = super().prepare(rows, masking)
        is_ordinary = ordinary_labels(rows, masking.vocabulary) != IGNORED
        importance = _importance(rows.doc_ids, is_ordinary, example.labels.numpy() != IGNORED)
        return DiffusionExample(
            example.batch,
            example.labels,
            importance=torch.from_numpy(importance),
            num_pieces=torch.from_numpy(is_ordinary.sum(1)),
        )

    def forward(self, example: Example) -> dict[str, Scores]:
        """Score ``example``; with nothing to predict the sums are 0, connected to no parameter."""
        scored = example.predicted.nonzero().squeeze(1)
        if not len(scored):
            return dict.fromkeys(self.weights, nothing(self.masked_lm.decoder_weight))
        assert isinstance(example, DiffusionExample)
        assert example.importance is not None
        vectors = self.masked_lm.scored_vectors(example.batch, scored)
        found = linear_cross_entropy(
            vectors,
            self.masked_lm.decoder_weight,
            self.masked_lm.head.bias,
            example.labels.flatten()[scored],
            example.importance.flatten()[scored].float(),
        )
        return {
            "mlm": Scores(found.each.sum(), found.right.sum(), len(scored)),
            "diffusion": Scores(found.total, None, self.counts(example)["diffusion"]),
        }

    def counts(self, example: Example) -> dict[str, int]:
        """Count the hidden pieces, and all that could have been."""
        assert isinstance(example, DiffusionExample)
        assert example.num_pieces is not None
        return {"mlm": int(example.predicted.sum()), "diffusion": int(example.num_pieces.sum())}

    def flops(self, piece_lengths: NDArray[np.int64], counts: Mapping[str, int]) -> float:
        """Count what the masked positions need."""
        return masked_flops(self.masked_lm, piece_lengths, counts["mlm"], counts["mlm"])


def _importance(
    doc_ids: NDArray[np.int32], is_ordinary: NDArray[np.bool_], is_hidden: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return 1 / (l P(l)) at each of the l hidden pieces of a document piece of n, [rows, seq], 0 elsewhere.

    Rounding rate x n at random, and hiding one where that is none, gives P(1) = 3 / (2n), P(n) = 1 / (2n), and
    1 / n between them; 1 where n = 1.
    """
    key = doc_ids + np.arange(len(doc_ids))[:, None] * (int(doc_ids.max(initial=0)) + 1)
    size = int(key.max(initial=0)) + 1
    n = np.bincount(key[is_ordinary], minlength=size)[key].astype(np.float64)
    hidden = np.bincount(key[is_hidden], minlength=size)[key].astype(np.float64)
    chance = np.where(hidden == 1, 1.5, np.where(hidden == n, 0.5, 1.0)) / np.maximum(n, 1)
    chance = np.where(n == 1, 1.0, chance)
    importance: NDArray[np.float64] = np.where(is_hidden, 1.0 / (np.maximum(hidden, 1) * chance), 0.0)
    return importance
