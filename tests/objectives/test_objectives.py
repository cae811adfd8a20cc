"""Every objective returns sums and counts, which add up over any split of the batch."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from clozelm.errors import SettingsError
from clozelm.families import FAMILIES
from clozelm.objectives import OBJECTIVES, Example, Objective, Scores
from clozelm.objectives.clm import CausalPrediction
from clozelm.objectives.diffusion import DiffusionExample, MaskedDiffusion
from clozelm.objectives.distill import Distillation
from clozelm.objectives.hybrid import Hybrid, HybridExample
from clozelm.objectives.mlm import MaskedPrediction
from clozelm.objectives.pairs import NextSentence, SentenceOrder
from clozelm.objectives.rtd import ReplacedTokens, generator_config
from clozelm.objectives.span_corruption import SpanCorruption
from tests import tiny_models
from tests.objectives import spans

LENGTHS = [19, 4, 2, 30, 12, 7]
WIDTH = 30
TERMS = {"mlm": 1.5, "soft": 2.0, "cosine": 0.5}


def distillation(family: str, **options: str) -> Distillation:
    teacher = tiny_models.tiny_model(family, seed=1, num_layers=4)
    return Distillation(tiny_models.tiny_model(family), teacher, weights=TERMS, **options)


MAKE: dict[str, Callable[[str], Objective]] = {
    "mlm": lambda family: MaskedPrediction(tiny_models.tiny_model(family)),
    "nsp": lambda family: NextSentence(tiny_models.tiny_model(family), pair_weight=0.7),
    "sop": lambda family: SentenceOrder(tiny_models.tiny_model(family)),
    "rtd": lambda family: ReplacedTokens(tiny_models.tiny_config(family), generator=0.5),
    "distill": distillation,
    "clm": lambda family: CausalPrediction(tiny_models.tiny_model(family)),
    "hybrid": lambda family: Hybrid(tiny_models.tiny_model(family), causal=0.3),
    "diffusion": lambda family: MaskedDiffusion(tiny_models.tiny_model(family)),
    "span_corruption": lambda family: SpanCorruption(tiny_models.tiny_decoder(family)),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=OBJECTIVES)
def objective(request: pytest.FixtureRequest, family: str) -> Objective:
    made = MAKE[request.param](family)
    tiny_models.perturb(made, 3)
    return made.eval()


@pytest.fixture
def example(request: pytest.FixtureRequest) -> Example:
    """Very uneven: some rows ask for much, some for nothing; an objective of other batches makes its own."""
    asker = request.getfixturevalue("objective") if "objective" in request.fixturenames else None
    if isinstance(asker, MaskedDiffusion):
        return of_rates(of_masks())
    return of_spans(asker) if isinstance(asker, SpanCorruption) else of_masks()


def of_rates(example: Example) -> DiffusionExample:
    """The same predictions, each of its own importance."""
    importance = torch.linspace(0.5, 4.0, example.labels.numel(), dtype=torch.float64).view_as(example.labels)
    pieces = torch.tensor([17, 0, 0, 28, 10, 5])
    return DiffusionExample(example.batch, example.labels, importance=importance, num_pieces=pieces)


def of_spans(objective: SpanCorruption) -> Example:
    """Rows of documents of which two ask for nothing."""
    batch = tiny_models.padded(tiny_models.documents(LENGTHS), WIDTH)
    made = objective.prepare(spans.rows_of(batch), spans.masking(0.4))
    labels = made.labels.clone()
    labels[2:4] = -100
    return replace(made, labels=labels)


def of_masks() -> Example:
    """Very uneven: one row asks for half of its tokens, another for one, two for none; three rows are pairs."""
    batch = tiny_models.padded(tiny_models.documents(LENGTHS), WIDTH)
    asked = torch.full_like(batch.input_ids, -100)
    asked[0, 1:19:2] = torch.arange(9) % 7 + 5
    asked[3, 4] = 9
    asked[4, 1:4] = 11
    asked[5, 6] = 5
    pairs = torch.full_like(asked, -100)
    pairs[0, 0], pairs[2, 0], pairs[5, 0] = 1, 0, 1
    draws = torch.rand(asked.shape, generator=torch.Generator().manual_seed(5))
    is_causal = torch.tensor([True, False, True, False, True, False])
    return HybridExample(batch, asked, pairs, draws, is_causal)


def gradients(objective: Objective) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}
    objective.zero_grad()
    return found


def backward(objective: Objective, scores: dict[str, Scores]) -> None:
    weights = objective.weights
    total = sum(weights[term] * one.loss_sum for term, one in scores.items() if weights[term] and one.count)
    if isinstance(total, torch.Tensor) and total.requires_grad:
        total.backward()


def test_every_objective_is_made_here() -> None:
    assert MAKE.keys() == OBJECTIVES.keys()


def test_counts_are_known_beforehand(objective: Objective, example: Example) -> None:
    scores = objective(example)
    assert {term: one.count for term, one in scores.items()} == objective.counts(example)
    assert scores.keys() == objective.weights.keys()
    assert all(one.loss_sum.isfinite() for one in scores.values())
    assert all(one.correct is None or 0 <= int(one.correct) <= one.count for one in scores.values())


@pytest.mark.parametrize("cuts", [[3], [1, 2, 3, 4, 5], [0, 6], [5]])
def test_any_split_adds_up(objective: Objective, example: Example, cuts: list[int]) -> None:
    whole = objective(example)
    backward(objective, whole)
    expected = gradients(objective)
    edges = [0, *cuts, len(LENGTHS)]
    parts = [objective(example.rows(a, b)) for a, b in itertools.pairwise(edges) if a < b]
    for part in parts:
        backward(objective, part)
    for term, one in whole.items():
        mine = [part[term] for part in parts if term in part]
        assert sum(each.count for each in mine) == one.count
        if one.correct is not None:
            assert sum(int(each.correct) for each in mine) == int(one.correct)
        total = math.fsum(float(each.loss_sum.detach()) for each in mine)
        assert total == pytest.approx(float(one.loss_sum.detach()), rel=2e-6)
    found = gradients(objective)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        scale = expected[name].abs().max().clamp(min=1.0)
        assert (gradient - expected[name]).abs().max() <= 1e-5 * scale, name


def test_nothing_to_predict(objective: Objective, example: Example) -> None:
    none = torch.full_like(example.labels, -100)
    scores = objective(replace(example, labels=none, pair_labels=none))
    assert all(one.loss_sum.isfinite() for one in scores.values())
    assert not scores.get("mlm") or (float(scores["mlm"].loss_sum), scores["mlm"].count) == (0.0, 0)


def test_gradients_reach_every_parameter(objective: Objective, example: Example) -> None:
    backward(objective, objective(example))
    without = [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.any()]
    # The pairs here have no second segment; its vector waits for one that has.
    assert [name for name in without if "segments" not in name] == []


def test_padding_gets_none(objective: Objective, example: Example) -> None:
    """What lies in padding does not change the loss."""
    noise = torch.where(example.batch.is_token, example.batch.input_ids, 8)
    other = objective(replace(example, batch=replace(example.batch, input_ids=noise)))
    for term, one in objective(example).items():
        assert float(one.loss_sum.detach()) == pytest.approx(float(other[term].loss_sum.detach()), rel=1e-6)


def test_the_input_is_not_changed(objective: Objective, example: Example) -> None:
    before = example.batch.input_ids.clone(), example.labels.clone()
    objective(example)
    assert torch.equal(example.batch.input_ids, before[0])
    assert torch.equal(example.labels, before[1])


def test_mlm_is_cross_entropy(family: str, example: Example) -> None:
    objective = MAKE["mlm"](family)
    scores = objective(example)["mlm"]
    logits = objective.masked_lm(example.batch).flatten(0, 1)
    labels = example.labels.flatten()
    expected = F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    assert float(scores.loss_sum.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert int(scores.correct) == int((logits.argmax(1) == labels)[labels != -100].sum())
    assert scores.count == int((labels != -100).sum()) == 14


def test_pairs_are_judged_by_the_first_vector(family: str, example: Example) -> None:
    objective = MAKE["nsp"](family)
    assert isinstance(objective, NextSentence)
    scores = objective(example)["nsp"]
    first = objective.masked_lm.encoder(example.batch)[[0, 2, 5], 0]
    target = torch.tensor([1, 0, 1])
    expected = F.cross_entropy(objective.pair(first), target, reduction="sum")
    assert float(scores.loss_sum.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert (scores.count, scores.positive) == (3, 2)


def test_replaced_tokens_are_those_that_differ(family: str, example: Example) -> None:
    objective = MAKE["rtd"](family)
    assert isinstance(objective, ReplacedTokens)
    certain = torch.full_like(objective.masked_lm.head.bias, -1e4)
    certain[11] = 1e4  # the generator always draws piece 11
    with torch.no_grad():
        objective.masked_lm.head.bias.copy_(certain)
    scores = objective(example)["rtd"]
    is_masked = example.labels != -100
    filled = torch.where(is_masked, 11, example.batch.input_ids)
    target = (is_masked & (example.labels != 11))[example.batch.is_token]
    logits = objective.discriminator(replace(example.batch, input_ids=filled))[example.batch.is_token]
    expected = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="sum")
    assert float(scores.loss_sum.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert scores.positive == int(target.sum()) < int(is_masked.sum())
    assert int(scores.correct) == int(((logits > 0) == target).sum())


def test_the_generator_draws_from_its_distribution(example: Example) -> None:
    """Chi-squared of 20,000 draws from a Zipf distribution over 20 pieces stays within four standard deviations."""
    objective = MAKE["rtd"]("bert")
    assert isinstance(objective, ReplacedTokens)
    head = objective.masked_lm.head
    wanted = 1 / torch.arange(1, len(head.bias) + 1)
    wanted /= wanted.sum()
    with torch.no_grad():
        objective.masked_lm.decoder_weight.zero_()
        head.bias.copy_(wanted.log())
    hidden = torch.randn(20_000, objective.masked_lm.config.hidden_size)
    draws = torch.rand(len(hidden), generator=torch.Generator().manual_seed(1))
    found = torch.bincount(objective._draw(hidden, draws), minlength=len(wanted))
    expected = wanted * len(hidden)
    chi_squared = float(((found - expected) ** 2 / expected).sum())
    freedom = len(expected) - 1
    assert chi_squared < freedom + 4 * math.sqrt(2 * freedom)


def test_generator_and_discriminator_share_embeddings(family: str) -> None:
    objective = MAKE["rtd"](family)
    assert isinstance(objective, ReplacedTokens)
    ours, theirs = objective.masked_lm.encoder.embeddings, objective.discriminator.encoder.embeddings
    assert ours.tokens is theirs.tokens
    assert ours.positions is theirs.positions
    assert objective.masked_lm.config.hidden_size == objective.discriminator.config.hidden_size // 2


def test_a_generator_of_fewer_layers(family: str) -> None:
    config = tiny_models.tiny_config(family)
    found = generator_config(config, 1.0, 1)
    assert found == replace(config, num_layers=1, num_groups=None if config.num_groups is None else 1)


def test_a_generator_without_whole_heads_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"generator=0.4 of 32 and 4 heads is no shape"):
        generator_config(tiny_models.tiny_config("electra", num_heads=4), 0.4)


@pytest.mark.parametrize("positions", ["all", "predicted"])
def test_distillation_is_the_divergence(family: str, positions: str, example: Example) -> None:
    objective = distillation(family, positions=positions)
    scores = objective(example)
    where = example.batch.is_token if positions == "all" else example.labels != -100
    student, teacher = objective.masked_lm, objective.teacher
    mine, theirs = student(example.batch)[where] / 2.0, teacher(example.batch)[where] / 2.0
    soft = 4.0 * F.kl_div(mine.log_softmax(1), theirs.log_softmax(1), reduction="sum", log_target=True)
    assert float(scores["soft"].loss_sum.detach()) == pytest.approx(float(soft.detach()), rel=1e-4)
    assert int(scores["soft"].correct) == int((mine.argmax(1) == theirs.argmax(1)).sum())
    angle = 1 - F.cosine_similarity(student.encoder(example.batch)[where], teacher.encoder(example.batch)[where])
    assert float(scores["cosine"].loss_sum.detach()) == pytest.approx(float(angle.sum().detach()), rel=1e-4)
    grads = torch.autograd.grad(soft, list(student.parameters()), retain_graph=True)
    scores["soft"].loss_sum.backward()
    for expected, parameter in zip(grads, student.parameters(), strict=True):
        assert parameter.grad is not None
        assert (parameter.grad - expected).abs().max() <= 1e-4 * expected.abs().max().clamp(min=1.0)


def test_the_teacher_is_neither_trained_nor_stored() -> None:
    objective = distillation("bert")
    assert len(dict(objective.named_parameters())) == len(dict(objective.masked_lm.named_parameters()))
    assert not any(p.requires_grad for p in objective.teacher.parameters())
    assert not objective.train().teacher.training
    assert objective.double().teacher.head.bias.dtype == torch.float64


def test_a_teacher_of_another_vocabulary_is_refused() -> None:
    teacher = tiny_models.tiny_model("bert")
    other = MaskedPrediction(tiny_models.tiny_model("bert")).masked_lm
    other.config = replace(other.config, vocab_size=7)
    with pytest.raises(SettingsError, match="distillation needs one tokenizer"):
        Distillation(other, teacher, weights=TERMS)


def test_widths_must_agree_for_the_cosine() -> None:
    teacher = tiny_models.tiny_model("bert", hidden_size=64)
    with pytest.raises(SettingsError, match=r"set objective.distill.cosine=0"):
        Distillation(tiny_models.tiny_model("bert"), teacher, weights=TERMS)
    Distillation(tiny_models.tiny_model("bert"), teacher, weights={**TERMS, "cosine": 0.0})
