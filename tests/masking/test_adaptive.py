import numpy as np
import pytest

from clozelm.masking import Adaptive, Candidates
from clozelm.masking.adaptive import accuracy_weights, balanced_weights


def piece(ids: np.ndarray, rate: float) -> Candidates:
    may_mask = np.ones(ids.size, np.bool_)
    may_mask[[0, -1]] = False
    return Candidates(ids, may_mask, may_mask, np.zeros(ids.size, np.uint8), rate)


def test_one_token_is_chosen_in_proportion_to_its_weight() -> None:
    weights = np.array([1.0, 0.1, 0.5, 0.25, 1.0])
    candidates = piece(np.array([0, 1, 2, 3, 4, 2, 0]), 0.2)
    rng = np.random.default_rng(0)
    chosen = np.mean([Adaptive(weights).select(candidates, rng).chosen for _ in range(20_000)], axis=0)[1:-1]
    expected = weights[[1, 2, 3, 4, 2]] / weights[[1, 2, 3, 4, 2]].sum()
    assert chosen.sum() == pytest.approx(1.0), "a rate of 0.2 of 5 tokens is one"
    assert (abs(chosen - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000)).all()


def test_more_tokens_are_chosen_as_one_after_another_would_be() -> None:
    """Against drawing two of four by hand, from all orders."""
    weights = np.array([1.0, 0.5, 0.2, 0.1])
    candidates = piece(np.array([0, 0, 1, 2, 3, 0]), 0.5)
    rng = np.random.default_rng(1)
    chosen = np.mean([Adaptive(weights).select(candidates, rng).chosen for _ in range(20_000)], axis=0)[1:-1]
    expected = np.zeros(4)
    for a in range(4):
        for b in set(range(4)) - {a}:
            both = weights[a] / weights.sum() * weights[b] / (weights.sum() - weights[a])
            expected[[a, b]] += both
    assert (abs(chosen - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000)).all()


def test_weights_by_accuracy_are_the_share_of_wrong_ones_with_a_floor() -> None:
    right, seen = np.array([0.0, 50.0, 100.0, 0.0]), np.array([100.0, 100.0, 100.0, 0.0])
    weights = accuracy_weights(right, seen, prior=10.0, ratio=8.0)
    overall = 150 / 300
    assert weights == pytest.approx([1 - 5 / 110, 1 - 55 / 110, 1 / 8, 1 - overall])
    assert accuracy_weights(np.zeros(3), np.zeros(3), prior=1.0, ratio=9.0) == pytest.approx([1, 1, 1])


def test_balanced_weights_fall_with_the_root_of_the_count_between_bounds() -> None:
    counts = np.array([0, 1, 100, 400, 1_000_000, 99_499])
    mean = counts.sum() / 5
    weights = balanced_weights(counts, ratio=2.0)
    assert weights[:4] == pytest.approx(np.ones(4))
    assert weights[4] == pytest.approx(max(np.sqrt(mean / 1e6), 0.5))
    assert balanced_weights(counts, ratio=100.0)[4] == pytest.approx(np.sqrt(mean / 1e6))
    assert balanced_weights(np.zeros(3, np.int64), ratio=2.0) == pytest.approx(np.ones(3))
