"""Span corruption from rows to a run's models: what is prepared, learned, measured, kept and refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from clozelm import hub
from clozelm.cli.main import main
from clozelm.errors import ModelError, SettingsError
from clozelm.families import FAMILIES
from clozelm.nn.decoder import EncoderDecoder
from clozelm.objectives.span_corruption import SpanCorruption, SpanExample, shortened
from clozelm.train.run import Run
from tests import tiny_models, tiny_runs
from tests.objectives import spans
from tests.tiny_runs import settings, trained

NAME = "objective.name=span_corruption"
pytestmark = pytest.mark.usefixtures("known_machine")


@pytest.fixture(params=FAMILIES)
def objective(request: pytest.FixtureRequest) -> SpanCorruption:
    return SpanCorruption(tiny_models.tiny_decoder(request.param))


def rows_of(lengths: list[int], *, seed: int = 0) -> "spans.Rows":
    docs = [torch.cat([torch.tensor([2]), d % 15 + 5, torch.tensor([3])]) for d in documents(lengths, seed)]
    return spans.rows_of(tiny_models.padded(docs, max(lengths) + 2))


def documents(lengths: list[int], seed: int) -> list[torch.Tensor]:
    return tiny_models.documents(lengths, seed=seed)


def test_the_loss_is_cross_entropy(objective: SpanCorruption) -> None:
    example = objective.prepare(rows_of([19, 4, 30]), spans.masking(0.3))
    scores = objective(example)["span"]
    logits = objective.model(example.batch, example.target).flatten(0, 1)
    labels = example.labels.flatten()
    expected = F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    assert float(scores.loss_sum.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert int(scores.correct) == int((logits.argmax(1) == labels)[labels != -100].sum())
    assert scores.count == objective.counts(example)["span"] == int((labels != -100).sum())


def test_the_decoder_reads_what_came_before(objective: SpanCorruption) -> None:
    """What it reads at a position is the label of the position before; at a document's first, the start."""
    example = objective.prepare(rows_of([19, 4, 30]), spans.masking(0.3))
    target = example.target
    is_first = target.is_token & (target.positions == 0)
    assert (target.input_ids[is_first] == objective.model.config.start_id).all()
    later = (target.is_token & ~is_first)[:, 1:]
    assert torch.equal(target.input_ids[:, 1:][later], example.labels[:, :-1][later])
    assert torch.equal(target.is_token, example.labels != -100)
    assert example.batch.input_ids.shape[1] < 32  # the text is shorter than it was


def test_padding_of_targets_gets_none(objective: SpanCorruption) -> None:
    example = objective.prepare(rows_of([19, 4, 30]), spans.masking(0.3))
    assert example.target_ids is not None
    noise = torch.where(example.target.is_token, example.target_ids, 8)
    one, other = objective(example)["span"], objective(replace(example, target_ids=noise))["span"]
    assert float(one.loss_sum.detach()) == pytest.approx(float(other.loss_sum.detach()), rel=1e-6)


def test_a_row_is_prepared_alike_in_any_batch() -> None:
    objective, rows = SpanCorruption(tiny_models.tiny_decoder("bert")), rows_of([19, 4, 30, 12])
    together = objective.prepare(rows, spans.masking(0.3))
    for row in range(4):
        one = spans.Rows(**{name: value[row : row + 1] for name, value in vars(rows).items() if value is not None})
        alone = objective.prepare(one, spans.masking(0.3))
        assert isinstance(alone, SpanExample)
        for mine, theirs in ((alone.batch, together.batch), (alone.target, together.target)):
            width = mine.input_ids.shape[1]
            assert torch.equal(mine.input_ids[0], theirs.input_ids[row, :width])
            assert torch.equal(mine.doc_ids[0], theirs.doc_ids[row, :width])
            assert not theirs.doc_ids[row, width:].any()


def test_eight_rows_are_learned_by_heart() -> None:
    torch.manual_seed(0)
    objective = SpanCorruption(tiny_models.tiny_decoder("bert"))
    objective.model.initialise(torch.Generator().manual_seed(0))
    example = objective.prepare(rows_of([20] * 8), spans.masking(0.3))
    optimiser = torch.optim.AdamW(objective.parameters(), lr=5e-3)
    for _ in range(150):
        optimiser.zero_grad()
        scores = objective(example)["span"]
        (scores.loss_sum / scores.count).backward()
        optimiser.step()
    with torch.no_grad():
        scores = objective(example)["span"]
    assert float(scores.loss_sum) / scores.count < 0.05
    assert int(scores.correct) == scores.count


