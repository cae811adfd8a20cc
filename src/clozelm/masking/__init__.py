"""Masking: strategies choose positions, ``mask`` corrupts them and keeps the promises for all of them."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from clozelm.masking.adaptive import Adaptive
from clozelm.masking.candidates import Candidates, Select, Selection
from clozelm.masking.chosen import Chosen
from clozelm.masking.mask import IGNORED, Corruption, Masked, Masking, mask
from clozelm.masking.ngram import Ngram
from clozelm.masking.pmi import Pmi
from clozelm.masking.rates import rate_at
from clozelm.masking.span import Span
from clozelm.masking.uniform import Uniform
from clozelm.masking.whole_word import WholeWord


class Strategy(Protocol):
    """What every entry of ``SELECTORS`` makes, from its tables where it has some."""

    def select(self, candidates: Candidates, rng: np.random.Generator) -> Selection:
        """Choose positions in one document piece."""


SELECTORS: dict[str, Callable[..., Strategy]] = {
    "uniform": Uniform,
    "whole_word": WholeWord,
    "ngram": Ngram,
    "span": Span,
    "pmi": Pmi,
    "chosen": Chosen,
    "adaptive": Adaptive,
}

__all__ = [
    "IGNORED",
    "SELECTORS",
    "Adaptive",
    "Candidates",
    "Chosen",
    "Corruption",
    "Masked",
    "Masking",
    "Ngram",
    "Pmi",
    "Select",
    "Selection",
    "Span",
    "Strategy",
    "Uniform",
    "WholeWord",
    "mask",
    "rate_at",
]
