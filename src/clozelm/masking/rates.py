"""How the masking rate moves over a run."""

from __future__ import annotations

from clozelm.errors import SettingsError

KINDS = ("constant", "linear")


def rate_at(step: int, num_steps: int, rate: float, rate_end: float | None = None, kind: str = "constant") -> float:
    """Return the masking rate in force at ``step``, counted from 0.

    ``linear`` goes from ``rate`` at the first step to ``rate_end`` at the last (``num_steps - 1``) and
    stays there; a run of one step uses ``rate``. Source: Yang et al. 2022, "Learning better masking
    for better language model pre-training" (a decreasing rate).
    """
    checked_rate(rate)
    if kind == "constant":
        return rate
    if kind != "linear":
        raise SettingsError(f"masking.schedule={kind!r} must be one of {', '.join(KINDS)}.")
    if rate_end is None:
        raise SettingsError("masking.schedule='linear' needs masking.rate_end, the rate of the last step.")
    checked_rate(rate_end, name="masking.rate_end")
    if num_steps < 2:
        return rate
    progress = min(max(step, 0), num_steps - 1) / (num_steps - 1)
    return rate * (1.0 - progress) + rate_end * progress


def checked_rate(rate: float, *, name: str = "masking.rate") -> float:
    """Return ``rate`` if it lies strictly between 0 and 1; refuse it otherwise, NaN included."""
    if not 0.0 < rate < 1.0:
        raise SettingsError(f"{name}={rate} must lie strictly between 0 and 1 (BERT uses 0.15).")
    return rate
