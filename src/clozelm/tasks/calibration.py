"""Calibration: how far probabilities are from frequencies, and the one temperature that brings them nearer.

Guo et al. 2017, "On calibration of modern neural networks". Probabilities are [count, labels] with the label's
number as truth, or, where each label is asked about by itself (multi-label), [count, labels] with a truth of the
same shape: the sigmoid's side of every question then counts as one prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from clozelm.rng import generator

BINS = 15
_COLDEST, _HOTTEST = 0.1, 10.0
_HALVINGS = 60


class Bin(TypedDict):
    """The predictions whose confidence is in (low, high]: how many, how sure, how often right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Measured(TypedDict):
    """Calibration under one temperature: its error, the mean negative log-likelihood in nats, and the bins."""

    ece: float
    log_loss: float
    bins: list[Bin]


class Calibration(TypedDict):
    """A temperature, and what it does to predictions that it was not fitted to.

    ``refused`` is one that was fitted where such predictions become less likely: then ``temperature`` is 1, and
    ``after`` says what it would have done.
    """

    temperature: float
    refused: float | None
    before: Measured
    after: Measured


def refusal(calibration: Mapping[str, Any] | None) -> list[str]:
    """Say that a temperature is not used, and why; nothing where there is no need."""
    if calibration is None or calibration.get("refused") is None:
        return []
    refused = calibration["refused"]
    return [f"no temperature is used: {refused:.3g} fits dev, but halves of it do not help each other; it is small"]


