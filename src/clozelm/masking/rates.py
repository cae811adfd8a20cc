"""How the masking rate moves over a run, and from row to row."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import SettingsError
from clozelm.rng import generator

KINDS = ("constant", "linear", "cosine", "random")
_STEPS_OF_RATES = 1 << 53


def rate_at(step: int, num_steps: int, rate: float, rate_end: float | None = None, kind: str = "constant") -> float:
    """Return the masking rate in force at ``step``, counted from 0; the mean one, 1/2, where it is ``random``.

    ``linear`` goes from ``rate`` at the first step to ``rate_end`` at the last (``num_steps - 1``) and
    stays there; ``cosine`` goes the same way along half a cosine, slowly at both ends; a run of one step
    uses ``rate``. Source: Yang et al. 2022, "Learning better masking for better language model
    pre-training" (a decreasing rate, linear and cosine).
    """
    checked_rate(rate)
    if kind == "constant":
        return rate
    if kind == "random":
        return 0.5
    if kind not in KINDS:
        raise SettingsError(f"masking.schedule={kind!r} must be one of {', '.join(KINDS)}.")
    if rate_end is None:
        raise SettingsError(f"masking.schedule={kind!r} needs masking.rate_end, the rate of the last step.")
    checked_rate(rate_end, name="masking.rate_end")
    if num_steps < 2:
        return rate
    progress = min(max(step, 0), num_steps - 1) / (num_steps - 1)
    if kind == "cosine":
        progress = (1.0 - math.cos(math.pi * progress)) / 2.0
    return rate * (1.0 - progress) + rate_end * progress


def mean_rate(rate: float, rate_end: float | None = None, kind: str = "constant") -> float:
    """Return the masking rate of a whole run on average; a line and half a cosine have the mean of their ends."""
    if kind == "random":
        return 0.5
    return rate if kind == "constant" or rate_end is None else (rate + rate_end) / 2.0


def random_rates(row_ids: NDArray[np.int64], epoch: NDArray[np.int64], *, seed: int) -> NDArray[np.float64]:
    """Draw a rate for every row, uniform over (0, 1), float64[rows]: a function of (seed, its epoch, its row id).

    Never 0 or 1, so that ``mask`` takes it. Source: Nie et al. 2025, "Large language diffusion models", 2.2,
    where the share of masked tokens is drawn for every sequence.
    """
    keys = zip(np.broadcast_to(epoch, len(row_ids)).tolist(), row_ids.tolist(), strict=True)
    drawn = [generator(seed, "rate", *key).integers(1, _STEPS_OF_RATES) for key in keys]
    return np.array(drawn, dtype=np.float64) / _STEPS_OF_RATES


def checked_rate(rate: float, *, name: str = "masking.rate") -> float:
    """Return ``rate`` if it lies strictly between 0 and 1; refuse it otherwise, NaN included."""
    if not 0.0 < rate < 1.0:
        raise SettingsError(f"{name}={rate} must lie strictly between 0 and 1 (BERT uses 0.15).")
    return rate
