"""N-gram masking: runs of one to a few consecutive words together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import SettingsError
from clozelm.masking.candidates import Candidates, Selection
from clozelm.masking.whole_word import choose_whole, word_numbers


@dataclass(frozen=True)
class Ngram:
    """Cut the text into n-grams of words, p(n) = (1/n) / (1 + 1/2 + ... + 1/longest), and choose among them.

    The n-grams are chosen as ``whole_word`` chooses words, so the mean number of tokens is the budget; all
    tokens of an n-gram are one group. ALBERT's code draws lengths at random places, skips what overlaps and
    shortens what exceeds the budget, which makes long n-grams rarer than p(n); here the whole piece is cut
    before any place is chosen.
    Edges: no n-gram crosses a special token, and the one before it, or before the end, is cut short there; a
    word with a special token inside stands alone; the last one of the budget, which may be left out, is more
    often long. For pieces of 32 tokens and rate 0.15 this leaves 15% of trigrams, of 128 17%, where p(3) is 18%.
    Source: Lan et al. 2020, section 3.1; code in https://github.com/google-research/albert.
    Relations: Equals ``whole_word`` when ``longest`` is 1.
    """

    longest: int = 3

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise SettingsError(f"longest={self.longest} must be at least 1 word (ALBERT uses 3).")

    def select(self, candidates: Candidates, rng: np.random.Generator) -> Selection:
        """Choose n-grams in one document piece; may choose none in a short one."""
        if self.longest == 1:
            return choose_whole(word_numbers(candidates), candidates, rng)
        return choose_whole(cut_runs(candidates, _shares_below(self.longest), rng), candidates, rng)


def cut_runs(
    candidates: Candidates, shares_below: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Cut a document piece into runs of words of drawn lengths; number them from 0, token by token.

    ``shares_below[n - 1]`` is the probability of fewer than n words. No run crosses a special token, and the one
    before it, or before the end, is cut short there; what comes before the first word start is a run of its own.
    """
    words = candidates.word_starts.nonzero()[0]
    lengths = shares_below.searchsorted(rng.random(words.size), side="right")
    numbers = np.zeros(candidates.word_starts.size, dtype=np.int64)
    for first, stop in pairwise(_borders(candidates, words)):
        run = words[first:stop]
        starts = lengths[first:stop].cumsum()
        numbers[run[0]] = 1
        numbers[run[starts[: starts.searchsorted(run.size)]]] = 1
    numbers[0] = 0
    return numbers.cumsum(out=numbers)


def _borders(candidates: Candidates, words: NDArray[np.int64]) -> list[int]:
    """Return the borders no n-gram may cross, counted in words: 0, the number of words, and what is between.

    A special token between two words is a border; one inside a word sets the word apart.
    """
    inner = candidates.may_mask[1:-1]  # [CLS] and [SEP] at the ends part no words
    if np.count_nonzero(inner) == inner.size:
        return [0, words.size] if words.size else []
    behind = (~inner).nonzero()[0] + 2
    borders = words.searchsorted(behind)
    inside = borders[~candidates.word_starts[behind]] - 1
    return sorted({0, words.size, *borders.tolist(), *inside.tolist()} - {-1})


@cache
def _shares_below(longest: int) -> NDArray[np.float64]:
    """Return the probability of fewer than n words, for n = 1 .. longest; not to be changed."""
    weights = 1.0 / np.arange(1, longest + 1)
    shares: NDArray[np.float64] = (weights.cumsum() - weights) / weights.sum()
    return shares
