"""Causal language modelling (Radford et al. 2018, 3.1): every piece predicted from those before it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from clozelm.data.rows import Rows
from clozelm.masking.mask import Masking
from clozelm.nn.heads import MaskedLM
from clozelm.objectives.objective import (
    Example,
    Objective,
    Scores,
    masked_flops,
    nothing,
    ordinary_labels,
    predict_pieces,
    token_batch,
)
from clozelm.types import Reading

CAUSAL = Reading("left", ahead=True)


class CausalPrediction(Objective):
    """Sum of -log p(piece | the pieces before it in its document) over all ordinary pieces, in nats: term ``clm``.

    Nothing is masked. A document piece begins after [CLS], off which its first piece is predicted; [SEP] is never
    predicted, since in packed rows it often ends a piece and not a text. ``masked_lm`` is given the causal reading.
    """

    def __init__(self, masked_lm: MaskedLM) -> None:
        super().__init__()
        masked_lm.reading = CAUSAL
        self.masked_lm = masked_lm
        self.weights = {"clm": 1.0}

    def prepare(self, rows: Rows, masking: Masking) -> Example:
        """Return the rows as they are, every ordinary piece to be predicted."""
        labels = ordinary_labels(rows, masking.vocabulary)
        return Example(token_batch(rows, rows.input_ids), torch.from_numpy(labels))

    def forward(self, example: Example) -> dict[str, Scores]:
        """Score ``example``; with nothing to predict the sum is 0, connected to no parameter."""
        scored = example.predicted.nonzero().squeeze(1)
        if not len(scored):
            return {"clm": nothing(self.masked_lm.decoder_weight)}
        hidden = self.masked_lm.scored_hidden(example.batch, scored)
        return {"clm": predict_pieces(self.masked_lm, hidden, example.labels.flatten()[scored])}

    def counts(self, example: Example) -> dict[str, int]:
        """Count the ordinary pieces."""
        return {"clm": int(example.predicted.sum())}

    def flops(self, piece_lengths: NDArray[np.int64], counts: Mapping[str, int]) -> float:
        """Count one causal pass, nearly all of it to the end."""
        return masked_flops(self.masked_lm, piece_lengths, counts["clm"], counts["clm"])