def test_lengths_without_their_spans() -> None:
    """Estimated from the targets alone, the lengths add up to those that are there."""
    objective, rows = SpanCorruption(tiny_models.tiny_decoder("bert", max_positions=256)), rows_of([90] * 40)
    example = objective.prepare(rows, spans.masking(0.15))
    lengths = np.full(40, 92)
    read, written = shortened(lengths, objective.counts(example)["span"], 3.0)
    assert abs(read.sum() / int(example.batch.is_token.sum()) - 1) < 0.02
    assert abs(written.sum() / objective.counts(example)["span"] - 1) < 0.05
    assert objective.flops(lengths, objective.counts(example)) > 0
    assert objective.flops(np.array([2]), {"span": 0}) > 0


@pytest.fixture(scope="module")
def finished(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("spans")
    patch = pytest.MonkeyPatch()
    patch.setattr("clozelm.train.run.matrix_rate", lambda *_, **__: 1e11)
    trained(settings(NAME, "objective.span_corruption.decoder_layers=1"), tiny_store, out / "straight")
    patch.undo()
    return out / "straight"


def test_a_run_resumes_bit_for_bit(finished: Path, tiny_store: Path, tmp_path: Path) -> None:
    chosen = settings(NAME, "objective.span_corruption.decoder_layers=1")
    trained(chosen, tiny_store, tmp_path / "cut", stop_after=2)
    trained(chosen, tiny_store, tmp_path / "cut")
    tiny_runs.assert_equal_runs(finished, tmp_path / "cut")
    ours, theirs = (load_file(each / "seq2seq" / "model.safetensors") for each in (finished, tmp_path / "cut"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_any_micro_batches_make_the_same_step(tiny_store: Path, tmp_path: Path) -> None:
    none = ("model.dropout=0", "model.attention_dropout=0", "budget.steps=1")
    one = trained(settings(NAME, *none, "data.micro_batch_tokens=256"), tiny_store, tmp_path / "one")
    many = trained(settings(NAME, *none, "data.micro_batch_tokens=32"), tiny_store, tmp_path / "many")
    assert one[0].loss == pytest.approx(many[0].loss, rel=1e-6)
    assert one[0].gradient_norm == pytest.approx(many[0].gradient_norm, rel=1e-5)


def test_held_out_text_is_scored_by_its_own_term(finished: Path) -> None:
    last = tiny_runs.journal(finished)[-1]
    assert last["heldout_loss"] is None
    assert last["heldout_accuracy"] is None
    assert 0 < last["heldout_span_loss"] < 20
    assert 0 <= last["heldout_span_accuracy"] <= 1
    assert 0 < last["loss"] < 20


def test_a_sparse_journal_keeps_the_held_out_loss(tiny_store: Path, tmp_path: Path) -> None:
    chosen = settings(NAME, "run.log_every=100", "evaluation.every=0.5")
    trained(chosen, tiny_store, tmp_path / "a")
    assert [one["step"] for one in tiny_runs.journal(tmp_path / "a")] == [3, 6]


def test_the_models_of_a_run_open(finished: Path, tiny_store: Path) -> None:
    run = Run.open(settings(NAME, "objective.span_corruption.decoder_layers=1"), data=tiny_store, out=finished)
    run.close()
    assert isinstance(run.objective, SpanCorruption)
    run.objective.eval()
    loaded = hub.load_seq2seq(finished / "seq2seq")
    batch, target = tiny_runs.one_row(torch.tensor([[2, 7, 9, 320, 30, 3]])), tiny_runs.one_row(torch.tensor([[2]]))
    with torch.no_grad():
        assert torch.equal(loaded.model(batch, target), run.objective.model(batch, target))
    again = run.evaluate_terms()
    assert again["span_loss"] == pytest.approx(tiny_runs.journal(finished)[-1]["heldout_span_loss"], rel=1e-6)
    with pytest.raises(ModelError, match=r"objective.name=span_corruption trains no model that fills masks"):
        run.evaluate()


def test_the_encoder_alone_opens_everywhere(finished: Path) -> None:
    transformers = pytest.importorskip("transformers")
    whole = hub.load_seq2seq(finished / "seq2seq").model
    with pytest.raises(ModelError, match="no head for masked language modelling"):
        hub.load(finished / "model")
    alone = hub.load(finished / "model", new_head=True)
    assert alone.has_new_head
    assert alone.model.config.vocab_size == alone.tokenizer.vocab_size == whole.config.first_sentinel
    ids = torch.tensor([[2, 7, 9, 4, 30, 3]])
    stock = transformers.AutoModel.from_pretrained(finished / "model").eval()
    with torch.no_grad():
        ours = whole.encoder(tiny_runs.one_row(ids))
        assert torch.equal(alone.model.encoder(tiny_runs.one_row(ids)), ours)
        assert (stock(ids).last_hidden_state - ours).abs().max() <= 2e-5
    card = (finished / "model" / "README.md").read_text(encoding="utf-8")
    assert "Its head for masked language modelling was not trained" in card
    assert "fill-mask" not in card
    assert "opens with `clozelm` only" in (finished / "seq2seq" / "README.md").read_text(encoding="utf-8")


def copied(finished: Path, out: Path) -> EncoderDecoder:
    loaded = hub.load_seq2seq(finished / "seq2seq")
    hub.save_seq2seq(loaded.model, loaded.tokenizer, out, family="bert")
    return loaded.model


def test_a_copy_is_the_same(finished: Path, tmp_path: Path) -> None:
    model = copied(finished, tmp_path / "copy")
    again = hub.load_seq2seq(tmp_path / "copy").model
    assert again.config == model.config
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in again.state_dict().items())


def test_damaged_models_are_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no encoder-decoder of clozelm, but model_type='bert'"):
        hub.load_seq2seq(finished / "model")
    copied(finished, tmp_path / "a")
    file = tmp_path / "a" / "model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor for name, tensor in tensors.items() if name != "head.bias"}, file)
    with pytest.raises(ModelError, match=r"1 tensors are missing or have no place in the model, first 'head.bias'"):
        hub.load_seq2seq(tmp_path / "a")
    save_file(tensors | {"head.bias": tensors["head.bias"][:-1]}, file)
    with pytest.raises(ModelError, match=r"tensor 'head.bias' has shape \[419\], but config.json asks for \[420\]"):
        hub.load_seq2seq(tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "a" / "config.json").write_text(json.dumps(config | {"sentinels": 0}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"describes no encoder-decoder: sentinels=0 must lie between 2"):
        hub.load_seq2seq(tmp_path / "a")
    model = tiny_models.tiny_decoder("bert")
    with pytest.raises(ModelError, match="The tokenizer has 320 pieces, but the model's sentinels begin at 20"):
        hub.save_seq2seq(model, hub.load_seq2seq(finished / "seq2seq").tokenizer, tmp_path / "b", family="bert")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["objective.span_corruption.mean_span=0.5"], "mean_span"),
        (["objective.span_corruption.mean_span=40"], "mean_span=40 is longer than a row of data.row_length=32"),
        (["masking.strategy=ngram"], "masking.strategy has no use with objective.name=span_corruption"),
        (["masking.corruption.mask=0.5"], "masking.corruption has no use with objective.name=span_corruption"),
        (["objective.name=mlm", "objective.span_corruption.sentinels=9"], "has no use with objective.name=mlm"),
        (
            ["objective.span_corruption.sentinels=100000000000"],
            "sentinels=100000000000 must lie between 2 and 10000",
        ),
        (["objective.span_corruption.sentinels=3"], "may need 9 sentinels, where .*sentinels=3: set it to 9"),
        (["model.max_positions=31"], "row_length=32 is longer than model.max_positions=31"),
    ],
)
def test_bad_settings_are_refused(overrides: list[str], said: str, tiny_store: Path, tmp_path: Path) -> None:
    with pytest.raises((SettingsError, ModelError), match=said):
        Run.open(settings(NAME, *overrides), data=tiny_store, out=tmp_path / "a")


