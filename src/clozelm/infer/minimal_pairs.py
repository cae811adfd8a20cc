"""How often a model finds the good sentence of a minimal pair more probable than the bad one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import DataError
from clozelm.infer.score import Judge, Method, Score, Scorer
from clozelm.text.pair_files import Pair
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.valid import shortened

_TOLERANCE = 1e-5  # of a log-probability: what the same sentence differs by in another batch
_PAIRS_AT_ONCE = 4096
_Z = 1.959964  # 97.5% of a normal distribution lie below


@dataclass(frozen=True)
class Accuracy:
    """Pairs won and tied out of all; a tie counts one half."""

    pairs: int
    wins: int
    ties: int

    @property
    def accuracy(self) -> float:
        """The share of pairs whose good sentence is the more probable one."""
        return (self.wins + self.ties / 2) / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the accuracy (Wilson 1927), which stays inside 0 and 1 for few pairs too."""
        n, share = self.pairs, self.accuracy
        middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class PairsResult:
    """Accuracy of every group, and of all.

    ``mean`` is the mean over groups, which is what BLiMP reports, with a 95% interval made of the groups' own
    (Zou & Donner 2008, MOVER); ``pooled`` counts every pair alike. ``credits`` has for each pair 1, 1/2 or 0,
    ``owners`` the place of its group in ``groups``.
    """

    method: Method
    groups: dict[str, Accuracy]
    pooled: Accuracy
    mean: float
    mean_interval: tuple[float, float]
    credits: NDArray[np.float64]
    owners: NDArray[np.int64]


def minimal_pairs(
    model: Judge,
    tokenizer: Tokenizer,
    pairs: Iterable[Pair | tuple[str, str]],
    *,
    method: Method | None = None,
) -> PairsResult:
    """Score both sentences of every pair and count what the model prefers (Warstadt et al. 2020, BLiMP, 3).

    The sums over whole sentences are compared, not means of their pieces. A tie, half a win, is a pair whose
    sentences are the same pieces, or whose scores differ by less than rounding. Raises ``DataError`` where there
    are no pairs, and for a sentence without a piece to score.
    """
    scorer = Scorer(model, tokenizer, method=method)
    counts: dict[str, list[int]] = {}
    places: dict[str, int] = {}
    outcomes: list[tuple[int, int]] = []
    stream = iter(pairs)
    while part := [Pair(*one) for one in islice(stream, _PAIRS_AT_ONCE)]:
        scores = scorer([text for pair in part for text in (pair.good, pair.bad)])
        for pair, good in zip(part, scores, strict=False):
            outcome = _outcome(pair, good, next(scores))
            counts.setdefault(pair.group, [0, 0, 0])[outcome] += 1
            outcomes.append((outcome, places.setdefault(pair.group, len(places))))
    if not counts:
        raise DataError("There are no minimal pairs to compare.")
    groups = {name: Accuracy(sum(each), each[_WIN], each[_TIE]) for name, each in counts.items()}
    total = np.array(list(counts.values())).sum(axis=0).tolist()
    return PairsResult(
        method=scorer.method,
        groups=groups,
        pooled=Accuracy(sum(total), total[_WIN], total[_TIE]),
        mean=float(np.mean([one.accuracy for one in groups.values()])),
        mean_interval=_mean_interval(list(groups.values())),
        credits=np.array([1.0, 0.5, 0.0])[[outcome for outcome, _ in outcomes]],
        owners=np.array([owner for _, owner in outcomes], dtype=np.int64),
    )


_WIN, _TIE, _LOSS = range(3)


def _outcome(pair: Pair, good: Score, bad: Score) -> int:
    for text, score in ((pair.good, good), (pair.bad, bad)):
        if not score.pieces:
            where = f"{pair.source}: " if pair.source else ""
            raise DataError(f"{where}{shortened(text)!r} has no piece to score: leave the pair out.")
    if [piece.id for piece in good.pieces] == [piece.id for piece in bad.pieces]:
        return _TIE
    first, second = good.log_probability, bad.log_probability
    if math.isclose(first, second, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
        return _TIE
    return _WIN if first > second else _LOSS


def _mean_interval(groups: list[Accuracy]) -> tuple[float, float]:
    """Put the groups' intervals together: the distances from a mean are as independent ones add up, squared."""
    shares = np.array([one.accuracy for one in groups])
    ends = np.array([one.interval for one in groups])
    below, above = shares - ends[:, 0], ends[:, 1] - shares
    low = shares.mean() - math.sqrt((below**2).sum()) / len(groups)
    high = shares.mean() + math.sqrt((above**2).sum()) / len(groups)
    return float(low), float(high)
