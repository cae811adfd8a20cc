"""Uniform masking: every token alone, each equally likely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clozelm.masking.candidates import Candidates, Selection, draw_budget


@dataclass(frozen=True)
class Uniform:
    """Choose a share ``rate`` of the maskable tokens without replacement, each token its own group.

    The number is exact per document piece but for one random rounding, where the usual implementation
    tosses a coin per token. Source: Devlin et al. 2018, section 3.1 and A.1.
    """

    def select(self, candidates: Candidates, rng: np.random.Generator) -> Selection:
        """Choose positions in one document piece; may choose none in a short one."""
        maskable = candidates.may_mask.nonzero()[0]
        order = maskable[rng.permutation(maskable.size)]
        budget = draw_budget(maskable.size, candidates.rate, rng)
        chosen = np.zeros(candidates.may_mask.size, dtype=np.bool_)
        chosen[order[:budget]] = True
        return Selection(chosen, np.arange(chosen.size))
