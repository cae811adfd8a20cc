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


def choose_whole(
    unit: NDArray[np.int64],
    candidates: Candidates,
    rng: np.random.Generator,
    *,
    preferred: NDArray[np.bool_] | None = None,
    fill: bool = True,
) -> Selection:
    """Choose units, whose number each token has, in random order until the token budget is spent.

    A last unit longer than what is left is taken with probability left / length. Units with a ``preferred`` token
    [n] come before all others; without ``fill`` no other is taken, and the budget may not be spent.
    """
    may_mask = candidates.may_mask
    lengths = np.bincount(unit[may_mask])
    units = lengths.nonzero()[0]
    order = units[rng.permutation(units.size)]
    if preferred is not None:
        is_first = np.zeros(unit.size, dtype=np.bool_)
        is_first[unit[preferred & may_mask]] = True
        is_first = is_first[order]
        order = np.concatenate([order[is_first], order[~is_first]]) if fill else order[is_first]
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


def choose_share(unit: NDArray[np.int64], candidates: Candidates, rng: np.random.Generator) -> Selection:
    """Choose a share ``rate`` of the units, each equally likely whatever its length.

    The number is rounded up or down at random. Every token is chosen with probability ``rate`` exactly, and the
    chosen units are as long as all are; the number of tokens varies more than ``choose_whole`` lets it.
    """
    may_mask = candidates.may_mask
    units = np.bincount(unit[may_mask]).nonzero()[0]
    order = units[rng.permutation(units.size)]
    is_taken = np.zeros(unit.size, dtype=np.bool_)
    is_taken[order[: draw_budget(units.size, candidates.rate, rng)]] = True
    return Selection(is_taken[unit] & may_mask, unit)
