"""What each way of reading sees: never the hidden side, never another document."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from clozelm import hub
from clozelm.errors import ModelError, SettingsError
from clozelm.families import FAMILIES
from clozelm.masking import Corruption, Masking, Uniform
from clozelm.nn.flops import visible_pairs
from clozelm.nn.heads import MaskedLM
from clozelm.objectives.clm import CausalPrediction
from clozelm.objectives.hybrid import Hybrid
from clozelm.train.evaluate import evaluate_store
from clozelm.types import Context, Reading, TokenBatch
from tests import tiny_models, tiny_runs
from tests.memory_store import VOCABULARY, MemoryStore
from tests.properties.test_masking import build

READINGS = [Reading(context, ahead) for context in ("both", "left", "right") for ahead in (False, True)]
MASKING = Masking(VOCABULARY, Uniform().select, Corruption(), seed=3, rate=0.3)
ROWS = build(
    [
        [[(10 + i, True) for i in range(12)], [(40 + i, True) for i in range(9)]],
        [[(70 + i, True) for i in range(16)]],
    ]
)


def model(family: str, reading: Reading) -> MaskedLM:
    made = tiny_models.tiny_model(family)
    made.reading = reading
    return made


def changed(batch: TokenBatch, column: int) -> TokenBatch:
    ids = batch.input_ids.clone()
    ids[:, column] = 5 + (ids[:, column] + 3) % 10
    return replace(batch, input_ids=ids)


@pytest.mark.parametrize("reading", READINGS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prediction_sees_its_side_of_its_document_and_no_other(family: str, reading: Reading) -> None:
    """Change one token at a time and look which predictions move: exactly those that may see it."""
    one, width = model(family, reading), 12
    ids = torch.tensor([[2, 7, 9, 8, 6, 3, 2, 11, 13, 5, 12, 3]])
    batch = TokenBatch(ids, torch.tensor([[1] * 6 + [2] * 6]), torch.arange(6).repeat(2)[None])
    with torch.no_grad():
        before = one(batch)[0]
        for column in range(width):
            moved = (one(changed(batch, column))[0] - before).abs().amax(1) > 1e-6
            for asked in range(width):
                source = asked - int(reading.ahead)
                same = source >= 0 and batch.doc_ids[0, source] == batch.doc_ids[0, column]
                side = {"both": True, "left": column <= source, "right": column >= source}[reading.context]
                if source >= 0:
                    assert bool(moved[asked]) == (same and side), (column, asked)


@pytest.mark.parametrize("reading", READINGS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_scored_positions_are_the_same_numbers(family: str, reading: Reading) -> None:
    one = model(family, reading)
    batch = tiny_models.padded(tiny_models.documents([19, 4, 30]), 30)
    scored = torch.tensor([3, 4, 18, 31, 33, 62, 75, 88])
    with torch.no_grad():
        assert (one(batch, scored) - one(batch).flatten(0, 1)[scored]).abs().max() <= 2e-5


def test_the_flops_of_one_side_are_about_half() -> None:
    lengths = np.array([1, 2, 7, 30])
    for window in (None, 4, 100):
        for context in ("both", "left", "right"):
            seen = sum(_pairs(int(length), window, context) for length in lengths)
            assert visible_pairs(lengths, window, context) == seen


def _pairs(length: int, window: int | None, context: Context) -> int:
    away = np.arange(length)[None] - np.arange(length)[:, None]
    near = np.ones_like(away, bool) if window is None else abs(away) <= window // 2
    return int((near & {"both": away == away, "left": away <= 0, "right": away >= 0}[context]).sum())


def test_every_piece_is_predicted_from_what_stands_before() -> None:
    """The causal loss is the chain rule: each piece by a model that is shown its prefix alone."""
    objective = CausalPrediction(MaskedLM(tiny_models.tiny_config("bert", vocab_size=200))).eval()
    tiny_models.perturb(objective, 3)
    example = objective.prepare(ROWS, MASKING)
    assert torch.equal(example.batch.input_ids, torch.from_numpy(ROWS.input_ids))
    is_ordinary = (ROWS.doc_ids > 0) & ~VOCABULARY.is_special[ROWS.input_ids]
    assert np.array_equal(example.labels.numpy() != -100, is_ordinary)
    total = 0.0
    with torch.no_grad():
        for row, column in np.argwhere(is_ordinary).tolist():
            first = int(np.flatnonzero(ROWS.doc_ids[row] == ROWS.doc_ids[row, column])[0])
            prefix = tiny_runs.one_row(torch.from_numpy(ROWS.input_ids[row : row + 1, first:column]))
            hidden = objective.masked_lm.encoder(prefix, context="left")[0, -1]
            logits = objective.masked_lm.head.transform(hidden) @ objective.masked_lm.decoder_weight.T
            logits = logits + objective.masked_lm.head.bias
            total -= float(logits.log_softmax(0)[ROWS.input_ids[row, column]])
        scores = objective(example)["clm"]
    assert scores.count == is_ordinary.sum()
    assert float(scores.loss_sum) == pytest.approx(total, rel=1e-5)


def test_a_hybrid_uses_every_row_one_way() -> None:
    objective = Hybrid(MaskedLM(tiny_models.tiny_config("bert", vocab_size=200)), causal=0.4)
    rows = build([[[(10 + i, True) for i in range(14)]]] * 400)
    example = objective.prepare(rows, MASKING)
    assert example.is_causal is not None
    causal = example.is_causal.numpy()
    assert abs(causal.mean() - 0.4) < 4 * (0.24 / 400) ** 0.5
    ids, labels = example.batch.input_ids.numpy(), example.labels.numpy()
    assert np.array_equal(ids[causal], rows.input_ids[causal])
    assert ((labels[causal] != -100).sum(1) == 14).all()
    masked = MASKING.mask(rows)
    assert np.array_equal(ids[~causal], masked.input_ids[~causal])
    assert np.array_equal(labels[~causal], masked.labels[~causal])
    part = objective.prepare(build([[[(10 + i, True) for i in range(14)]]] * 7), MASKING)
    assert part.is_causal is not None
    assert torch.equal(part.is_causal, example.is_causal[:7])


def test_either_kind_of_a_hybrid_reads_as_its_own_model_does() -> None:
    objective = Hybrid(MaskedLM(tiny_models.tiny_config("bert", vocab_size=200)), causal=0.5).eval()
    tiny_models.perturb(objective, 3)
    texts = [[[(10 + (7 * row + i) % 150, True) for i in range(length)] for length in (9, 5)] for row in range(12)]
    example = objective.prepare(build(texts), MASKING)
    assert example.is_causal is not None
    with torch.no_grad():
        scores = objective(example)
        for name, rows, context in (("mlm", ~example.is_causal, "both"), ("clm", example.is_causal, "left")):
            chosen = rows.nonzero().squeeze(1)
            assert 2 < len(chosen) < 10
            objective.masked_lm.reading = Reading(context, ahead=True)
            logits, labels = objective.masked_lm(example.batch.at(chosen)), example.labels[chosen]
            loss = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="sum", ignore_index=-100)
            assert float(scores[name].loss_sum) == pytest.approx(float(loss), rel=1e-5)


def test_a_hybrid_of_one_kind_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"objective\.hybrid\.causal=1\.0 must lie strictly between 0 and 1"):
        Hybrid(tiny_models.tiny_model("bert"), causal=1.0)


@pytest.mark.parametrize(
    "chosen", [{"objective.name": "clm"}, {"objective.name": "hybrid"}, {"model.context": "left"}]
)
def test_runs_resume_and_models_say_how_they_read(
    chosen: dict[str, str], tmp_path: Path, known_machine: None
) -> None:
    texts = tiny_runs.abstracts(40)
    store = tiny_runs.make_store(tmp_path, texts, tiny_runs.tokenizer(texts))
    settings = tiny_runs.settings(*(f"{key}={value}" for key, value in chosen.items()))
    tiny_runs.trained(settings, store, tmp_path / "straight")
    tiny_runs.trained(settings, store, tmp_path / "cut", stop_after=2)
    tiny_runs.trained(settings, store, tmp_path / "cut")
    tiny_runs.assert_equal_runs(tmp_path / "straight", tmp_path / "cut")
    loaded = hub.load(tmp_path / "straight" / "model")
    expected = {"clm": Reading("left", True), "hybrid": Reading("both", True)}
    assert loaded.model.reading == expected.get(chosen.get("objective.name", ""), Reading("left"))
    card = (tmp_path / "straight" / "model" / "README.md").read_text(encoding="utf-8")
    assert "| reads |" in card
    assert "its predictions there mean nothing" in card


def test_a_start_that_reads_another_way_is_refused(tmp_path: Path, known_machine: None) -> None:
    texts = tiny_runs.abstracts(40)
    store = tiny_runs.make_store(tmp_path, texts, tiny_runs.tokenizer(texts))
    tiny_runs.trained(tiny_runs.settings("model.context=left"), store, tmp_path / "left")
    start = [f"model.start={tmp_path / 'left'}", "budget.steps=1"]
    shape = ("num_layers", "hidden_size", "num_heads", "intermediate_size", "max_positions")
    start += [f"model.{name}=none" for name in shape]
    with pytest.raises(SettingsError, match=r"was trained to read the left side alone.* would read both sides"):
        tiny_runs.trained(tiny_runs.settings(*start), store, tmp_path / "both")
    tiny_runs.trained(tiny_runs.settings(*start, "model.context=left"), store, tmp_path / "again")
    tiny_runs.trained(tiny_runs.settings("budget.steps=1"), store, tmp_path / "plain")
    start[0] = f"model.start={tmp_path / 'plain'}"
    tiny_runs.trained(tiny_runs.settings(*start, "objective.name=clm"), store, tmp_path / "causal")


def test_a_reading_that_is_none_is_refused(tmp_path: Path) -> None:
    texts = tiny_runs.abstracts(20)
    tokenizer = tiny_runs.tokenizer(texts)
    one = MaskedLM(tiny_models.tiny_config("bert", vocab_size=tokenizer.vocab_size), Reading("left"))
    hub.save(one, tokenizer, tmp_path / "model", family="bert")
    file = tmp_path / "model" / "config.json"
    file.write_text(file.read_text().replace('"left"', '"sideways"'))
    with pytest.raises(ModelError, match=r"config\.json describes no model"):
        hub.load(tmp_path / "model")


def test_a_causal_model_is_evaluated_on_true_text() -> None:
    """What is masked does not matter to it: another mask id gives the same loss."""
    one = MaskedLM(tiny_models.tiny_config("bert", vocab_size=200), Reading("left", ahead=True))
    one.initialise(torch.Generator().manual_seed(1))
    store = MemoryStore([30, 9, 44])
    before = evaluate_store(one, store, VOCABULARY, row_length=32)
    with torch.no_grad():
        one.encoder.embeddings.tokens.weight[VOCABULARY.mask_id] += 5.0
        other = evaluate_store(one, store, VOCABULARY, row_length=32)
    assert before.predictions > 5
    assert float(_exactly(before.loss, other.loss)) <= 1e-5


def _exactly(one: float, other: float) -> Tensor:
    return (torch.tensor(one) - other).abs()
