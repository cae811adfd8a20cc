"""How far off answers on a scale are: as counted by hand, and where the figures must meet others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.tasks.classify import Classify
from clozelm.tasks.ordinal import step_figures
from clozelm.tasks.task import Answers
from clozelm.text.examples import TextExample
from clozelm.text.sentiment import WAYS


def one_hot(answers: list[int], size: int) -> np.ndarray:
    return np.eye(size)[answers]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_steps_are_counted(pairs: list[tuple[int, int]]) -> None:
    truth, answers = (list(side) for side in zip(*pairs, strict=True))
    found = step_figures(np.array(truth), one_hot(answers, 5), resamples=0)
    assert found["mae_steps"]["value"] == pytest.approx(sum(abs(a - b) for a, b in pairs) / len(pairs))
    assert found["within_one"]["value"] == pytest.approx(sum(abs(a - b) < 2 for a, b in pairs) / len(pairs))
    assert found["mae_steps"]["low"] is None


def test_intervals_hold_the_value_and_narrow() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (50, 5000):
        truth, answers = rng.integers(5, size=count), rng.integers(5, size=count)
        found = step_figures(truth, one_hot(list(answers), 5), resamples=200)
        for figure in found.values():
            assert figure["low"] is not None
            assert figure["high"] is not None
            assert figure["low"] < figure["value"] < figure["high"]
        widths.append(found["mae_steps"]["high"] - found["mae_steps"]["low"])
    assert widths[1] < widths[0] / 5


@pytest.mark.parametrize(("ways", "is_scale"), [(5, True), (5, False), (2, True)])
def test_a_scale_of_more_than_two_is_measured_so(ways: int, is_scale: bool) -> None:
    labels = WAYS[ways]
    task = Classify(labels, is_scale=is_scale)
    examples = [TextExample(("a",), labels[0]), TextExample(("b",), labels[-1])]
    answers = Answers([1, 1], ways)
    answers.logits[:] = np.log(one_hot([0, 0], ways) * 0.9 + 0.02)
    figures = task.measure(answers, examples)["figures"]
    assert ("mae_steps" in figures) == (ways == 5 and is_scale)
    if "mae_steps" in figures:
        assert figures["mae_steps"]["value"] == 2.0
        assert figures["within_one"]["value"] == figures["accuracy"]["value"] == 0.5
