"""Calibration: errors by their definition, temperatures by the likelihood they promise."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clozelm.tasks.calibration import (
    bin_of,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities_of,
    refusal,
    reliability,
)


@st.composite
def logits_and_truth(draw: st.DrawFn, *, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Logits of any scale with truths of one label or of several, some without an error."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    count, size = draw(st.integers(least, 30)), draw(st.integers(1, 5))
    logits = rng.normal(size=(count, size)) * draw(st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]))
    noisy = logits + rng.normal(size=logits.shape) * draw(st.sampled_from([0.0, 1.0, 10.0]))
    return logits, draw(st.sampled_from([noisy.argmax(axis=1), (noisy > 0.5).astype(np.int64)]))


def synthetic(count: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from a softmax, and its logits times a factor: the temperature to be found."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 4)) * 2
    drawn = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return logits * factor, drawn


@given(logits_and_truth())
def test_the_fitted_temperature_is_never_less_likely(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, truth = case
    fitted = fit_temperature(logits, truth)
    assert 0.1 <= fitted <= 10.0
    assert negative_log_likelihood(logits, truth, fitted) <= negative_log_likelihood(logits, truth)
    assert (logits / fitted).argmax(axis=1).tolist() == logits.argmax(axis=1).tolist()


@settings(deadline=None)
@given(logits_and_truth())
def test_no_other_temperature_is_likelier(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, truth = case
    fitted = fit_temperature(logits, truth)
    best = negative_log_likelihood(logits, truth, fitted)
    right = logits > 0 if truth.ndim == 2 else logits.argmax(axis=1)
    if (right == truth).all():
        assert fitted == 1.0
    else:
        others = [negative_log_likelihood(logits, truth, each) for each in np.geomspace(0.1, 10.0, 201)]
        assert best <= min(others) + 1e-9 * abs(best)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found(factor: float) -> None:
    logits, truth = synthetic(20_000, factor)
    assert fit_temperature(logits, truth) == pytest.approx(factor, rel=0.05)
    binary = (np.random.default_rng(1).random(logits.shape) < 1 / (1 + np.exp(-logits / factor))).astype(np.int64)
    assert fit_temperature(logits, binary) == pytest.approx(factor, rel=0.05)


@given(logits_and_truth())
def test_likelihoods_and_probabilities_are_those_of_torch(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, truth = case
    given_, target = torch.tensor(logits), torch.tensor(truth)
    if truth.ndim == 2:
        expected = torch.nn.functional.binary_cross_entropy_with_logits(given_, target.double())
        shares = given_.sigmoid()
    else:
        expected, shares = torch.nn.functional.cross_entropy(given_, target), given_.softmax(dim=1)
    assert negative_log_likelihood(logits, truth) == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
    assert probabilities_of(logits, is_multi=truth.ndim == 2) == pytest.approx(shares.numpy(), rel=1e-9)


@given(logits_and_truth(), st.integers(1, 20))
def test_the_error_is_what_guo_defines(case: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    logits, truth = case
    probabilities = probabilities_of(logits, is_multi=truth.ndim == 2)
    pairs = []
    for row, actual in zip(probabilities.tolist(), truth.tolist(), strict=True):
        if truth.ndim == 2:
            pairs += [(max(p, 1 - p), (p > 0.5) == bool(each)) for p, each in zip(row, actual, strict=True)]
        else:
            pairs.append((max(row), row.index(max(row)) == actual))
    edges, expected, kept = np.linspace(0.0, 1.0, bins + 1), 0.0, 0
    for low, high in itertools.pairwise(edges):
        inside = [pair for pair in pairs if low < pair[0] <= high]
        kept += bool(inside)
        expected += abs(sum(right for _, right in inside) - sum(sure for sure, _ in inside)) / len(pairs)
    assert expected_calibration_error(probabilities, truth, bins=bins) == pytest.approx(expected)
    shown = reliability(probabilities, truth, bins=bins)
    assert len(shown) == kept
    assert sum(each["count"] for each in shown) == len(pairs)
    again = sum(each["count"] * abs(each["accuracy"] - each["confidence"]) for each in shown) / len(pairs)
    assert again == pytest.approx(expected)
    assert all(each["low"] - 1e-12 <= each["confidence"] <= each["high"] + 1e-12 for each in shown)


def test_edges_belong_to_the_bin_below() -> None:
    assert bin_of(np.array([0.0, 0.25, 0.250001, 0.5, 1.0]), 4).tolist() == [0, 0, 1, 1, 3]
    sure = np.array([[0.0, 1.0], [0.5, 0.5]])
    assert expected_calibration_error(sure, np.array([1, 0])) == 0.25


def test_calibration_helps_those_who_are_too_sure() -> None:
    found = calibrate(*synthetic(4000, 3.0))
    assert found is not None
    assert found["temperature"] == pytest.approx(3.0, rel=0.1)
    assert found["before"]["ece"] > 0.15
    assert found["after"]["ece"] < 0.03
    assert found["after"]["log_loss"] < found["before"]["log_loss"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found == calibrate(*synthetic(4000, 3.0))


def test_after_is_measured_on_what_was_not_fitted() -> None:
    """Two examples, a mistake among them: fitted to both, they would gain; fitted to one, they cannot."""
    logits, truth = np.array([[9.0, 0.0], [9.0, 0.0]]), np.array([0, 1])
    found = calibrate(logits, truth)
    assert found is not None
    assert found["temperature"] == 1.0, "what does not help is not used"
    assert found["refused"] is not None
    (said,) = refusal(found)
    assert "no temperature is used" in said
    optimistic = negative_log_likelihood(logits, truth, found["refused"])
    assert optimistic < found["before"]["log_loss"]
    own = negative_log_likelihood(
        logits, truth, np.array([[10.0], [1.0]])
    )  # the right one is told of the wrong one
    assert found["after"]["log_loss"] == pytest.approx(own)
    assert found["after"]["log_loss"] > optimistic


def test_the_words_of_a_sentence_stay_together() -> None:
    """The same word ten times in each of two sentences: halves of words would know what they are asked."""
    logits = np.repeat([[9.0, 0.0], [9.0, 0.0]], 10, axis=0)
    truth = np.repeat([0, 1], 10)
    apart = calibrate(logits, truth)
    together = calibrate(logits, truth, owner=truth)
    assert apart is not None
    assert together is not None
    assert together["after"]["log_loss"] == pytest.approx(
        (9.0 + np.log1p(np.exp(-9.0)) + np.log1p(np.exp(-0.9))) / 2
    )
    assert apart["after"]["log_loss"] < 1.0
    assert calibrate(logits, truth, owner=np.zeros(20, dtype=np.int64)) is None


@settings(deadline=None)
@given(logits_and_truth(least=2))
def test_anything_can_be_calibrated(case: tuple[np.ndarray, np.ndarray]) -> None:
    found = calibrate(*case)
    assert found is not None
    assert (found["refused"] is None) is (found["after"]["log_loss"] <= found["before"]["log_loss"])
    assert found["temperature"] == (1.0 if found["refused"] is not None else fit_temperature(*case))
    for measured in (found["before"], found["after"]):
        assert 0.0 <= measured["ece"] <= 1.0
        assert np.isfinite(measured["log_loss"])


def test_a_set_without_a_mistake_teaches_nothing() -> None:
    assert fit_temperature(np.array([[3.0, 0.0], [0.0, 1.0]]), np.array([0, 1])) == 1.0
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=np.int64)) == 1.0
    assert fit_temperature(np.zeros((2, 2)), np.array([0, 1])) == 1.0, "no temperature makes a difference"
    assert calibrate(np.zeros((1, 2)), np.zeros(1, dtype=np.int64)) is None
