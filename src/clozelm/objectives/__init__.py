"""What a model is asked to predict; every objective returns sums and counts, never means."""

from __future__ import annotations

from clozelm.objectives.clm import CausalPrediction
from clozelm.objectives.diffusion import MaskedDiffusion
from clozelm.objectives.distill import Distillation
from clozelm.objectives.hybrid import Hybrid
from clozelm.objectives.mlm import MaskedPrediction
from clozelm.objectives.objective import Example, Objective, Scores, Stored
from clozelm.objectives.pairs import NextSentence, SentenceOrder
from clozelm.objectives.rtd import ReplacedTokens
from clozelm.objectives.span_corruption import SpanCorruption

OBJECTIVES: dict[str, type[Objective]] = {
    "mlm": MaskedPrediction,
    "nsp": NextSentence,
    "sop": SentenceOrder,
    "rtd": ReplacedTokens,
    "distill": Distillation,
    "clm": CausalPrediction,
    "hybrid": Hybrid,
    "diffusion": MaskedDiffusion,
    "span_corruption": SpanCorruption,
}

__all__ = ["OBJECTIVES", "Example", "Objective", "Scores", "Stored"]
