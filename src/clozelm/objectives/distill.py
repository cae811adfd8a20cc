"""Distillation of a masked language model into a smaller one (Hinton et al. 2015; Sanh et al. 2019, 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from clozelm.errors import SettingsError
from clozelm.nn.cross_entropy import soft_cross_entropy
from clozelm.nn.flops import encoder_flops, vocabulary_flops
from clozelm.nn.heads import MaskedLM
from clozelm.objectives.objective import (
    Example,
    Objective,
    Scores,
    masked_flops,
    nothing,
    predict_pieces,
)

Positions = Literal["all", "predicted"]


class Distillation(Objective):
    """Terms ``mlm``, ``soft`` (divergence from the teacher at a temperature) and ``cosine`` (of last vectors).

    ``soft`` is temperature^2 KL(teacher || student) in nats, over ``positions``: every token, as the released
    DistilBERT was trained, or those predicted, for less work. ``cosine`` is 1 - cos over the same positions.
    ``mlm`` is reported even where its weight is 0. The teacher sees the same corrupted text, without dropout; it is
    neither trained nor stored.
    """

    def __init__(
        self,
        masked_lm: MaskedLM,
        teacher: MaskedLM,
        *,
        weights: Mapping[str, float],
        temperature: float = 2.0,
        positions: Positions = "all",
    ) -> None:
        super().__init__()
        if masked_lm.config.vocab_size != teacher.config.vocab_size:
            raise SettingsError(
                f"The student has {masked_lm.config.vocab_size} pieces and the teacher "
                f"{teacher.config.vocab_size}: distillation needs one tokenizer."
            )
        self.masked_lm = masked_lm
        self._teacher = (teacher.eval().requires_grad_(False),)  # in a tuple: no part of what is trained
        self.temperature, self.positions = temperature, positions
        self.weights = {"mlm": weights["mlm"]} | {term: w for term, w in weights.items() if w and term != "mlm"}
        if "cosine" in self.weights and masked_lm.config.hidden_size != teacher.config.hidden_size:
            raise SettingsError(
                f"The student is {masked_lm.config.hidden_size} wide and the teacher {teacher.config.hidden_size}: "
                "set objective.distill.cosine=0, or give them one width."
            )

    @property
    def teacher(self) -> MaskedLM:
        """The model that is learned from."""
        return self._teacher[0]

    def forward(self, example: Example) -> dict[str, Scores]:
        """Score all terms from one pass of the student and one of the teacher."""
        asked = self._asked(example).nonzero().squeeze(1)
        if not len(asked):
            return dict.fromkeys(self.weights, nothing(self.masked_lm.decoder_weight))
        student, teacher = self.masked_lm, self.teacher
        hidden = student.encoder(example.batch, scored=asked)
        with torch.no_grad():
            taught = teacher.encoder(example.batch, scored=asked)
        scores = {}
        is_predicted = example.predicted[asked]
        if is_predicted.any():
            labels = example.labels.flatten()[asked[is_predicted]]
            scores["mlm"] = predict_pieces(student, hidden[is_predicted], labels)
        if "soft" in self.weights:
            loss, agreed = soft_cross_entropy(
                (student.head.transform(hidden), student.decoder_weight, student.head.bias),
                (teacher.head.transform(taught), teacher.decoder_weight, teacher.head.bias),
                temperature=self.temperature,
            )
            scores["soft"] = Scores(loss, agreed, len(asked))
        if "cosine" in self.weights:
            distance = (1.0 - F.cosine_similarity(hidden.float(), taught.float(), dim=1)).sum()
            scores["cosine"] = Scores(distance, None, len(asked))
        return scores

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distillation:
        """Move the teacher along with the student."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.teacher._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def lower(self, dtype: torch.dtype) -> None:
        """Compute the teacher in ``dtype`` as well."""
        self.teacher.to(dtype)

    def _asked(self, example: Example) -> Bool[Tensor, "positions"]:
        return example.batch.is_token.flatten() if self.positions == "all" else example.predicted

    def counts(self, example: Example) -> dict[str, int]:
        """Count the masked positions for ``mlm``, those compared for the other terms."""
        compared = int(self._asked(example).sum())
        return {term: int(example.predicted.sum()) if term == "mlm" else compared for term in self.weights}

    def flops(self, piece_lengths: NDArray[np.int64], counts: Mapping[str, int]) -> float:
        """Count the student forward and backward, the teacher forward."""
        asked = max(counts.values())
        predicted = counts.get("soft", 0) + counts.get("mlm", 0)
        config = self.teacher.config
        taught = encoder_flops(config, piece_lengths, asked) + vocabulary_flops(config, counts.get("soft", 0))
        return masked_flops(self.masked_lm, piece_lengths, predicted, asked) + taught
