import numpy as np
import pytest

from clozelm.errors import SettingsError
from clozelm.masking import rate_at
from clozelm.masking.rates import mean_rate, random_rates


def test_constant() -> None:
    assert {rate_at(step, 100, 0.15) for step in (0, 50, 99, 1000)} == {0.15}


def test_linear_reaches_both_ends() -> None:
    rates = [rate_at(step, 5, 0.3, 0.15, "linear") for step in range(7)]
    assert rates == pytest.approx([0.3, 0.2625, 0.225, 0.1875, 0.15, 0.15, 0.15])
    assert rates[0] == 0.3
    assert rates[4] == 0.15


def test_cosine_is_slow_at_both_ends_and_has_the_mean_of_them() -> None:
    rates = [rate_at(step, 5, 0.4, 0.2, "cosine") for step in range(7)]
    assert rates == pytest.approx([0.4, 0.37071068, 0.3, 0.22928932, 0.2, 0.2, 0.2])
    assert (rates[0], rates[4]) == (0.4, 0.2)
    assert mean_rate(0.4, 0.2, "cosine") == pytest.approx(np.mean(rates[:5]))
    assert mean_rate(0.15) == 0.15
    assert mean_rate(0.15, kind="random") == rate_at(3, 9, 0.15, kind="random") == 0.5


def test_random_rates_are_uniform_and_a_function_of_seed_epoch_and_row() -> None:
    ids, epoch = np.arange(4000), np.zeros(4000, np.int64)
    drawn = random_rates(ids, epoch, seed=3)
    assert ((drawn > 0) & (drawn < 1)).all()
    for power in (1, 2):
        powers = drawn**power
        assert abs(powers.mean() - 1 / (power + 1)) < 4 * powers.std() / np.sqrt(len(drawn))
    assert (random_rates(ids[7:9], epoch[7:9], seed=3) == drawn[7:9]).all()
    assert (random_rates(ids, epoch, seed=4) != drawn).all()
    assert (random_rates(ids, epoch + 1, seed=3) != drawn).all()


@pytest.mark.parametrize("num_steps", [0, 1])
def test_a_run_of_one_step_uses_the_first_rate(num_steps: int) -> None:
    assert rate_at(0, num_steps, 0.3, 0.15, "linear") == 0.3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((1.5,), r"^masking.rate=1.5 must lie strictly between 0 and 1 \(BERT uses 0.15\).$"),
        ((0.3, 0.0, "linear"), r"^masking.rate_end=0.0 must lie"),
        ((0.3, None, "linear"), "needs masking.rate_end"),
        ((0.3, 0.15, "steps"), "masking.schedule='steps' must be one of constant, linear, cosine, random"),
        ((0.3, None, "cosine"), "needs masking.rate_end"),
    ],
)
def test_impossible_schedules_are_refused(arguments: tuple, line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        rate_at(0, 10, *arguments)
