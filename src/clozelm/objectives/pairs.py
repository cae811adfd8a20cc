"""Masked language modelling with a question about two segments: does B follow A, or are they in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import torch.nn.functional as F
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from clozelm.nn.heads import MaskedLM, PairHead
from clozelm.objectives.objective import (
    Example,
    Objective,
    Scores,
    Stored,
    masked_flops,
    nothing,
    predict_pieces,
)
from clozelm.types import TokenBatch


class _PairPrediction(Objective):
    """Term ``mlm``, and a term of two classes from the vector of every pair's [CLS]; both heads are kept."""

    term: str

    def __init__(self, masked_lm: MaskedLM, *, pair_weight: float = 1.0) -> None:
        super().__init__()
        self.masked_lm = masked_lm
        self.pair = PairHead(masked_lm.config)
        self.weights = {"mlm": 1.0, self.term: pair_weight}

    def forward(self, example: Example) -> dict[str, Scores]:
        """Score both terms from one pass of the encoder, computed to the end at masks and at [CLS] alone."""
        labels, is_first = example.labels.flatten(), _first_of_pair(example)
        pair_labels = is_first.new_zeros(0) if example.pair_labels is None else example.pair_labels.flatten()
        asked = (example.predicted | is_first).nonzero().squeeze(1)
        if not len(asked):
            return dict.fromkeys(self.weights, nothing(self.masked_lm.decoder_weight))
        hidden = self.masked_lm.encoder(self._batch(example), scored=asked)
        predicted, first = asked[example.predicted[asked]], asked[is_first[asked]]
        scores = {}
        if len(predicted):
            at_masks = hidden[example.predicted[asked]]
            scores["mlm"] = predict_pieces(self.masked_lm, at_masks, labels[predicted])
        if len(first):
            logits = self.pair(hidden[is_first[asked]]).float()
            target = pair_labels[first]
            loss = F.cross_entropy(logits, target, reduction="sum")
            correct = (logits.argmax(dim=1) == target).sum()
            scores[self.term] = Scores(loss, correct, len(first), int(target.sum()))
        return scores

    def _batch(self, example: Example) -> TokenBatch:
        """Leave segments out where the family tells none apart: in RoBERTa only [SEP] divides a pair."""
        has_segments = self.masked_lm.config.type_vocab_size > 1
        return example.batch if has_segments else replace(example.batch, segment_ids=None)

    def counts(self, example: Example) -> dict[str, int]:
        """Count the masked positions and the pairs."""
        return {"mlm": int(example.predicted.sum()), self.term: int(_first_of_pair(example).sum())}

    def flops(self, piece_lengths: NDArray[np.int64], counts: Mapping[str, int]) -> float:
        """Count what masked positions and [CLS] need; the pair's own head is too small to count."""
        asked = counts["mlm"] + counts[self.term]
        return masked_flops(self.masked_lm, piece_lengths, counts["mlm"], asked)

    def stored(self) -> list[Stored]:
        """Keep the pair's head beside the model."""
        return [Stored("model", self.masked_lm, {self.term: self.pair})]


class NextSentence(_PairPrediction):
    """Next-sentence prediction, term ``nsp``: 0 when B follows A, 1 when not (Devlin et al. 2018, 3.1, task 2)."""

    term = "nsp"
    pairs: Literal["next", "order"] | None = "next"


class SentenceOrder(_PairPrediction):
    """Sentence-order prediction, term ``sop``: 0 when A comes before B, 1 when swapped (Lan et al. 2020, 3.1)."""

    term = "sop"
    pairs: Literal["next", "order"] | None = "order"


def _first_of_pair(example: Example) -> Bool[Tensor, "positions"]:
    if example.pair_labels is None:
        return example.predicted.new_zeros(example.predicted.shape)
    return example.pair_labels.flatten() != -100
