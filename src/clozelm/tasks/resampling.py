"""Figures of weighted examples, and the bootstrap intervals they give.

A resample of the bootstrap is a weight for every example: how often it was drawn. Each function below takes what
was predicted once and returns the figures for any weights, so that a thousand resamples are a thousand sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clozelm.rng import generator
from clozelm.tasks.calibration import BINS, bin_of, confidence

RESAMPLES = 1000

Floats = NDArray[np.float64]
Figures = Callable[[Floats], dict[str, float]]
"""From a weight for every example, [count], to the figures by name."""


class Figure(TypedDict):
    """A value and its 95% percentile bootstrap interval; None where there is no telling (one example)."""

    value: float
    low: float | None
    high: float | None


def with_intervals(
    values: Mapping[str, float], figures: Figures, count: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Figure]:
    """Return values with intervals (Efron 1979), drawing ``count`` examples with replacement for each resample.

    The model is held fixed: this says what other examples of the kind would change, nothing about other seeds. An
    interval always holds its value: a calibration error is larger in most resamples than in what they are drawn of.
    Without resamples, or with fewer than two examples, there are no intervals.
    """
    if count < 2 or resamples < 1:
        return {name: Figure(value=float(value), low=None, high=None) for name, value in values.items()}
    rng = generator(seed, "bootstrap")
    drawn = [
        figures(np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64))
        for _ in range(resamples)
    ]
    found = {}
    for name, value in values.items():
        low, high = np.percentile([each[name] for each in drawn], [2.5, 97.5])
        found[name] = Figure(value=float(value), low=float(min(low, value)), high=float(max(high, value)))
    return found


def classification_figures(truth: NDArray[np.int64], probabilities: Floats) -> Figures:
    """Return the figures of one label of several; a class that neither occurs nor is predicted has no F1."""
    size = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    right = (predicted == truth).astype(np.float64)
    losses = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], np.finfo(np.float64).eps))
    gaps = _gaps(probabilities, truth)

    def figures(weights: Floats) -> dict[str, float]:
        total = weights.sum()
        actual = np.bincount(truth, weights=weights, minlength=size)
        given = np.bincount(predicted, weights=weights, minlength=size)
        hits = np.bincount(truth, weights=weights * right, minlength=size)
        f1, occurs, is_class = _f1(hits, actual, given), actual + given > 0, actual > 0
        spread = (total**2 - given @ given) * (total**2 - actual @ actual)
        covariance = hits.sum() * total - actual @ given
        return {
            "accuracy": float(hits.sum() / total),
            "macro_f1": float(f1[occurs].mean()),
            "weighted_f1": float(f1 @ actual / total),
            "mcc": float(covariance / math.sqrt(spread)) if spread > 0 else 0.0,
            "balanced_accuracy": float((hits[is_class] / actual[is_class]).mean()),
            "log_loss": float(losses @ weights / total),
            "ece": float(np.abs(weights @ gaps).sum() / total),
        }

    return figures


def multilabel_figures(truth: NDArray[np.bool_], probabilities: Floats, predicted: NDArray[np.bool_]) -> Figures:
    """Return the figures of any number of labels, [count, labels]; a label that never occurs has F1 0."""
    size = truth.shape[1]
    places = [np.nonzero(each) for each in (truth, predicted, truth & predicted)]
    right = (truth == predicted).all(axis=1).astype(np.float64)
    sides = np.where(truth, probabilities, 1.0 - probabilities)
    losses = -np.log(np.maximum(sides, np.finfo(np.float64).eps)).mean(axis=1)
    gaps = _gaps(probabilities, truth.astype(np.int64))

    def figures(weights: Floats) -> dict[str, float]:
        total = weights.sum()
        actual, given, hits = (np.bincount(label, weights[row], minlength=size) for row, label in places)
        return {
            "micro_f1": float(_f1(hits.sum(), actual.sum(), given.sum())),
            "macro_f1": float(_f1(hits, actual, given).mean()),
            "subset_accuracy": float(right @ weights / total),
            "log_loss": float(losses @ weights / total),
            "ece": float(np.abs(weights @ gaps).sum() / total / size),
        }

    return figures


def regression_figures(truth: Floats, predicted: Floats) -> Figures:
    """Return the figures of numbers; a correlation with what does not vary is 0, as MCC is."""
    errors = predicted - truth
    ranks = _centred_ranks(truth), _centred_ranks(predicted)
    scale = _reach(truth)
    scaled = (truth - truth.mean()) / scale, (predicted - predicted.mean()) / _reach(predicted)

    def figures(weights: Floats) -> dict[str, float]:
        total = weights.sum()
        one, other = (side - weights @ side / total for side in scaled)
        rank, other_rank = (each(weights) for each in ranks)
        varies = bool(weights @ rank**2), bool(weights @ other_rank**2)
        missed, scatter = weights @ (errors / scale) ** 2, weights @ one**2
        return {
            "pearson": _cosine(one, other, weights) if all(varies) else 0.0,
            "spearman": _cosine(rank, other_rank, weights) if all(varies) else 0.0,
            "mse": float(weights @ errors**2 / total),
            "mae": float(weights @ np.abs(errors) / total),
            "r2": float(1.0 - missed / scatter) if varies[0] and scatter > 0.0 else float(missed == 0.0),
        }

    return figures


def entity_figures(sums: Floats) -> Figures:
    """Return the figures of sentences from their sums, [sentences, 8].

    Entities found, actual and predicted in strict mode, the same in seqeval's default mode, right words, words.
    """

    def figures(weights: Floats) -> dict[str, float]:
        hits, actual, given, *default, right, words = (float(each) for each in weights @ sums)
        return {
            "precision": float(_share(hits, given)),
            "recall": float(_share(hits, actual)),
            "f1": float(_f1(hits, actual, given)),
            "token_accuracy": float(_share(right, words)),
            "f1_default_mode": float(_f1(*default)),
        }

    return figures


def _f1(hits: ArrayLike, actual: ArrayLike, given: ArrayLike) -> Floats:
    return _share(2.0 * np.asarray(hits), np.asarray(actual) + np.asarray(given))


def _share(above: ArrayLike, below: ArrayLike) -> Floats:
    """Return the ratio, 0 where it is 0 / 0."""
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def _gaps(probabilities: Floats, truth: NDArray[np.int64]) -> Floats:
    """Return accuracy less confidence by example and bin, [count, bins], of all predictions of an example."""
    sure, right = confidence(probabilities, truth)
    example = np.arange(truth.size) // (truth.size // len(truth))
    gaps = np.zeros((len(truth), BINS))
    np.add.at(gaps, (example, bin_of(sure)), right - sure)
    return gaps


def _centred_ranks(values: Floats) -> Callable[[Floats], Floats]:
    """Return a function from weights to the ranks of weighted values about their mean; equal values share one.

    They are exact, so that all are 0 where nothing varies.
    """
    _, place = np.unique(values, return_inverse=True)

    def ranks(weights: Floats) -> Floats:
        counts = np.bincount(place, weights=weights)
        shared: Floats = (np.cumsum(counts) - counts / 2.0 - weights.sum() / 2.0)[place]
        return shared

    return ranks


def _reach(values: Floats) -> float:
    """Return the largest distance from the mean, 1 where there is none: what to scale by before squaring."""
    return float(np.abs(values - values.mean()).max()) or 1.0


def _cosine(one: Floats, other: Floats, weights: Floats) -> float:
    spread = math.sqrt(weights @ one**2) * math.sqrt(weights @ other**2)
    return float(np.clip(weights @ (one * other) / spread, -1.0, 1.0)) if spread > 0.0 else 0.0
