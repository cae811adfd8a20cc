"""Dropout: the right share, the right expectation, and the same masks from the same seed."""

import pytest
import torch

from clozelm.nn.dropout import Dropout, reseed_dropout
from tests import tiny_models

COUNT = 400_000


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_and_scale(rate: float) -> None:
    dropout = Dropout(rate)
    dropout.reseed(3)
    out = dropout(torch.ones(COUNT))
    share = float((out == 0).float().mean())
    assert share == pytest.approx(rate, abs=4 * (rate * (1 - rate) / COUNT) ** 0.5 + 1 / 65536)
    assert torch.unique(out).numel() == 2
    assert float(out.max()) == pytest.approx(1 / (1 - rate), rel=2e-4)


def test_masks_follow_the_seed_and_the_call() -> None:
    dropout, x = Dropout(0.3), torch.ones(1000)
    dropout.reseed(1)
    first, second = dropout(x), dropout(x)
    assert not torch.equal(first, second)
    dropout.reseed(1)
    assert torch.equal(dropout(x), first)
    dropout.reseed(2)
    assert not torch.equal(dropout(x), first)


def test_neighbours_are_independent() -> None:
    dropout = Dropout(0.5)
    dropout.reseed(0)
    kept = (dropout(torch.ones(COUNT)) > 0).float() - 0.5
    for lag in (1, 2, 3, 4, 64):
        correlation = float((kept[lag:] * kept[:-lag]).mean()) * 4
        assert abs(correlation) < 4 / COUNT**0.5, lag


def test_gradient_is_the_mask() -> None:
    dropout = Dropout(0.4)
    dropout.reseed(5)
    x = torch.ones(500, requires_grad=True)
    out = dropout(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_off_in_evaluation_and_at_rate_zero() -> None:
    x = torch.ones(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_global_generators_are_untouched() -> None:
    before = torch.random.get_rng_state()
    Dropout(0.5)(torch.ones(100))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_a_step_can_be_repeated_bit_for_bit(family: str) -> None:
    model = tiny_models.tiny_model(family, dropout=0.2, attention_dropout=0.2).train()
    batch = tiny_models.packed(tiny_models.documents([9, 14]), 25)
    reseed_dropout(model, 7)
    first, second = model(batch), model(batch)
    reseed_dropout(model, 7)
    assert torch.equal(model(batch), first)
    assert torch.equal(model(batch), second)
    assert not torch.equal(first, second)


def test_every_module_has_its_own_stream() -> None:
    model = tiny_models.tiny_model("bert", dropout=0.5, attention_dropout=0.5).train()
    reseed_dropout(model, 7)
    masks = [part(torch.ones(64)) for part in model.modules() if isinstance(part, Dropout)]
    assert len(masks) > 3
    assert len({tuple(mask.tolist()) for mask in masks}) == len(masks)


def test_attention_dropout_keeps_the_expectation() -> None:
    """Averaged over many masks, the embeddings' sum is what it is without dropout."""
    dropout = Dropout(0.5)
    dropout.reseed(0)
    x = torch.linspace(-1, 1, 50)
    mean = torch.stack([dropout(x) for _ in range(4000)]).mean(0)
    assert ((mean - x).abs() <= 4 * x.abs() / 4000**0.5 + 1e-6).all()
