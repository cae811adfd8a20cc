import pytest

from clozelm.errors import SettingsError
from clozelm.masking import rate_at


def test_constant() -> None:
    assert {rate_at(step, 100, 0.15) for step in (0, 50, 99, 1000)} == {0.15}


def test_linear_reaches_both_ends() -> None:
    rates = [rate_at(step, 5, 0.3, 0.15, "linear") for step in range(7)]
    assert rates == pytest.approx([0.3, 0.2625, 0.225, 0.1875, 0.15, 0.15, 0.15])
    assert rates[0] == 0.3
    assert rates[4] == 0.15


@pytest.mark.parametrize("num_steps", [0, 1])
def test_a_run_of_one_step_uses_the_first_rate(num_steps: int) -> None:
    assert rate_at(0, num_steps, 0.3, 0.15, "linear") == 0.3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((1.5,), r"^masking.rate=1.5 must lie strictly between 0 and 1 \(BERT uses 0.15\).$"),
        ((0.3, 0.0, "linear"), r"^masking.rate_end=0.0 must lie"),
        ((0.3, None, "linear"), "needs masking.rate_end"),
        ((0.3, 0.15, "cosine"), "masking.schedule='cosine' must be one of constant, linear"),
    ],
)
def test_impossible_schedules_are_refused(arguments: tuple, line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        rate_at(0, 10, *arguments)
