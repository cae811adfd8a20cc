"""Which pieces a training predicts well: the table behind adaptive masking."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clozelm.masking import Adaptive, Candidates, Selection
from clozelm.masking.adaptive import accuracy_weights
from clozelm.objectives import Scores


class AdaptiveTable:
    """Count right predictions by piece; every ``every`` steps turn the counts into new weights.

    Between updates the weights stand still: masks remain a function of (seed, epoch, row, rate, ``version``).
    Counts of whole steps are added up, which no split into micro-batches changes; at an update earlier counts are
    first multiplied by ``decay``. See ``clozelm.masking.adaptive`` for the weights. Before the first update all
    pieces weigh the same.
    """

    def __init__(self, vocab_size: int, *, every: int, decay: float, prior: float, ratio: float) -> None:
        self.vocab_size, self.every = vocab_size, every
        self._decay, self._prior, self._ratio = decay, prior, ratio
        self.restart()

    def restart(self) -> None:
        """Forget everything."""
        self.version = 0
        self.weights: NDArray[np.float64] = np.ones(self.vocab_size)
        self._right, self._seen = np.zeros(self.vocab_size), np.zeros(self.vocab_size)
        self._new_right = np.zeros(self.vocab_size, np.int64)
        self._new_seen = np.zeros(self.vocab_size, np.int64)

    def select(self, candidates: Candidates, rng: np.random.Generator) -> Selection:
        """Choose positions under the weights in force."""
        return Adaptive(self.weights).select(candidates, rng)

    def see(self, scores: Scores) -> None:
        """Count the predictions of a micro-batch."""
        if scores.labels is None or scores.right is None:
            return
        labels, right = scores.labels.cpu().numpy(), scores.right.cpu().numpy()
        self._new_seen += np.bincount(labels, minlength=self.vocab_size)
        self._new_right += np.bincount(labels[right], minlength=self.vocab_size)

    def after_step(self, step: int) -> None:
        """Make new weights after every ``every`` finished steps."""
        if step % self.every:
            return
        self._right = self._decay * self._right + self._new_right
        self._seen = self._decay * self._seen + self._new_seen
        self._new_right, self._new_seen = np.zeros_like(self._new_right), np.zeros_like(self._new_seen)
        self.weights = accuracy_weights(self._right, self._seen, prior=self._prior, ratio=self._ratio)
        self.version += 1

    def state(self) -> dict[str, Tensor]:
        """Return everything the table depends on, for a checkpoint."""
        arrays = {
            "weights": self.weights,
            "right": self._right,
            "seen": self._seen,
            "new_right": self._new_right,
            "new_seen": self._new_seen,
            "version": np.array([self.version]),
        }
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state`` returned."""
        arrays = {name: tensor.cpu().numpy() for name, tensor in state.items()}
        self.weights, self._right, self._seen = arrays["weights"], arrays["right"], arrays["seen"]
        self._new_right, self._new_seen = arrays["new_right"], arrays["new_seen"]
        self.version = int(arrays["version"][0])
