"""Whom to believe: hide words in the order each method says, and see how fast the answer goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clozelm.explain.attribute import Attribution
from clozelm.explain.probe import Probe
from clozelm.rng import generator

RANDOM_ORDERS = 40
_MOST_POINTS = 20
_CHANCE = 0.05
_ALIKE = 0.01  # of the first probability


@dataclass(frozen=True)
class Curve:
    """The target's probability while words are hidden in a method's order, from none (first) to all (last).

    ``area`` is its mean over the way (trapezoids): the lower, the earlier the words that carry the answer came.
    ``kept`` is the same as a share of the first probability, ``worse_than`` the share of random orders with a lower
    area. Of words that a method gives the same the earlier is hidden first.
    """

    method: str
    probabilities: list[float]
    area: float
    kept: float
    worse_than: float


@dataclass(frozen=True)
class Deletion:
    """Deletion curves (Petsiuk et al. 2018), beside ``orders`` random ones.

    ``hidden`` is how many words are hidden at each point. Of random orders there is the mean, the 5th and the 95th
    percentile at each point, and the mean area, also as a share of the first probability.
    """

    hidden: list[int]
    curves: list[Curve]
    orders: int
    random_mean: list[float]
    random_low: list[float]
    random_high: list[float]
    random_area: float
    random_kept: float

    @property
    def best(self) -> Curve | None:
        """The curve of least area; None where there is no word to hide."""
        return min(self.curves, key=lambda curve: curve.area, default=None)

    @property
    def leaders(self) -> list[Curve]:
        """The best curve and those that cannot be told from it: they keep less than one hundredth more."""
        best = self.best
        return [] if best is None else [each for each in self.curves if each.kept - best.kept < _ALIKE]

    @property
    def verdict(self) -> str:
        """Which method to believe here, in words."""
        best = self.best
        if best is None:
            return "There is no word around the mask, so there is nothing to compare."
        ties = [each.method for each in self.leaders]
        names = " and ".join(filter(None, [", ".join(ties[:-1]), ties[-1]]))
        is_one = len(ties) == 1
        said = f"{names} {'names' if is_one else 'name'} the words that carry this answer best"
        if best.worse_than > _CHANCE:
            return (
                f"No method is clearly better than a random order here ({names} came closest, yet "
                f"{best.worse_than:.0%} of random orders did better): do not build on any of them."
            )
        return (
            f"{said[0].upper()}{said[1:]}: while they are hidden in {'its' if is_one else 'their'} order it keeps "
            f"{best.kept:.0%} of its probability on average, in a random order {self.random_kept:.0%}."
            + " More than 100% says that the context as a whole speaks against the answer."
            * (self.random_kept > 1)
        )


def deletion(probe: Probe, attributions: Sequence[Attribution], *, seed: int = 0) -> Deletion:
    """Hide words one after another, those to which a method gives most first, and follow the target's probability.

    Long texts are followed at 20 points. Random orders are drawn by ``seed``.
    """
    count = len(probe.question.words)
    if not count:
        return Deletion([], [], 0, [], [], [], 0.0, 0.0)
    points = np.unique(np.linspace(0, count, min(count, _MOST_POINTS) + 1).round().astype(np.int64))
    given = [order_of(each.values) for each in attributions]
    drawn = [generator(seed, "orders", index).permutation(count) for index in range(RANDOM_ORDERS)]
    curves = _curves(probe, [*given, *drawn], points)
    share = points / count
    areas: NDArray[np.float64] = ((curves[:, 1:] + curves[:, :-1]) / 2) @ np.diff(share)
    start = max(float(curves[0, 0]), float(np.finfo(np.float64).tiny))
    random, random_areas = curves[len(given) :], areas[len(given) :]
    low, high = np.percentile(random, [5, 95], axis=0)
    return Deletion(
        points.tolist(),
        [
            Curve(each.method, curve.tolist(), float(area), float(area / start), _share_below(random_areas, area))
            for each, curve, area in zip(attributions, curves, areas, strict=False)
        ],
        RANDOM_ORDERS,
        random.mean(axis=0).tolist(),
        low.tolist(),
        high.tolist(),
        float(random_areas.mean()),
        float(random_areas.mean() / start),
    )


def _share_below(areas: NDArray[np.float64], area: float) -> float:
    return float(np.mean(areas < area * (1 - 1e-9)))


def order_of(values: Sequence[float]) -> NDArray[np.int64]:
    """Return the numbers of words, the greatest value first."""
    return np.argsort(-np.asarray(values, np.float64), kind="stable")


def _curves(probe: Probe, orders: Sequence[NDArray[np.int64]], points: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return float64[orders, points]; the same words hidden are asked about once."""
    sets = [[frozenset(order[:point].tolist()) for point in points] for order in orders]
    distinct = list(dict.fromkeys(each for row in sets for each in row))
    log_probability = probe.ask([probe.without(sorted(each)) for each in distinct]).log_probability
    known = dict(zip(distinct, np.exp(log_probability), strict=True))
    return np.array([[known[each] for each in row] for row in sets])
