"""Classifiers on disk: written whole, made anew from every kind of model, and refused in one line when damaged."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from clozelm import hub
from clozelm.errors import ClozeError, ModelError
from clozelm.families import FAMILIES
from clozelm.hub.inspect import inspect
from clozelm.nn.classifier import Classifier, TaskKind
from clozelm.nn.heads import Discriminator, MaskedLM, PairHead
from clozelm.types import Reading
from tests import tiny_classifiers, tiny_models
from tests.tiny_classifiers import LABELS

CASES = pytest.mark.parametrize(("family", "kind"), tiny_classifiers.CASES)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[1][n], t) for n, t in states[0].items())


def saved(tmp_path: Path, family: str = "bert", kind: TaskKind = "sequence", **rest: Any) -> Path:
    return tiny_classifiers.save(tiny_classifiers.tiny_classifier(family, kind), tmp_path / "model", family, **rest)


def pretrained(family: str, directory: Path, **changes: Any) -> MaskedLM:
    model = tiny_models.tiny_model(family, **changes)
    hub.save(model, tiny_models.wordpiece(), directory, family=family)
    return model


def edit_config(directory: Path, **changes: object) -> None:
    file = directory / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | changes
    kept = {name: value for name, value in config.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")


def said_in_one_line(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ClozeError) as caught:
        call()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@CASES
def test_round_trip(family: str, kind: TaskKind, tmp_path: Path) -> None:
    model = tiny_classifiers.tiny_classifier(family, kind, dropout=0.1, num_labels=12)
    labels = tuple(f"label {index}" for index in range(12))
    directory = tiny_classifiers.save(model, tmp_path / "model", family, labels)
    loaded = hub.load_classifier(directory)
    assert same(model, loaded.model)
    assert (loaded.model.config, loaded.model.head.config) == (model.config, model.head.config)
    assert (loaded.labels, loaded.problem, loaded.family) == (labels, "single", FAMILIES[family])
    assert (loaded.dropped, loaded.new) == ((), ())
    assert not loaded.model.training
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    assert list(config["id2label"].items()) == [(str(i), label) for i, label in enumerate(labels)]
    assert list(config["label2id"].items()) == [(label, i) for i, label in enumerate(labels)]
    assert hub.is_classifier(directory)
    assert hub.load_classifier(directory, dtype=torch.bfloat16).model.head.out.weight.dtype == torch.bfloat16
    half = tiny_classifiers.save(loaded.model.half(), tmp_path / "half", family, labels)
    assert same(hub.load_classifier(half, dtype=torch.float16).model, loaded.model)


@CASES
@pytest.mark.parametrize("is_bare", [False, True], ids=["masked", "bare"])
def test_a_new_head_on_a_pretrained_model(family: str, kind: TaskKind, is_bare: bool, tmp_path: Path) -> None:
    source = pretrained(family, tmp_path / "model", dropout=0.1)
    file = tmp_path / "model" / "model.safetensors"
    if is_bare:
        base = FAMILIES[family].spelling.base
        tensors = {n.removeprefix(base): t for n, t in load_file(file).items() if n.startswith(base)}
        save_file(tensors, file)
    loaded = hub.new_classifier(tmp_path / "model", kind=kind, labels=LABELS, seed=3)
    assert same(loaded.model.encoder, source.encoder)
    assert loaded.model.training
    assert (loaded.labels, loaded.model.num_labels, loaded.model.kind) == (LABELS, 3, kind)
    # ModernBERT's classifiers read the dense layer and the norm that masked language modelling trained.
    takes = family == "modernbert" and not is_bare
    assert loaded.taken_over == (("head.dense.weight", "head.norm.weight") if takes else ())
    if takes:
        assert torch.equal(loaded.model.head.dense.weight, source.head.dense.weight)
    assert ("the head for masked language modelling" in loaded.summary) == (not is_bare)
    assert float(loaded.model.head.out.weight.detach().std()) == pytest.approx(0.02, rel=0.4)
    assert float(loaded.model.head.out.bias.detach().abs().max()) == 0.0
    again, other = (hub.new_classifier(tmp_path / "model", kind=kind, labels=LABELS, seed=s).model for s in (3, 4))
    assert same(again, loaded.model)
    assert not same(other.head, loaded.model.head)
    assert same(other.encoder, loaded.model.encoder)
    tiny_classifiers.save(loaded.model, tmp_path / "new", family)
    assert same(hub.load_classifier(tmp_path / "new").model, loaded.model)


@pytest.mark.parametrize(("family", "pooler"), [("bert", "bert.pooler.dense"), ("albert", "albert.pooler")])
def test_the_pooler_of_pretraining_on_pairs_is_taken_over(family: str, pooler: str, tmp_path: Path) -> None:
    model = tiny_models.tiny_model(family)
    name = "nsp" if family == "bert" else "sop"
    pairs = PairHead(model.config)
    tiny_models.perturb(pairs, 1)
    hub.save(model, tiny_models.wordpiece(), tmp_path / "model", family=family, heads={name: pairs})
    loaded = hub.new_classifier(tmp_path / "model", kind="sequence", labels=LABELS)
    assert loaded.taken_over == (f"{pooler}.weight", f"{pooler}.bias")
    assert loaded.new == ("classifier.weight", "classifier.bias")
    assert loaded.summary.startswith(f"new: classifier; taken over: {pooler}; left out: ")
    assert torch.equal(loaded.model.head.dense.weight, pairs.dense.weight)
    assert torch.equal(loaded.model.head.dense.bias, pairs.dense.bias)
    tagger = hub.new_classifier(tmp_path / "model", kind="token", labels=LABELS)
    assert (tagger.taken_over, f"{pooler}.weight" in tagger.dropped) == ((), True)


def test_half_a_pooler_is_none(tmp_path: Path) -> None:
    pretrained("bert", tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    save_file({**load_file(file), "bert.pooler.dense.weight": torch.ones(32, 32)}, file)
    loaded = hub.new_classifier(tmp_path / "model", kind="sequence", labels=LABELS)
    assert loaded.taken_over == ()
    assert "bert.pooler.dense.weight" in loaded.dropped


def test_a_discriminator_is_a_start(tmp_path: Path) -> None:
    source = Discriminator(tiny_models.tiny_config("electra"))
    tiny_models.perturb(source, 0)
    hub.save(source, tiny_models.wordpiece(), tmp_path / "model", family="electra")
    loaded = hub.new_classifier(tmp_path / "model", kind="sequence", labels=LABELS)
    assert same(loaded.model.encoder, source.encoder)
    assert loaded.summary == (
        "new: classifier.dense, classifier.out_proj; left out: discriminator_predictions.dense, "
        "discriminator_predictions.dense_prediction"
    )


@CASES
def test_a_classifier_is_a_start(family: str, kind: TaskKind, tmp_path: Path) -> None:
    source = tiny_classifiers.tiny_classifier(family, kind)
    directory = tiny_classifiers.save(source, tmp_path / "model", family)
    other = hub.new_classifier(directory, kind=kind, labels=("yes", "no"))
    assert same(other.model.encoder, source.encoder)
    assert other.model.num_labels == 2
    assert not any(name.startswith("classifier.weight") or "out_proj" in name for name in other.taken_over)
    alike = hub.new_classifier(directory, kind=kind, labels=LABELS)
    assert not torch.equal(alike.model.head.out.weight, source.head.out.weight), "reused only when asked"
    kept = hub.new_classifier(directory, kind=kind, labels=("positive", "negative", "neutral"), reuse_head=True)
    assert same(kept.model, source)
    assert (kept.labels, kept.new) == (LABELS, ())


def test_a_head_that_cannot_be_kept(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    keep: dict[str, Any] = {"reuse_head": True}
    said_in_one_line(
        lambda: hub.new_classifier(directory, kind="sequence", labels=("a", "b"), **keep),
        "its labels are negative, neutral, positive (single), not a, b (single)",
    )
    said_in_one_line(
        lambda: hub.new_classifier(directory, kind="sequence", labels=LABELS, problem="multi", **keep),
        "(single), not negative, neutral, positive (multi)",
    )
    said_in_one_line(
        lambda: hub.new_classifier(directory, kind="token", labels=LABELS, **keep), "no head for a token task"
    )


@CASES
def test_dropout_of_a_new_classifier(family: str, kind: TaskKind, tmp_path: Path) -> None:
    pretrained(family, tmp_path / "model")
    loaded = hub.new_classifier(tmp_path / "model", kind=kind, labels=LABELS, dropout=0.25, attention_dropout=0.125)
    config = loaded.model.config
    assert (config.dropout, config.attention_dropout) == (0.25, 0.125)
    assert loaded.model.head.dropout.rate == loaded.model.encoder.embeddings.dropout.rate == 0.25
    tiny_classifiers.save(loaded.model, tmp_path / "new", family)
    again = hub.load_classifier(tmp_path / "new").model
    assert (again.config, again.head.config) == (config, loaded.model.head.config)


def test_means_are_kept_and_new_heads_read_the_first_token(tmp_path: Path) -> None:
    directory = saved(tmp_path, "modernbert")
    edit_config(directory, classifier_pooling="mean")
    model = hub.load_classifier(directory).model
    assert model.head.config.pooling == "mean"
    again = tiny_classifiers.save(model, tmp_path / "again", "modernbert")
    assert hub.load_classifier(again).model.head.config.pooling == "mean"
    poolings = [
        hub.new_classifier(directory, kind="sequence", labels=LABELS, reuse_head=kept).model.head.config.pooling
        for kept in (True, False)
    ]
    assert poolings == ["mean", "cls"]


@pytest.mark.parametrize("reading", [Reading("left", ahead=True), Reading("right"), Reading("both", ahead=True)])
def test_what_an_encoder_sees_goes_along(reading: Reading, tmp_path: Path) -> None:
    source = MaskedLM(tiny_models.tiny_config("bert"), reading)
    tiny_models.perturb(source, 0)
    hub.save(source, tiny_models.wordpiece(), tmp_path / "model", family="bert")
    loaded = hub.new_classifier(tmp_path / "model", kind="token", labels=LABELS)
    assert loaded.model.context == reading.context
    tiny_classifiers.save(loaded.model, tmp_path / "new", "bert")
    again = hub.load_classifier(tmp_path / "new").model.eval()
    batch = tiny_models.padded(tiny_models.documents([9]), 12)
    with torch.no_grad():
        assert torch.equal(again(batch, torch.arange(9)), loaded.model.eval()(batch, torch.arange(9)))
    assert hub.new_classifier(tmp_path / "new", kind="sequence", labels=LABELS).model.context == reading.context
    card = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    is_one_sided = reading.context != "both"
    assert ("not trained for" in card.replace("\n", " ")) == is_one_sided
    assert (f"| reads | the {reading.context} side alone |" in card) == is_one_sided
    assert ("pipeline(" in card) == (not is_one_sided)


@pytest.mark.parametrize("kind", tiny_classifiers.KINDS)
def test_the_card_holds_the_facts(kind: TaskKind, tmp_path: Path) -> None:
    facts = {"base model": "a|b", "accuracy": "0.91 (0.88 to 0.93)", "settings": {"seed": 7}}
    text = (saved(tmp_path, kind=kind, card=facts) / "README.md").read_text(encoding="utf-8")
    pipeline = {"sequence": "text-classification", "token": "token-classification"}[kind]
    assert f"pipeline_tag: {pipeline}\n" in text
    assert f'pipeline("{pipeline}", "this directory")' in text
    assert "| labels | negative, neutral, positive |" in text
    assert r"| base model | a\|b |" in text
    assert "| accuracy | 0.91 (0.88 to 0.93) |" in text
    assert '"seed": 7' in text
    assert "load_classifier" in text


def test_more_keys_of_the_config(tmp_path: Path) -> None:
    directory = saved(tmp_path, extra_config={"clozelm_task": {"length": 128}})
    assert hub.load_classifier(directory).config["clozelm_task"] == {"length": 128}
    said_in_one_line(lambda: saved(tmp_path, extra_config={"id2label": {}}), "its own 'id2label'")


def test_an_earlier_model_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    other = tiny_classifiers.tiny_classifier("bert", "sequence", seed=1)
    tiny_classifiers.save(other, directory, "bert")
    assert same(hub.load_classifier(directory).model, other)
    said_in_one_line(lambda: saved(tmp_path, replace=False), "is there already")
    (directory / "notes.txt").write_text("mine", encoding="utf-8")
    said_in_one_line(lambda: saved(tmp_path), "holds something else")


@CASES
def test_each_opener_names_the_right_command(family: str, kind: TaskKind, tmp_path: Path) -> None:
    directory = saved(tmp_path, family, kind)
    said_in_one_line(lambda: hub.load(directory), "which fills no masks: `cloze predict` gives its labels")
    pretrained(family, tmp_path / "masked")
    assert not hub.is_classifier(tmp_path / "masked")
    said_in_one_line(
        lambda: hub.load_classifier(tmp_path / "masked"),
        f"is no classifier but {FAMILIES[family].architecture}: `cloze finetune` makes one of it",
    )
    assert same(hub.load(directory, new_head=True).model.encoder, hub.load_classifier(directory).model.encoder)


@CASES
def test_inspect(family: str, kind: TaskKind, tmp_path: Path) -> None:
    directory = saved(tmp_path, family, kind)
    facts = inspect(directory)
    assert facts["task"]["labels"] == LABELS
    assert facts["task"]["kind"] == kind
    assert (facts["opens"], facts["dropped"]) == (False, [])
    model = hub.load_classifier(directory).model
    assert facts["parameters"]["all"] == sum(p.numel() for p in model.parameters())
    edit_config(directory, id2label={"0": "one"}, num_labels=5)
    assert "num_labels=5" in inspect(directory)["task"]["problem"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, "2 labels (a, b), but the last layer has 3 rows"),
        ({"num_labels": 5}, "id2label names 3 labels, but num_labels=5"),
        ({"num_labels": "three"}, "num_labels='three' must be a number of labels"),
        ({"id2label": {"0": "a", "1": "b", "3": "c"}}, "none has number 2: number them from 0"),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, "holds 'a' twice"),
        ({"id2label": ["a", "b"]}, "id2label must map the number of each label to its name"),
        ({"id2label": None}, "config.json has 2 labels (LABEL_0, LABEL_1), but the last layer has 3 rows"),
        ({"problem_type": "ranking"}, "problem_type='ranking' must be one of single_label_classification"),
        ({"problem_type": "regression"}, "A model of a number has one label"),
        ({"classifier_dropout": 2.0}, "dropout 2.0 must lie between 0 and 1"),
        ({"hidden_size": 64}, "but config.json asks for ["),
        ({"clozelm_reading": {"context": "up"}}, "describes no model"),
    ],
)
def test_unusable_configs(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    directory = saved(tmp_path)
    edit_config(directory, **changes)
    said_in_one_line(lambda: hub.load_classifier(directory), said)


@pytest.mark.parametrize(("family", "kind"), [*tiny_classifiers.CASES])
def test_missing_tensors(family: str, kind: TaskKind, tmp_path: Path) -> None:
    directory = saved(tmp_path, family, kind)
    file = directory / "model.safetensors"
    tensors = load_file(file)
    for name in [name for name in tensors if hub.load_classifier(directory).taken_over.count(name)]:
        save_file({other: tensor for other, tensor in tensors.items() if other != name}, file)
        said_in_one_line(
            lambda: hub.load_classifier(directory),
            f"1 tensors of the classifier are missing, first {name!r}",
        )
        save_file(tensors, file)


def test_wrong_shapes_and_numbers(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    file = directory / "model.safetensors"
    tensors = load_file(file)
    for name, tensor, said in [
        ("classifier.weight", torch.zeros(3, 31), "'head.out.weight' has shape [3, 31], but config.json asks for"),
        ("classifier.weight", torch.zeros(()), "'head.out.weight' has shape []"),
        ("classifier.bias", torch.zeros(2), "'head.out.bias' has shape [2]"),
        ("bert.pooler.dense.weight", torch.zeros(32, 31), "'head.dense.weight' has shape [32, 31]"),
        ("classifier.bias", torch.full((3,), float("nan")), "not finite"),
        ("classifier.bias", torch.zeros(3).long(), "not floating-point"),
        ("bert.adapter.weight", torch.zeros(3), "have no place in the model, first 'bert.adapter.weight'"),
    ]:
        save_file({**tensors, name: tensor}, file)
        said_in_one_line(lambda: hub.load_classifier(directory), said)


class Explosive:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    (directory / "model.safetensors").unlink()
    torch.save({"weight": Explosive(tmp_path / "ran")}, directory / "pytorch_model.bin")
    openers: list[Callable[[], object]] = [
        lambda: hub.load_classifier(directory),
        lambda: hub.new_classifier(directory, kind="token", labels=LABELS),
    ]
    for opener in openers:
        said_in_one_line(opener, "would run code when read: refused")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": ["a"]}, "at least 2, not 1"),
        ({"labels": [], "kind": "token"}, "at least one label"),
        ({"labels": ["a", "a"]}, "holds 'a' twice"),
        ({"labels": ["a", ""]}, "none of them empty"),
        ({"labels": ["a", "b"], "problem": "regression"}, "has one label, the number's name, not 2"),
        ({"labels": ["a", "b"], "problem": "multi", "kind": "token"}, "nothing that a token classifier answers"),
        ({"labels": ["a", "b"], "dropout": 1.5}, "dropout 1.5 must lie between 0 and 1"),
    ],
)
def test_unusable_labels(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    pretrained("bert", tmp_path / "model")
    said_in_one_line(lambda: hub.new_classifier(tmp_path / "model", **{"kind": "sequence", **change}), said)


def test_labels_of_another_number_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="2 labels were given for a classifier of 3"):
        saved(tmp_path, labels=("a", "b"))


def test_a_temperature_is_in_the_file(tmp_path: Path) -> None:
    model: Classifier = tiny_classifiers.tiny_classifier("bert", "sequence")
    batch = tiny_models.padded(tiny_models.documents([9]), 9)
    with torch.no_grad():
        before = model(batch, torch.tensor([0]))
        model.divide_logits(4.0)
        again = hub.load_classifier(tiny_classifiers.save(model, tmp_path / "model", "bert")).model
        assert torch.allclose(again(batch, torch.tensor([0])), before / 4.0, atol=1e-6)