def test_a_start_is_refused(tiny_store: Path, tmp_path: Path, finished: Path) -> None:
    shape = [f"model.{key}=none" for key in ("num_layers", "hidden_size", "num_heads", "intermediate_size")]
    chosen = settings(NAME, f"model.start={finished / 'model'}", *shape)
    with pytest.raises(SettingsError, match=r"model.start has no use with objective.name=span_corruption"):
        Run.open(chosen, data=tiny_store, out=tmp_path / "a")


@pytest.mark.parametrize("family", ["modernbert", "albert"])
def test_other_families_train_too(family: str, tiny_store: Path, tmp_path: Path) -> None:
    chosen = settings(NAME, f"model.family={family}", "optim.name=muon", "optim.split=true", "budget.steps=2")
    reports = trained(chosen, tiny_store, tmp_path / "a")
    assert all(0 < one.loss < 20 for one in reports)
    model = hub.load_seq2seq(tmp_path / "a" / "seq2seq").model
    assert model.config.decoder_layers == model.config.encoder.num_layers


def test_a_run_is_shown_without_masks(tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command shows the held-out loss of spans, draws it, and names what it left."""
    file, out = tiny_runs.recipe(tmp_path), tmp_path / "a"
    given = ["--data", str(tiny_store), "--out", str(out), "--set", NAME]
    with pytest.raises(SystemExit) as left:
        main(["pretrain", str(file), *given, "--dry-run"])
    assert left.value.code in (0, None)
    assert " span)" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main(["pretrain", str(file), *given])
    assert left.value.code in (0, None)
    said = capsys.readouterr().out
    assert "held-out loss" in said
    assert "unigram" not in said
    assert f"Models: {out / 'model'}, {out / 'seq2seq'}" in said
    assert (out / "loss.png").stat().st_size > 1000