def confidence(
    probabilities: NDArray[np.floating], truth: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probability of every prediction and 1.0 where it is right; [count], or [count * labels]."""
    given = probabilities.astype(np.float64)
    if truth.ndim == 1:
        return given.max(axis=1), (given.argmax(axis=1) == truth).astype(np.float64)
    right = (given > 0.5) == (truth > 0)
    return np.maximum(given, 1.0 - given).ravel(), right.astype(np.float64).ravel()


def bin_of(confidences: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """Return the number of the bin of equal width, (low, high], that every confidence is in; 0 is in the first."""
    return np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidences, side="left").astype(np.int64)


def expected_calibration_error(
    probabilities: NDArray[np.floating], truth: NDArray[np.integer], *, bins: int = BINS
) -> float:
    """Return the mean distance of confidence from accuracy over bins of equal width, weighted by their counts."""
    sure, right = confidence(probabilities, truth)
    gaps = np.bincount(bin_of(sure, bins), weights=right - sure, minlength=bins)
    return float(np.abs(gaps).sum() / sure.size)


def reliability(probabilities: NDArray[np.floating], truth: NDArray[np.integer], *, bins: int = BINS) -> list[Bin]:
    """Return the bins of a reliability diagram; those that nothing falls into are left out."""
    sure, right = confidence(probabilities, truth)
    owner = bin_of(sure, bins)
    counts = np.bincount(owner, minlength=bins)
    total_sure = np.bincount(owner, weights=sure, minlength=bins)
    total_right = np.bincount(owner, weights=right, minlength=bins)
    return [
        Bin(
            low=each / bins,
            high=(each + 1) / bins,
            count=int(counts[each]),
            confidence=float(total_sure[each] / counts[each]),
            accuracy=float(total_right[each] / counts[each]),
        )
        for each in range(bins)
        if counts[each]
    ]


def probabilities_of(
    logits: NDArray[np.floating], *, is_multi: bool, temperature: float | NDArray[np.float64] = 1.0
) -> NDArray[np.float64]:
    """Return softmax, or sigmoid, of logits [count, labels] over a temperature or one for every row, [count, 1]."""
    scaled = logits.astype(np.float64) / temperature
    if is_multi:
        return np.exp(-np.logaddexp(0.0, -scaled))
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return shares


def negative_log_likelihood(
    logits: NDArray[np.floating], truth: NDArray[np.integer], temperature: float | NDArray[np.float64] = 1.0
) -> float:
    """Return the mean over predictions in nats: over examples, or over examples and labels."""
    scaled = logits.astype(np.float64) / temperature
    if truth.ndim == 2:
        return float(np.logaddexp(0.0, np.where(truth > 0, -scaled, scaled)).mean())
    highest = scaled.max(axis=1)
    total = np.log(np.exp(scaled - highest[:, None]).sum(axis=1)) + highest
    return float((total - scaled[np.arange(len(truth)), truth]).mean())


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.integer]) -> float:
    """Return the temperature, from 0.1 to 10, under which logits [count, labels] are likeliest.

    The likelihood is concave in 1 / temperature, so that halving finds its maximum. Where every prediction is
    right it would rise without end: such examples do not say how often the model errs, and 1 is returned.
    Never less likely than 1 on the examples it is fitted to; never changes which label is the most probable.
    """
    if not len(truth) or _is_faultless(logits, truth):
        return 1.0
    low, high = np.log(1.0 / _HOTTEST), np.log(1.0 / _COLDEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _slope(logits, truth, np.exp(middle)) < 0.0 else (low, middle)
    fitted = float(np.clip(np.exp(-(low + high) / 2.0), _COLDEST, _HOTTEST))
    is_better = negative_log_likelihood(logits, truth, fitted) < negative_log_likelihood(logits, truth)
    return fitted if is_better else 1.0


def calibrate(
    logits: NDArray[np.floating],
    truth: NDArray[np.integer],
    *,
    owner: NDArray[np.integer] | None = None,
    bins: int = BINS,
    seed: int = 0,
) -> Calibration | None:
    """Fit a temperature and measure what one does; None where there are fewer than two examples.

    ``after`` is cross-fitted: each half is measured under the temperature of the other, both halves in the same
    bins (the error grows as examples get fewer, so that halves by themselves would look worse than ``before``).
    ``owner`` numbers the sentence of every word: a sentence is in one half. The temperature is that of all; none
    is used where those of the halves make the other half less likely.
    """
    units, unit = np.unique(np.arange(len(truth)) if owner is None else owner, return_inverse=True)
    if len(units) < 2:
        return None
    is_first = (generator(seed, "calibration").permutation(len(units)) % 2 == 0)[unit]
    own = np.empty((len(truth), 1))
    own[is_first] = fit_temperature(logits[~is_first], truth[~is_first])
    own[~is_first] = fit_temperature(logits[is_first], truth[is_first])
    fitted = fit_temperature(logits, truth)
    before, after = _measured(logits, truth, 1.0, bins), _measured(logits, truth, own, bins)
    if after["log_loss"] > before["log_loss"]:
        return Calibration(temperature=1.0, refused=fitted, before=before, after=after)
    return Calibration(temperature=fitted, refused=None, before=before, after=after)


def _measured(
    logits: NDArray[np.floating],
    truth: NDArray[np.integer],
    temperature: float | NDArray[np.float64],
    bins: int,
) -> Measured:
    probabilities = probabilities_of(logits, is_multi=truth.ndim == 2, temperature=temperature)
    return Measured(
        ece=expected_calibration_error(probabilities, truth, bins=bins),
        log_loss=negative_log_likelihood(logits, truth, temperature),
        bins=reliability(probabilities, truth, bins=bins),
    )


def _slope(logits: NDArray[np.floating], truth: NDArray[np.integer], inverse: float) -> float:
    """Return the derivative of the negative log-likelihood by 1 / temperature, which only ever rises."""
    given = logits.astype(np.float64)
    shares = probabilities_of(given, is_multi=truth.ndim == 2, temperature=1.0 / inverse)
    if truth.ndim == 2:
        return float(((shares - (truth > 0)) * given).sum())
    centred = given - given[np.arange(len(truth)), truth][:, None]
    return float((shares * centred).sum())


def _is_faultless(logits: NDArray[np.floating], truth: NDArray[np.integer]) -> bool:
    if truth.ndim == 2:
        return bool(((logits > 0) == (truth > 0)).all())
    return bool((logits.argmax(axis=1) == truth).all())
