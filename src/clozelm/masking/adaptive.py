"""Adaptive masking: some pieces of the vocabulary are hidden more often than others, at the same mean rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clozelm.masking.candidates import Candidates, Selection, draw_budget


@dataclass(frozen=True)
class Adaptive:
    """Choose a share ``rate`` of the maskable tokens without replacement, by the weights of their pieces.

    ``weights`` is positive, float64[vocab]; without it all pieces weigh 1. The number is that of ``uniform``, so
    the mean rate is ``rate`` whatever the weights: they decide only which tokens. Each token is its own group.
    Drawn with exponential keys: the tokens with the smallest E / weight, E a standard exponential number, are what
    drawing one after another in proportion to the weights of those left would give.
    Sources: Edman & Fraser 2025, "Mask and you shall receive"; Efraimidis & Spirakis 2006, "Weighted random
    sampling with a reservoir" (the keys).
    Relations: With equal weights, distributed as ``uniform``.
    """

    weights: NDArray[np.float64] | None = None

    def select(self, candidates: Candidates, rng: np.random.Generator) -> Selection:
        """Choose positions in one document piece; may choose none in a short one."""
        maskable = candidates.may_mask.nonzero()[0]
        keys = rng.standard_exponential(maskable.size)
        if self.weights is not None:
            keys /= self.weights[candidates.input_ids[maskable]]
        budget = draw_budget(maskable.size, candidates.rate, rng)
        chosen = np.zeros(candidates.may_mask.size, dtype=np.bool_)
        chosen[maskable[keys.argsort(kind="stable")[:budget]]] = True
        return Selection(chosen, np.arange(chosen.size))


def accuracy_weights(
    right: NDArray[np.float64], seen: NDArray[np.float64], *, prior: float, ratio: float
) -> NDArray[np.float64]:
    """Weigh pieces by how often their predictions are wrong, float64[vocab] between 1 / ``ratio`` and 1.

    ``right`` of ``seen`` predictions of a piece were right. Its accuracy is smoothed by ``prior`` predictions of
    the accuracy of all pieces together, so that a piece never seen is as hard as the average one. The weight is
    1 - accuracy, at least 1 / ``ratio`` so that nothing is ever forgotten. Edman & Fraser 2025 have the same in
    their "hard" form, with another smoothing and no bound.
    """
    overall = right.sum() / max(float(seen.sum()), 1.0)
    accuracy = (right + prior * overall) / (seen + prior)
    weights: NDArray[np.float64] = np.maximum(1.0 - accuracy, 1.0 / ratio)
    return weights


def balanced_weights(counts: NDArray[np.int64], *, ratio: float) -> NDArray[np.float64]:
    """Weigh pieces by how rare they are in the corpus, float64[vocab] between 1 / ``ratio`` and 1.

    A piece that occurs ``counts`` times weighs sqrt(mean / count), mean being the mean count of those that occur;
    at most 1, so that pieces rarer than the mean weigh the same, and at least 1 / ``ratio``.
    Source: the subsampling of frequent words in Mikolov et al. 2013, "Distributed representations of words and
    phrases", 2.3, whose words are kept with probability sqrt(t / frequency).
    """
    occurring = counts[counts > 0]
    mean = float(occurring.mean()) if occurring.size else 1.0
    weights: NDArray[np.float64] = np.clip(np.sqrt(mean / np.maximum(counts, 1)), 1.0 / ratio, 1.0)
    return weights
