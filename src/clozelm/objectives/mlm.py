"""Masked language modelling (Devlin et al. 2018, 3.1): cross-entropy at the masked positions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from clozelm.nn.heads import MaskedLM
from clozelm.objectives.objective import Example, Objective, Scores, masked_flops, nothing, predict_pieces


class MaskedPrediction(Objective):
    """Sum of -log p(original piece) over positions whose label is not -100, in nats: term ``mlm``."""

    def __init__(self, masked_lm: MaskedLM) -> None:
        super().__init__()
        self.masked_lm = masked_lm
        self.weights = {"mlm": 1.0}

    def forward(self, example: Example) -> dict[str, Scores]:
        """Score ``example``; with nothing to predict the sum is 0, connected to no parameter."""
        scored = example.predicted.nonzero().squeeze(1)
        if not len(scored):
            return {"mlm": nothing(self.masked_lm.decoder_weight)}
        hidden = self.masked_lm.scored_hidden(example.batch, scored)
        return {"mlm": predict_pieces(self.masked_lm, hidden, example.labels.flatten()[scored])}

    def counts(self, example: Example) -> dict[str, int]:
        """Count the masked positions."""
        return {"mlm": int(example.predicted.sum())}

    def flops(self, piece_lengths: NDArray[np.int64], counts: Mapping[str, int]) -> float:
        """Count what the masked positions need."""
        return masked_flops(self.masked_lm, piece_lengths, counts["mlm"], counts["mlm"])
