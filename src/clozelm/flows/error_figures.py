"""From sums by group and document to figures with intervals, and two models' differences with significance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clozelm.explain.error_groups import GROUPS
from clozelm.explain.errors import ErrorSums, ModelSums
from clozelm.report.statistics import holm, t_tail
from clozelm.rng import generator
from clozelm.tasks.calibration import BINS

_RESAMPLES = 1000
_FEWEST = 5  # documents, for an interval that means something
FEWEST_FOR_CALIBRATION = 10
_Sums = NDArray[np.float64]


class Resampling:
    """The clusters that have predictions, and how often each is drawn in 1,000 bootstrap samples of them.

    With at most 2,000 documents these are the draws of ``evaluate``, which so gives the same intervals.
    """

    def __init__(self, counts: _Sums) -> None:
        self._present = counts[:, 0] > 0
        size = int(self._present.sum())
        rng = generator(0, "bootstrap")
        drawn = (rng.integers(size, size=size) for _ in range(_RESAMPLES))
        self._weights = np.stack([np.bincount(each, minlength=size) for each in drawn]).astype(np.float64)

    def ratios(self, above: _Sums, below: _Sums) -> list[dict[str, float | None]]:
        """Return sum(above) / sum(below) of every column, with its 95% percentile interval."""
        above, below = above[self._present], below[self._present]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = above.sum(axis=0) / below.sum(axis=0)
            drawn = (self._weights @ above) / (self._weights @ below)
        documents = (below > 0).sum(axis=0).tolist()
        return [
            _figure(value, column, count) for value, column, count in zip(values, drawn.T, documents, strict=True)
        ]

    def calibration_error(self, model: ModelSums) -> dict[str, float | None]:
        """Return the expected calibration error over bins of equal width (Guo et al. 2017).

        It counts noise as error, so that resamples, which are noisier, have more of it: a percentile interval would
        begin at its value. The interval is the basic one (Davison & Hinkley 1997, 5.2), which turns the draws
        around the value, cut to [0, 1] and widened where it would miss the value.
        """
        gap = (model.bin_right - model.bin_confidence)[self._present]
        counts = model.bin_counts[self._present].sum(axis=1)
        value = np.abs(gap.sum(axis=0)).sum() / counts.sum()
        drawn = np.abs(self._weights @ gap).sum(axis=1) / (self._weights @ counts)
        figure = _figure(value, drawn, len(counts), fewest=FEWEST_FOR_CALIBRATION)
        if figure["low"] is not None and figure["high"] is not None:
            low, high = 2 * value - figure["high"], 2 * value - figure["low"]
            figure |= {"low": max(0.0, min(low, float(value))), "high": min(1.0, max(high, float(value)))}
        return figure


def _figure(value: float, drawn: _Sums, documents: int, *, fewest: int = _FEWEST) -> dict[str, float | None]:
    known = drawn[np.isfinite(drawn)]
    if not math.isfinite(value):
        return {"value": None, "low": None, "high": None}
    if documents < fewest or not known.size:
        return {"value": float(value), "low": None, "high": None}
    low, high = np.percentile(known, [2.5, 97.5])
    return {"value": float(value), "low": float(low), "high": float(high)}


def groups(sums: ErrorSums) -> Iterator[dict[str, Any]]:
    """Yield every group with the figures of its cells that have predictions; the first group is everything."""
    draws = Resampling(sums.counts)
    each = [
        {"accuracy": draws.ratios(model.right, sums.counts), "loss": draws.ratios(model.losses, sums.counts)}
        for model in sums.models
    ]
    compared = _differences(sums, draws) if len(sums.models) == 2 else None
    totals, documents = sums.counts.sum(axis=0), (sums.counts > 0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        unigram = sums.unigram.sum(axis=0) / totals
    first = 0
    for group in GROUPS:
        cells = []
        for cell, name in enumerate(group.cells, start=first):
            if totals[cell]:
                one: dict[str, Any] = {"name": name, "predictions": int(totals[cell])}
                one |= {"share": float(totals[cell] / totals[0]), "clusters": int(documents[cell])}
                one |= {"unigram": float(unigram[cell])}
                one["models"] = [{figure: values[cell] for figure, values in model.items()} for model in each]
                one["difference"] = None if compared is None else compared[cell]
                cells.append(one)
        yield {"name": group.name, "title": group.title, "about": group.about, "cells": cells}
        first += len(group.cells)


def _differences(sums: ErrorSums, draws: Resampling) -> list[dict[str, Any]]:
    """Return for every cell what the second model has more than the first, in loss and accuracy.

    ``p`` is of the t-test over clusters, ``p_corrected`` after Holm for the cells of all groups; that of all
    predictions together, the first cell, is a question of its own.
    """
    old, new = sums.models
    found: list[dict[str, Any]] = [{} for _ in range(sums.counts.shape[1])]
    for name, change in (("loss", new.losses - old.losses), ("accuracy", new.right - old.right)):
        ratios = draws.ratios(change, sums.counts)
        ps = [_p(change[:, cell], sums.counts[:, cell]) for cell in range(len(found))]
        tested = [cell for cell, p in enumerate(ps) if p is not None and cell]
        corrected = dict(zip(tested, holm([ps[cell] or 0.0 for cell in tested]), strict=True)) | {0: ps[0]}
        for cell, ratio in enumerate(ratios):
            found[cell][name] = {**ratio, "p": ps[cell], "p_corrected": corrected.get(cell)}
    return found


def _p(change: _Sums, counts: _Sums) -> float | None:
    """Return the p of no change of a ratio by its residuals over clusters; None where there are too few."""
    has = counts > 0
    size = int(has.sum())
    if size < _FEWEST:
        return None
    ratio = change[has].sum() / counts[has].sum()
    residuals = change[has] - ratio * counts[has]
    error = math.sqrt(size / (size - 1) * float((residuals**2).sum()))
    if error <= 1e-12 * max(float(np.abs(change).sum()), 1.0):
        return 1.0
    return min(1.0, 2.0 * t_tail(abs(float(change[has].sum())) / error, size - 1))


def calibration(model: ModelSums, draws: Resampling) -> dict[str, Any]:
    """Return the bins of confidence that hold something, and the expected calibration error."""
    counts = model.bin_counts.sum(axis=0)
    right, sure = (column.sum(axis=0) for column in (model.bin_right, model.bin_confidence))
    accuracy = draws.ratios(model.bin_right, model.bin_counts)
    bins = [
        {
            "low": each / BINS,
            "high": (each + 1) / BINS,
            "count": int(counts[each]),
            "confidence": float(sure[each] / counts[each]),
            "accuracy": float(right[each] / counts[each]),
            "interval": [accuracy[each]["low"], accuracy[each]["high"]],
        }
        for each in range(BINS)
        if counts[each]
    ]
    return {
        "ece": draws.calibration_error(model),
        "confidence": float(sure.sum() / counts.sum()),
        "accuracy": float(right.sum() / counts.sum()),
        "bins": bins,
    }
