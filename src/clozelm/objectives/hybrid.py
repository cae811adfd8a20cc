"""Masked and causal language modelling in one model (Charpentier & Samuel 2024, "GPT or BERT: why not both?")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from clozelm.data.rows import Rows
from clozelm.errors import SettingsError
from clozelm.masking.mask import Masking
from clozelm.nn.flops import TRAINING, encoder_flops, vocabulary_flops
from clozelm.nn.heads import MaskedLM
from clozelm.objectives.clm import CAUSAL
from clozelm.objectives.objective import (
    Example,
    Objective,
    Scores,
    nothing,
    ordinary_labels,
    predict_pieces,
    row_draws,
)
from clozelm.types import Reading

MASKED_NEXT = Reading("both", ahead=True)


@dataclass(frozen=True)
class HybridExample(Example):
    """An example some of whose rows are read causally, unmasked; the others are masked and read from both sides."""

    is_causal: Bool[Tensor, "batch"] | None = None


class Hybrid(Objective):
    """Terms ``mlm`` and ``clm`` of one model, each row of a step being used for one of the two.

    Both read a piece off the vector before it - masked *next-token* prediction (2.1) - so that the same head serves
    both. A row is causal with probability ``causal``; the loss is (1 - causal) x mean of ``mlm`` + causal x mean of
    ``clm``, as if each kind had its own devices (3.2).
    """

    def __init__(self, masked_lm: MaskedLM, *, causal: float = 0.5) -> None:
        super().__init__()
        if not 0.0 < causal < 1.0:
            raise SettingsError(
                f"objective.hybrid.causal={causal} must lie strictly between 0 and 1: for one kind alone choose "
                "objective.name=mlm or clm."
            )
        masked_lm.reading = MASKED_NEXT
        self.masked_lm = masked_lm
        self.weights = {"mlm": 1.0 - causal, "clm": causal}

    def prepare(self, rows: Rows, masking: Masking) -> HybridExample:
        """Return the rows, some masked, the others with every ordinary piece to be predicted."""
        masked = super().prepare(rows, masking)
        is_causal = torch.from_numpy(row_draws(rows, masking.seed, "hybrid", 1)[:, 0] < self.weights["clm"])
        whole = torch.from_numpy(ordinary_labels(rows, masking.vocabulary))
        original = torch.from_numpy(rows.input_ids.astype(np.int64, copy=False))
        ids = torch.where(is_causal[:, None], original, masked.batch.input_ids)
        labels = torch.where(is_causal[:, None], whole, masked.labels)
        return HybridExample(replace(masked.batch, input_ids=ids), labels, is_causal=is_causal)

    def forward(self, example: Example) -> dict[str, Scores]:
        """Score the rows of either kind in a pass of their own."""
        return {
            "mlm": self._kind(example, ~_causal_rows(example), MASKED_NEXT),
            "clm": self._kind(example, _causal_rows(example), CAUSAL),
        }

    def _kind(self, example: Example, is_mine: Bool[Tensor, "batch"], reading: Reading) -> Scores:
        mine = is_mine.nonzero().squeeze(1)
        labels = example.labels[mine].flatten()
        scored = (labels != -100).nonzero().squeeze(1)
        if not len(scored):
            return nothing(self.masked_lm.decoder_weight)
        batch = example.batch if len(mine) == len(is_mine) else example.batch.at(mine)
        hidden = self.masked_lm.encoder(batch, scored=scored - int(reading.ahead), context=reading.context)
        return predict_pieces(self.masked_lm, hidden, labels[scored])

    def counts(self, example: Example) -> dict[str, int]:
        """Count the masked positions of masked rows, and the ordinary pieces of causal ones."""
        per_row, is_causal = (example.labels != -100).sum(1), _causal_rows(example)
        return {"mlm": int(per_row[~is_causal].sum()), "clm": int(per_row[is_causal].sum())}

    def flops(self, piece_lengths: NDArray[np.int64], counts: Mapping[str, int]) -> float:
        """Count rows of either kind by the share that the settings ask for."""
        config, causal = self.masked_lm.config, self.weights["clm"]
        masked = encoder_flops(config, piece_lengths, round(counts["mlm"] / (1.0 - causal)))
        ahead = encoder_flops(config, piece_lengths, round(counts["clm"] / causal), "left")
        vocabulary = vocabulary_flops(config, counts["mlm"] + counts["clm"])
        return TRAINING * ((1.0 - causal) * masked + causal * ahead + vocabulary)


def _causal_rows(example: Example) -> Bool[Tensor, "batch"]:
    is_causal = example.is_causal if isinstance(example, HybridExample) else None
    return example.labels.new_zeros(len(example.labels), dtype=torch.bool) if is_causal is None else is_causal
