"""Span masking: runs of whole words, with lengths from a geometric distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import SettingsError
from clozelm.masking.candidates import Candidates, Selection
from clozelm.masking.ngram import cut_runs
from clozelm.masking.whole_word import choose_share


@dataclass(frozen=True)
class Span:
    """Cut the text into spans of words, p(n) ~ (1 - p)^(n - 1) for n up to ``longest``, and choose among them.

    Spans begin where words begin, and all tokens of a span are one group; with the defaults a span has 3.8 words
    on average. SpanBERT's code draws lengths at random places, skips what overlaps and stops a whole span over the
    budget; here the whole piece is cut before any place is chosen and each span is equally likely, so that chosen
    lengths are as p(n) has them and every token is hidden with probability ``rate`` exactly.
    Edges: as in ``ngram``, no span crosses a special token, and the one before it, or before the end, is cut short
    there. The number of tokens varies from piece to piece, by about a span.
    Source: Joshi et al. 2020, "SpanBERT", section 3.1.
    Relations: Equals ``whole_word`` in words of one piece when ``longest`` is 1.
    """

    p: float = 0.2
    longest: int = 10

    def __post_init__(self) -> None:
        if not 0.0 < self.p < 1.0:
            raise SettingsError(f"masking.span.p={self.p} must lie strictly between 0 and 1 (SpanBERT uses 0.2).")
        if self.longest < 1:
            raise SettingsError(f"masking.span.longest={self.longest} must be at least 1 word (SpanBERT uses 10).")

    @property
    def mean_words(self) -> float:
        """The mean of p(n): words in a span, but for those cut short."""
        return float((1.0 - _shares_below(self.p, self.longest)).sum())

    def select(self, candidates: Candidates, rng: np.random.Generator) -> Selection:
        """Choose spans in one document piece; may choose none in a short one."""
        return choose_share(cut_runs(candidates, _shares_below(self.p, self.longest), rng), candidates, rng)


@cache
def _shares_below(p: float, longest: int) -> NDArray[np.float64]:
    """Return the probability of fewer than n words, for n = 1 .. longest; not to be changed."""
    # 1 - (1 - p)^n, which is 0 / 0 for the smallest p where it is written so.
    below = -np.expm1(np.arange(longest + 1) * math.log1p(-p))
    shares: NDArray[np.float64] = below[:-1] / below[-1]
    return shares
