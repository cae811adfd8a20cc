"""Masking: strategies choose positions, ``mask`` corrupts them and keeps the promises for all of them."""

from clozelm.masking.candidates import Candidates, Select, Selection
from clozelm.masking.mask import IGNORED, Corruption, Masked, Masking, mask
from clozelm.masking.ngram import Ngram
from clozelm.masking.rates import rate_at
from clozelm.masking.uniform import Uniform
from clozelm.masking.whole_word import WholeWord

SELECTORS: dict[str, type[Uniform] | type[WholeWord] | type[Ngram]] = {
    "uniform": Uniform,
    "whole_word": WholeWord,
    "ngram": Ngram,
}

__all__ = [
    "IGNORED",
    "SELECTORS",
    "Candidates",
    "Corruption",
    "Masked",
    "Masking",
    "Ngram",
    "Select",
    "Selection",
    "Uniform",
    "WholeWord",
    "mask",
    "rate_at",
]
