"""Intervals and tests for a handful of seeds and many documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clozelm.rng import generator

_RESAMPLES = 2000
_NORMAL_QUANTILE = 1.959963984540054
_ROUNDING = 1e-12  # of a value: what equal differences differ by


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its 95% t-interval, None where there is but one, or where all are alike."""

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Difference:
    """The mean of differences paired by seed, its 95% t-interval and the p of no difference; None for one seed.

    Of differences that are all alike there is no interval either.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    count: int


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of one or more values with its interval (Student 1908): normal values are assumed.

    Values that are all alike have no interval: they do not show how seeds scatter.
    """
    mean = math.fsum(values) / len(values)
    reach = _reach(values)
    if reach is None or _are_alike(values, values):
        return Mean(mean, None, None, len(values))
    return Mean(mean, mean - reach, mean + reach, len(values))


def paired_difference(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """Return how ``values`` differ from those of a reference with the same seeds, by the paired t-test.

    Differences that are all alike, 0 or not, have p = 1 and no interval: such as counts of few texts give, whose
    steps are too coarse to show how seeds scatter.
    """
    differences = [one - other for one, other in zip(values, reference, strict=True)]
    mean, reach = math.fsum(differences) / len(differences), _reach(differences)
    if reach is None:
        return Difference(mean, None, None, None, len(differences))
    if _are_alike(differences, [*values, *reference]):
        return Difference(mean, None, None, 1.0, len(differences))
    p = 2.0 * t_tail(abs(mean) / _standard_error(differences), len(differences) - 1)
    return Difference(mean, mean - reach, mean + reach, p, len(differences))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many there are, so that any false alarm has 5% at most (Holm 1979)."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected


def paired_bootstrap(
    sums: NDArray[np.float64], reference: NDArray[np.float64], *, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% percentile interval of a difference of ratios, resampling units (documents) for both alike.

    ``sums`` are [2, units]: numerators and denominators. The models are held fixed: this says what other text of
    the kind would change, nothing about other seeds (Koehn 2004). One unit alone gives (nan, nan).
    """
    units = sums.shape[1]
    if units < 2:
        return math.nan, math.nan
    rng, stacked = generator(seed, "paired"), np.concatenate([sums, reference]).T
    totals = np.stack([stacked[rng.integers(units, size=units)].sum(axis=0) for _ in range(_RESAMPLES)])
    with np.errstate(divide="ignore", invalid="ignore"):
        differences = totals[:, 0] / totals[:, 1] - totals[:, 2] / totals[:, 3]
    low, high = np.percentile(differences[np.isfinite(differences)], [2.5, 97.5])
    return float(low), float(high)


def share_interval(hits: float, count: int) -> tuple[float, float]:
    """Return the 95% interval of a share of ``count`` (Wilson 1927), inside 0 and 1; of nothing, all of it."""
    if count == 0:
        return 0.0, 1.0
    share, z = hits / count, _NORMAL_QUANTILE
    middle, spread = share + z * z / (2 * count), z * math.sqrt((share * (1 - share) + z * z / (4 * count)) / count)
    below = 1 + z * z / count
    low, high = (middle - spread) / below, (middle + spread) / below
    return (0.0 if hits <= 0 else low), (1.0 if hits >= count else high)


def t_tail(t: float, degrees: int) -> float:
    """Return the probability that Student's t with ``degrees`` of freedom exceeds ``t``, for t >= 0."""
    return 0.5 * _beta_share(degrees / (degrees + t * t), degrees / 2.0, 0.5)


def t_quantile(tail: float, degrees: int) -> float:
    """Return the t that is exceeded with probability ``tail`` < 1/2: by halving, to full precision."""
    low, high = 0.0, 1.0
    while t_tail(high, degrees) > tail:
        high *= 2.0
    for _ in range(200):
        middle = (low + high) / 2.0
        low, high = (middle, high) if t_tail(middle, degrees) > tail else (low, middle)
    return high


def _are_alike(values: Sequence[float], scale: Sequence[float]) -> bool:
    """Return whether values differ by no more than rounding, by the largest of ``scale``."""
    return max(values) - min(values) <= _ROUNDING * max(map(abs, scale))


def _reach(values: Sequence[float]) -> float | None:
    return None if len(values) < 2 else t_quantile(0.025, len(values) - 1) * _standard_error(values)


def _standard_error(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))


def _beta_share(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b) by its continued fraction (DLMF 8.17.22)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on the other side
        return 1.0 - _beta_share(1.0 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    fraction = 1.0
    for m in range(200, 0, -1):  # from the inside out: terms this deep are far below rounding
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        fraction = 1.0 + even / (1.0 + odd / fraction)
    first = -(a + b) * x / (a + 1.0)
    return math.exp(log_front) / a / (1.0 + first / fraction)
