"""Learning-rate schedules: parity with transformers one step on, and what holds for every kind."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clozelm.train.schedule import SHAPES, factor

SETTINGS = {"warmup_steps": 7, "decay_fraction": 0.25, "final": 0.0}


def _theirs(kind, num_steps, final):
    from transformers import optimization

    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    if kind == "wsd":
        decay = -(-num_steps // 4)
        scheduler = optimization.get_wsd_schedule(
            optimiser,
            num_warmup_steps=7,
            num_decay_steps=decay,
            num_training_steps=num_steps + 1,
            decay_type="1-sqrt",
            min_lr_ratio=final,
        )
    elif kind == "constant":
        scheduler = optimization.get_constant_schedule_with_warmup(optimiser, 7)
    elif kind == "linear":
        scheduler = optimization.get_linear_schedule_with_warmup(optimiser, 7, num_steps + 1)
    else:
        scheduler = optimization.get_cosine_schedule_with_warmup(optimiser, 7, num_steps + 1)
    return scheduler.lr_lambdas[0]


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("num_steps", [40, 101])
def test_equals_transformers_one_step_on(kind, num_steps):
    theirs = _theirs(kind, num_steps, 0.0)
    for step in range(num_steps):
        assert factor(step, num_steps, kind=kind, **SETTINGS) == pytest.approx(theirs(step + 1), abs=1e-12)


@given(
    st.sampled_from(sorted(SHAPES)),
    st.integers(1, 200),
    st.floats(0, 0.9),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_rises_to_one_then_falls_and_never_wastes_a_step(kind, num_steps, warmup, decay, final):
    warmup_steps = int(warmup * num_steps)
    values = [
        factor(step, num_steps, kind=kind, warmup_steps=warmup_steps, decay_fraction=decay, final=final)
        for step in range(num_steps)
    ]
    assert all(0.0 < value <= 1.0 for value in values)
    assert values[:warmup_steps] == sorted(values[:warmup_steps])
    after = values[warmup_steps:]
    assert after == sorted(after, reverse=True)
    assert min(after) >= min(final, 1.0) - 1e-12


@pytest.mark.parametrize("kind", sorted(set(SHAPES) - {"constant"}))
def test_past_the_end_it_stays_at_final(kind):
    settings = SETTINGS | {"final": 0.1}
    assert factor(50, 50, kind=kind, **settings) == pytest.approx(0.1)
    assert factor(999, 50, kind=kind, **settings) == pytest.approx(0.1)


def test_one_step_without_anything_else_is_at_a_positive_rate():
    assert factor(0, 1, kind="linear", warmup_steps=0, decay_fraction=0.0, final=0.0) == 0.5
    assert factor(0, 1, kind="wsd", warmup_steps=0, decay_fraction=0.0, final=0.0) == 1.0
    assert factor(0, 1, kind="linear", warmup_steps=1, decay_fraction=0.0, final=0.0) == 1.0
