"""Whole-word masking: all pieces of a word together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clozelm.masking.candidates import Candidates, Selection, draw_budget


@dataclass(frozen=True)
class WholeWord:
    """Choose words in random order until the token budget is spent; all pieces of a word are one group.

    A last word longer than what is left of the budget is taken with probability left / length, which
    keeps the mean number of tokens at the budget; skipping such words, as BERT's code does, would
    favour short ones. Source: https://github.com/google-research/bert, ``do_whole_word_mask``.
    Relations: Equals ``uniform`` when every word is one piece.
    """

    def select(self, candidates: Candidates, rng: np.random.Generator) -> Selection:
        """Choose words in one document piece; may choose none in a short one."""
        return choose_whole(word_numbers(candidates), candidates, rng)


def word_numbers(candidates: Candidates) -> NDArray[np.int64]:
    """Number the words of a document piece from 0, token by token; a special token counts to the word before."""
    word: NDArray[np.int64] = candidates.word_starts.cumsum()
    word -= word[0]
    return word


def choose_whole(unit: NDArray[np.int64], candidates: Candidates, rng: np.random.Generator) -> Selection:
    """Choose units, whose number each token has, in random order until the token budget is spent.

    A last unit longer than what is left is taken with probability left / length.
    """
    may_mask = candidates.may_mask
    lengths = np.bincount(unit[may_mask])
    units = lengths.nonzero()[0]
    order = units[rng.permutation(units.size)]
    left = draw_budget(int(np.count_nonzero(may_mask)), candidates.rate, rng)
    num_taken = 0
    for length in lengths[order].tolist():
        if length <= left or (left and rng.random() * length < left):
            num_taken += 1
        left -= length
        if left <= 0:
            break
    is_taken = np.zeros(unit.size, dtype=np.bool_)
    is_taken[order[:num_taken]] = True
    return Selection(is_taken[unit] & may_mask, unit)
