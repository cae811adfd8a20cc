"""The objective returns sums and counts, which add up over any split of the batch."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from clozelm.families import FAMILIES
from clozelm.nn.heads import MaskedLM
from clozelm.objectives.mlm import MaskedPrediction
from clozelm.types import TokenBatch
from tests import tiny_models

LENGTHS = [19, 4, 1, 30, 12, 7]
WIDTH = 30


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> MaskedLM:
    return tiny_models.tiny_model(request.param)


@pytest.fixture
def batch() -> TokenBatch:
    return tiny_models.padded(tiny_models.documents(LENGTHS), WIDTH)


@pytest.fixture
def labels(batch: TokenBatch) -> torch.Tensor:
    """Very uneven: one row asks for half of its tokens, another for one, two for none."""
    asked = torch.full_like(batch.input_ids, -100)
    asked[0, :19:2] = torch.arange(10) % 7 + 5
    asked[3, 4] = 9
    asked[4, :3] = 11
    asked[5, 6] = 5
    return asked


def part(batch: TokenBatch, rows: slice) -> TokenBatch:
    return TokenBatch(batch.input_ids[rows], batch.doc_ids[rows], batch.positions[rows])


def test_sum_is_cross_entropy(model: MaskedLM, batch: TokenBatch, labels: torch.Tensor) -> None:
    scores = MaskedPrediction()(model, batch, labels)
    logits = model(batch).flatten(0, 1)
    expected = F.cross_entropy(logits, labels.flatten(), ignore_index=-100, reduction="sum")
    is_scored = labels.flatten() != -100
    assert float(scores.loss_sum.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert int(scores.correct) == int((logits.argmax(1) == labels.flatten())[is_scored].sum())
    assert scores.count == int((labels != -100).sum()) == 15


@pytest.mark.parametrize("cuts", [[3], [1, 2, 3, 4, 5], [0, 6], [5]])
def test_any_split_adds_up(model: MaskedLM, batch: TokenBatch, labels: torch.Tensor, cuts: list[int]) -> None:
    objective = MaskedPrediction()
    whole = objective(model, batch, labels)
    whole.loss_sum.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    edges = [0, *cuts, len(LENGTHS)]
    rows = [slice(a, b) for a, b in itertools.pairwise(edges) if a < b]
    scores = [objective(model, part(batch, some), labels[some]) for some in rows]
    for one in scores:
        if one.loss_sum.requires_grad:
            one.loss_sum.backward()
    assert sum(one.count for one in scores) == whole.count
    assert sum(int(one.correct) for one in scores) == int(whole.correct)
    assert math.fsum(float(one.loss_sum.detach()) for one in scores) == pytest.approx(
        float(whole.loss_sum.detach()), rel=1e-6
    )
    for name, parameter in model.named_parameters():
        scale = expected[name].abs().max().clamp(min=1.0)
        assert (parameter.grad - expected[name]).abs().max() <= 1e-5 * scale, name


def test_nothing_masked(model: MaskedLM, batch: TokenBatch) -> None:
    scores = MaskedPrediction()(model, batch, torch.full_like(batch.input_ids, -100))
    assert (float(scores.loss_sum.detach()), int(scores.correct), scores.count) == (0.0, 0, 0)
    assert scores.loss_sum.isfinite()


def test_every_parameter_gets_a_gradient(model: MaskedLM, batch: TokenBatch, labels: torch.Tensor) -> None:
    MaskedPrediction()(model, batch, labels).loss_sum.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_padding_gets_none(model: MaskedLM, batch: TokenBatch, labels: torch.Tensor) -> None:
    """What lies in padding does not change the loss or any gradient but the output matrix's."""
    noise = torch.where(batch.is_token, batch.input_ids, 8)
    objective = MaskedPrediction()
    one = objective(model, batch, labels)
    other = objective(model, TokenBatch(noise, batch.doc_ids, batch.positions), labels)
    assert float(one.loss_sum.detach()) == pytest.approx(float(other.loss_sum.detach()), rel=1e-6)
