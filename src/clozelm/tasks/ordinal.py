"""How far off answers are where labels are the steps of a scale, such as one to five stars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clozelm.tasks.resampling import RESAMPLES, Figure, Floats, with_intervals


def step_figures(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Figure]:
    """Return the mean distance between answer and truth in steps, and the share that is at most a step off.

    ``truth`` [count] are numbers of labels in the order of the scale, ``probabilities`` are [count, labels]; the
    most probable label is the answer. *Relations*: for two labels ``mae_steps`` is 1 - accuracy.
    """
    steps = np.abs(probabilities.argmax(axis=1) - truth).astype(np.float64)
    is_near = (steps <= 1.0).astype(np.float64)

    def figures(weights: Floats) -> dict[str, float]:
        total = weights.sum()
        return {"mae_steps": float(weights @ steps / total), "within_one": float(weights @ is_near / total)}

    return with_intervals(figures(np.ones(len(steps))), figures, len(steps), resamples=resamples, seed=seed)
