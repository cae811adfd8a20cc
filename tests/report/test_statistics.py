"""Intervals and tests: against tables, against `scipy` where it is there, and by what they promise."""

import math

import numpy as np
import pytest

from clozelm.report.statistics import (
    holm,
    mean_of,
    paired_bootstrap,
    paired_difference,
    t_quantile,
    t_tail,
)


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706205), (2, 4.302653), (4, 2.776445), (30, 2.042272)])
def test_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(0.025, degrees) == pytest.approx(quantile, abs=1e-6)
    assert t_tail(quantile, degrees) == pytest.approx(0.025, abs=1e-7)
    assert t_tail(0.0, degrees) == pytest.approx(0.5)


def test_everything_is_as_in_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (1, 2, 3, 9, 200):
        for t in (0.01, 1.0, 2.5, 50.0, 1e4):
            assert t_tail(t, degrees) == pytest.approx(stats.t.sf(t, degrees), rel=1e-8)
    values, reference = [3.1, 2.9, 3.4, 3.3], [3.0, 2.7, 3.5, 3.1]
    found = paired_difference(values, reference)
    assert found.p == pytest.approx(stats.ttest_rel(values, reference).pvalue)
    interval = stats.ttest_1samp(values, 0.0).confidence_interval()
    mean = mean_of(values)
    assert (mean.low, mean.high) == pytest.approx((interval.low, interval.high))


def test_few_values() -> None:
    assert mean_of([2.0]).low is None
    assert mean_of([0.3, 0.1 + 0.2]).low is None, "alike, as counts of few texts may be"
    one = paired_difference([2.0], [1.5])
    assert (one.mean, one.low, one.p, one.count) == (0.5, None, None, 1)
    two = mean_of([1.0, 3.0])  # the standard error of two values is half their distance
    assert (two.low, two.high) == pytest.approx((2.0 - 12.706205, 2.0 + 12.706205))
    assert paired_difference([1.0, 2.0], [1.0, 2.0]).p == 1.0


def test_equal_differences_say_nothing_of_chance() -> None:
    """As two of 100 texts more with either seed: 0.81 - 0.79 and 0.80 - 0.78 are not quite equal as floats."""
    found = paired_difference([0.81, 0.80], [0.79, 0.78])
    assert found.mean == pytest.approx(0.02)
    assert (found.low, found.high, found.p) == (None, None, 1.0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_paired_bootstrap_sees_what_is_common_to_both() -> None:
    rng = np.random.default_rng(0)
    difficulty, sizes = rng.normal(5.0, 2.0, 400), rng.integers(5, 20, 400).astype(float)
    reference = np.stack([difficulty * sizes, sizes])
    worse = np.stack([(difficulty + 0.1 + rng.normal(0.0, 0.05, 400)) * sizes, sizes])
    low, high = paired_bootstrap(worse, reference)
    found = worse[0].sum() / worse[1].sum() - reference[0].sum() / reference[1].sum()
    assert 0.09 < low < found < high < 0.11  # the means themselves are known to 0.2 only
    assert paired_bootstrap(reference, reference) == (0.0, 0.0)
    assert all(math.isnan(end) for end in paired_bootstrap(reference[:, :1], worse[:, :1]))
