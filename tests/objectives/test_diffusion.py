"""Masked diffusion: rates of a row's own, and weights that make the loss a bound on the likelihood."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clozelm.errors import SettingsError
from clozelm.masking import Corruption, Masking, Uniform
from clozelm.masking.rates import random_rates
from clozelm.nn.heads import MaskedLM
from clozelm.objectives.diffusion import DiffusionExample, MaskedDiffusion
from tests import tiny_models, tiny_runs
from tests.memory_store import VOCABULARY
from tests.properties.test_masking import build

MASKING = Masking(VOCABULARY, Uniform().select, Corruption(1.0, 0.0), seed=3, rate=0.5)
ROWS = 4000
DIFFUSION = (
    "objective.name=diffusion",
    "masking.schedule=random",
    "masking.rate=0.15",
    "masking.rate_end=none",
    "masking.corruption.mask=1",
    "masking.corruption.random=0",
)


@pytest.fixture(scope="module")
def objective() -> MaskedDiffusion:
    model = MaskedLM(tiny_models.tiny_config("bert", vocab_size=VOCABULARY.size))
    tiny_models.perturb(model, 1)
    return MaskedDiffusion(model).eval()


def prepared(objective: MaskedDiffusion, lengths: list[int], *, rows: int = ROWS) -> DiffusionExample:
    piece = [[(10 + i, True) for i in range(length)] for length in lengths]
    made = build([piece] * rows)
    rates = random_rates(made.row_ids, made.epoch, seed=MASKING.seed)
    return objective.prepare(made, replace(MASKING, rate=rates))


@pytest.mark.parametrize("length", [1, 2, 5, 16])
def test_any_number_of_pieces_is_hidden(objective: MaskedDiffusion, length: int) -> None:
    hidden = (prepared(objective, [length]).labels != -100).sum(1).numpy()
    found = np.bincount(hidden, minlength=length + 1)
    expected = np.full(length + 1, ROWS / length)
    expected[0], expected[1], expected[length] = 0, 1.5 * ROWS / length, 0.5 * ROWS / length
    if length == 1:
        expected[1] = ROWS
    assert found[0] == 0
    spread = np.sqrt(np.maximum(expected * (1 - expected / ROWS), 1e-9))
    assert (np.abs(found - expected) <= 4 * spread + 1e-6).all(), (found, expected)


@pytest.mark.parametrize("lengths", [[1], [2], [7], [3, 12], [1, 1, 9]])
def test_the_loss_weighs_every_piece_alike(objective: MaskedDiffusion, lengths: list[int]) -> None:
    """On average each piece counts once, so that a model of fixed costs has the sum of them as its bound."""
    example = prepared(objective, lengths)
    assert example.importance is not None
    weights = example.importance.numpy()
    is_piece = weights.mean(0) > 0
    assert is_piece.sum() == sum(lengths)
    mean, spread = weights.mean(0)[is_piece], weights.std(0)[is_piece] / ROWS**0.5
    assert (np.abs(mean - 1.0) <= 4 * spread + 1e-9).all(), mean
    assert (weights[example.labels.numpy() == -100] == 0).all()
    assert (example.batch.input_ids[example.labels != -100] == VOCABULARY.mask_id).all()


@pytest.mark.parametrize("length", [2, 7])
def test_every_number_of_hidden_pieces_counts_alike(objective: MaskedDiffusion, length: int) -> None:
    """A cost that grows with how many are hidden: the mean over rows is that over 1 .. n, each as likely."""
    example = prepared(objective, [length])
    assert example.importance is not None
    hidden = (example.labels != -100).sum(1)
    costs = (example.importance.sum(1) * hidden**2).numpy() / length
    expected = sum(number**2 for number in range(1, length + 1)) / length
    assert abs(costs.mean() - expected) <= 4 * costs.std() / ROWS**0.5


def test_the_terms_are_the_bound_and_the_plain_mean(objective: MaskedDiffusion) -> None:
    example = prepared(objective, [6, 4], rows=3)
    assert example.importance is not None
    scores = objective(example)
    is_hidden = example.labels != -100
    logits = objective.masked_lm(example.batch)[is_hidden]
    nats = torch.nn.functional.cross_entropy(logits, example.labels[is_hidden], reduction="none")
    bound = float((nats * example.importance[is_hidden]).sum().detach())
    assert float(scores["diffusion"].loss_sum.detach()) == pytest.approx(bound, rel=1e-5)
    assert float(scores["mlm"].loss_sum) == pytest.approx(float(nats.sum().detach()), rel=1e-5)
    assert (scores["diffusion"].count, scores["mlm"].count) == (30, int(is_hidden.sum()))


def test_masks_alone_hide() -> None:
    with pytest.raises(SettingsError, match=r"objective\.name=diffusion needs masking\.corruption\.mask=1"):
        tiny_runs.settings(*DIFFUSION[:4])


def test_a_run_resumes_bit_for_bit(tmp_path: Path, known_machine: None) -> None:
    texts = tiny_runs.abstracts(40)
    store = tiny_runs.make_store(tmp_path, texts, tiny_runs.tokenizer(texts))
    chosen = tiny_runs.settings(*DIFFUSION)
    reports = tiny_runs.trained(chosen, store, tmp_path / "straight")
    tiny_runs.trained(chosen, store, tmp_path / "cut", stop_after=2)
    tiny_runs.trained(chosen, store, tmp_path / "cut")
    tiny_runs.assert_equal_runs(tmp_path / "straight", tmp_path / "cut")
    assert {"diffusion_loss", "heldout_diffusion_loss"} <= reports[-1].terms.keys()
