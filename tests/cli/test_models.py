"""`cloze inspect`, `convert` and `adapt`, on models of every family."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import clozelm
from clozelm import hub
from clozelm.errors import DataError
from clozelm.families import FAMILIES
from clozelm.nn.heads import MaskedLM
from clozelm.tasks.prompt import Prompt
from tests import tiny_classifiers, tiny_models, tiny_runs
from tests.cli.conftest import Cloze, Mistake

pytestmark = pytest.mark.usefixtures("known_machine")
ALL = pytest.mark.parametrize("family", FAMILIES)


def saved(family: str, folder: Path) -> tuple[MaskedLM, Path]:
    model = tiny_models.tiny_model(family)
    folder.mkdir(exist_ok=True)
    hub.save(model, tiny_models.wordpiece(), folder / "model", family=family)
    return model, folder / "model"


@ALL
def test_inspect(family: str, tmp_path: Path, cloze: Cloze) -> None:
    model, directory = saved(family, tmp_path)
    facts = json.loads(cloze("inspect", directory, "--json"))
    assert (facts["family"], facts["opens"], facts["dropped"]) == (family, True, [])
    assert facts["parameters"]["all"] == sum(p.numel() for p in model.parameters())
    assert facts["tokenizer"]["special"]["mask"] == "[MASK]"
    printed = cloze("inspect", directory)
    assert "nothing: every tensor of the file is used" in printed
    assert f"{facts['parameters']['all']:,}" in printed


def test_inspect_says_what_would_be_dropped_and_what_is_missing(tmp_path: Path, cloze: Cloze) -> None:
    _, directory = saved("bert", tmp_path)
    tensors = load_file(directory / "model.safetensors")
    tensors["bert.pooler.dense.weight"] = torch.zeros(32, 32)
    save_file(tensors, directory / "model.safetensors")
    assert "bert.pooler.dense.weight" in cloze("inspect", directory)
    bare = {name: tensor for name, tensor in tensors.items() if not name.startswith("cls.")}
    save_file(bare, directory / "model.safetensors")
    facts = json.loads(cloze("inspect", directory, "--json"))
    assert (facts["opens"], facts["has_mlm_head"]) == (False, False)
    assert "has no head for masked language modelling" in facts["problem"]


def test_inspect_a_classifier(tmp_path: Path, cloze: Cloze) -> None:
    labels = tuple(f"label{index}" for index in range(23))
    model = tiny_classifiers.tiny_classifier("bert", "sequence", num_labels=23)
    directory = tiny_classifiers.save(model, tmp_path / "model", "bert", labels)
    facts = json.loads(cloze("inspect", directory, "--json"))
    assert facts["task"] == {
        "opens": True,
        "kind": "sequence",
        "answers": "one label for a text",
        "labels": list(labels),
    }
    printed = " ".join(cloze("inspect", directory).split())
    assert "one label for a text: label0, label1, label2," in printed
    assert "label19 and 3 more" in printed
    assert "`cloze predict` gives its labels" in printed


@ALL
def test_convert_keeps_every_bit(family: str, tmp_path: Path, cloze: Cloze) -> None:
    _, directory = saved(family, tmp_path)
    stock = load_file(directory / "model.safetensors")
    torch.save(stock, directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    cloze("convert", directory, "--to", tmp_path / "new")
    again = load_file(tmp_path / "new" / "model.safetensors")
    assert again.keys() == stock.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in stock.items())
    cloze("convert", directory, "--to", tmp_path / "half", "--dtype", "float16")
    half = load_file(tmp_path / "half" / "model.safetensors")
    assert all(torch.equal(half[name], tensor.half()) for name, tensor in stock.items())
    cloze("convert", tmp_path / "half", "--to", tmp_path / "same")
    mixed = {name: one.half() if one.ndim > 1 else one for name, one in stock.items()}
    save_file(mixed, tmp_path / "half" / "model.safetensors")
    cloze("convert", tmp_path / "half", "--to", tmp_path / "mixed")
    widened = load_file(tmp_path / "mixed" / "model.safetensors")
    assert all(torch.equal(widened[name], one.float()) for name, one in mixed.items())
    assert {tensor.dtype for tensor in load_file(tmp_path / "same" / "model.safetensors").values()} == {
        torch.float16
    }


def test_convert_keeps_the_card_and_its_licence(tmp_path: Path, cloze: Cloze) -> None:
    _, directory = saved("bert", tmp_path)
    theirs = "---\nlicense: mit\n---\n\n# A model of ours\n\nTrained on letters.\n"
    (directory / "README.md").write_text(theirs, encoding="utf-8")
    cloze("convert", directory, "--to", tmp_path / "new", "--dtype", "float16")
    card = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert card.startswith(theirs)
    assert "| converted from | model |" in card
    assert "| precision | float16 |" in card
    (directory / "README.md").unlink()
    cloze("convert", directory, "--to", tmp_path / "bare")
    assert "| converted from | model |" in (tmp_path / "bare" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", tiny_classifiers.KINDS)
@ALL
def test_convert_a_classifier(family: str, kind: Any, tmp_path: Path, cloze: Cloze) -> None:
    """Every bit stays, and what it keeps of its task."""
    model = tiny_classifiers.tiny_classifier(family, kind)
    facts = {"clozelm_task": {"text": ["sentence"], "max_length": 20}}
    labels = tiny_classifiers.LABELS if kind == "sequence" else ("O", "B-A", "I-A")
    theirs = tiny_classifiers.save(model, tmp_path / "model", family, labels, extra_config=facts)
    cloze("convert", theirs, "--to", tmp_path / "new")
    old, new = (load_file(place / "model.safetensors") for place in (theirs, tmp_path / "new"))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    configs = [json.loads((place / "config.json").read_text()) for place in (theirs, tmp_path / "new")]
    assert configs[0] == configs[1]
    assert "## Converted by clozelm" in (tmp_path / "new/README.md").read_text()
    cloze("convert", theirs, "--to", tmp_path / "half", "--dtype", "bfloat16")
    assert {one.dtype for one in load_file(tmp_path / "half/model.safetensors").values()} == {torch.bfloat16}


def test_convert_keeps_a_prompt(tmp_path: Path, cloze: Cloze) -> None:
    _, directory = saved("bert", tmp_path)
    prompt = Prompt("{text} is [MASK] .", {"pet": ("cat",), "wild": ("machine",)})
    hub.save_prompt(hub.new_prompt(directory, prompt=prompt, labels=("wild", "pet")), tmp_path / "asked")
    cloze("convert", tmp_path / "asked", "--to", tmp_path / "new")
    found = hub.load_prompt(tmp_path / "new")
    assert (found.prompt, found.labels) == (prompt, ("wild", "pet"))


def test_convert_refuses(tmp_path: Path, mistake: Mistake) -> None:
    _, directory = saved("bert", tmp_path)
    assert "--dtype=int8 must be one of float32" in mistake(
        "convert", directory, "--to", tmp_path / "new", "--dtype", "int8"
    )
    assert "is the model itself" in mistake("convert", directory, "--to", directory, "--force")
    saved("bert", tmp_path / "other")
    before = (tmp_path / "other" / "model" / "model.safetensors").stat().st_mtime_ns
    mistake("convert", directory, "--to", tmp_path / "other" / "model")
    assert (tmp_path / "other" / "model" / "model.safetensors").stat().st_mtime_ns == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    mistake("convert", directory, "--to", tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").exists()


@pytest.fixture
def domain(texts: list[str], tmp_path: Path) -> Path:
    path = tmp_path / "domain.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def base(texts: list[str], folder: Path, family: str = "bert", *, seed: int = 0, padding: int = 0) -> Path:
    tokenizer = tiny_runs.tokenizer(texts)
    config = FAMILIES[family].preset(
        "tiny",
        tokenizer.vocab_size + padding,
        pad_id=tokenizer.vocabulary.pad_id,
        **{key: tiny_runs.TINY["model"][key] for key in ("num_layers", "hidden_size", "num_heads")},
        max_positions=64,
    )
    model = MaskedLM(config)
    model.initialise(torch.Generator().manual_seed(seed))
    folder.mkdir(exist_ok=True)
    hub.save(model, tokenizer, folder / "base", family=family)
    return folder / "base"


TRAINING = ("--steps", 6, "--hold-out", 0.1, "--set", "run.precision=fp32", "--set", "run.threads=1")


@pytest.mark.parametrize("family", ["bert", "albert", "modernbert"])
def test_adapt(family: str, texts: list[str], domain: Path, tmp_path: Path, cloze: Cloze) -> None:
    directory = base(texts, tmp_path, family)
    faster = ("--set", "optim.learning_rate=0.01")
    printed = cloze("adapt", directory, domain, "--out", tmp_path / "out", *TRAINING, *faster)
    report = json.loads((tmp_path / "out" / "adapt.json").read_text(encoding="utf-8"))
    assert report["after"]["words"]["bits_per_byte"] < report["before"]["words"]["bits_per_byte"]
    assert f"{report['before']['loss']:.3f}" in printed
    assert f"{report['after']['loss']:.3f}" in printed
    change = report["change"]
    difference = report["after"]["words"]["bits_per_byte"] - report["before"]["words"]["bits_per_byte"]
    assert change["bits_per_byte"] == pytest.approx(difference)
    assert change["low"] <= change["bits_per_byte"] <= change["high"]
    assert f"bits per byte changed by {difference:+.3f} (95% interval {change['low']:+.3f} to" in printed
    assert clozelm.load(tmp_path / "out").family.name == family
    again = cloze("adapt", directory, domain, "--out", tmp_path / "out", *TRAINING, *faster)
    assert f"{report['after']['loss']:.3f}" in again


def test_adapt_with_new_pieces(texts: list[str], domain: Path, tmp_path: Path, cloze: Cloze) -> None:
    directory = base(texts, tmp_path)
    printed = cloze("adapt", directory, domain, "--out", tmp_path / "out", "--extend-vocab", 12, *TRAINING)
    assert "12 new pieces, begun from the mean of their old ones" in printed
    before, after = clozelm.load(directory), clozelm.load(tmp_path / "out")
    assert after.tokenizer.vocab_size == before.tokenizer.vocab_size + 12
    extended = hub.load(tmp_path / "out" / "extended").model
    old = before.masked_lm.decoder_weight
    assert torch.equal(extended.decoder_weight[: len(old)], old)
    word = after.tokenizer.piece_text(before.tokenizer.vocab_size)
    spelt = before.tokenizer.encode(word).ids.tolist()
    assert len(spelt) > 1
    torch.testing.assert_close(extended.decoder_weight[len(old)], old[spelt].mean(dim=0))


def test_adapt_trains_a_new_head_on_a_bare_encoder(
    texts: list[str], domain: Path, tmp_path: Path, cloze: Cloze
) -> None:
    directory = base(texts, tmp_path)
    tensors = load_file(directory / "model.safetensors")
    bare = {n.removeprefix("bert."): t for n, t in tensors.items() if not n.startswith("cls.")}
    save_file(bare, directory / "model.safetensors")
    printed = cloze("adapt", directory, domain, "--out", tmp_path / "out", *TRAINING)
    assert "a new one is trained" in printed
    assert "no head" in printed
    report = json.loads((tmp_path / "out" / "adapt.json").read_text(encoding="utf-8"))
    assert report["before"] is None
    # The new head begins at the frequencies of the pieces, so a few steps are near the unigram loss already.
    assert report["after"]["loss"] < report["after"]["unigram"] + 0.5


def test_adapt_refuses(texts: list[str], domain: Path, tmp_path: Path, mistake: Mistake, cloze: Cloze) -> None:
    directory = base(texts, tmp_path)
    out = ("--out", tmp_path / "out")
    assert "hold_out=0 leaves no text" in mistake("adapt", directory, domain, *out, "--hold-out", 0)
    assert "leave it out" in mistake("adapt", directory, domain, *out, "--set", "model.num_layers=7", "--steps", 1)
    assert "set model.family=bert" in mistake(
        "adapt", directory, domain, *out, "--set", "model.family=roberta", "--steps", 1
    )
    assert "There is no model directory" in mistake("adapt", tmp_path / "nothing", domain, *out)
    out = ("--out", tmp_path / "second")
    cloze("adapt", directory, domain, *out, *TRAINING)
    other = tmp_path / "other.jsonl"
    other.write_text(domain.read_text(encoding="utf-8")[:-200], encoding="utf-8")
    assert "was made with another sources" in mistake("adapt", directory, other, *out, *TRAINING)
    more = ("--extend-vocab", 5)
    assert "was made with another extend_vocab" in mistake("adapt", directory, domain, *out, *more, *TRAINING)
    elsewhere = base(texts, tmp_path / "elsewhere", seed=1)
    assert "was made with another model" in mistake("adapt", elsewhere, domain, *out, *TRAINING)
    assert "holds a model or a run (config.json" in mistake("adapt", directory, domain, "--out", directory)
    for damage in ("{", "[]"):
        (tmp_path / "second" / "made-from.json").write_text(damage, encoding="utf-8")
        assert "made-from.json cannot be read" in mistake("adapt", directory, domain, *out, *TRAINING)
    assert "is a file" in mistake("adapt", directory, domain, "--out", domain)


@pytest.mark.parametrize("more", [(), ("--extend-vocab", 5)], ids=["plain", "extended"])
def test_adapt_again_after_a_preparation_that_failed(
    more: tuple[object, ...],
    texts: list[str],
    domain: Path,
    tmp_path: Path,
    mistake: Mistake,
    cloze: Cloze,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The corrected command works in the same place, and makes what it makes in a new one."""
    call, out = ("adapt", base(texts, tmp_path), domain, *TRAINING), tmp_path / "out"
    assert "no_such_field" in mistake(*call, "--field", "no_such_field", "--out", out)

    def fails(*_: object) -> None:
        raise DataError("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr("clozelm.flows.adapt.prepare", fails)
        assert "disk is full" in mistake(*call, "--extend-vocab", 9, "--out", out)
    cloze(*call, *more, "--out", out)
    cloze(*call, *more, "--out", tmp_path / "new")
    ours, theirs = (load_file(one / "run/model/model.safetensors") for one in (out, tmp_path / "new"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_adapt_refuses_tokens_of_an_unknown_origin(
    texts: list[str], domain: Path, tmp_path: Path, mistake: Mistake, cloze: Cloze
) -> None:
    call = ("adapt", base(texts, tmp_path), domain, *TRAINING, "--out", tmp_path / "out")
    cloze(*call)
    (tmp_path / "out" / "made-from.json").unlink()
    assert "with no made-from.json beside it" in mistake(*call)


def test_adapt_goes_on_where_it_stopped(texts: list[str], domain: Path, tmp_path: Path, cloze: Cloze) -> None:
    """Between any two of its steps: the extended model, the tokens, the run."""
    directory = base(texts, tmp_path)
    call = ("adapt", directory, domain, "--extend-vocab", 5, *TRAINING)
    cloze(*call, "--out", tmp_path / "straight")
    cloze(*call, "--out", tmp_path / "cut")
    for part in ("run", "tokens"):
        shutil.rmtree(tmp_path / "cut" / part)
    cloze(*call, "--out", tmp_path / "cut")
    ours, theirs = (load_file(tmp_path / one / "run/model/model.safetensors") for one in ("straight", "cut"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_adapt_follows_the_recipe_it_is_given(texts: list[str], domain: Path, tmp_path: Path, cloze: Cloze) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[data]\nrow_length = 32\ntokens_per_step = 64\n[budget]\nsteps = 2\n", encoding="utf-8")
    run = ("--set", "run.precision=fp32", "--set", "run.threads=1", "--hold-out", 0.1)
    cloze("adapt", base(texts, tmp_path), domain, "--out", tmp_path / "out", "--recipe", recipe, *run)
    record = json.loads((tmp_path / "out" / "run" / "run.json").read_text(encoding="utf-8"))
    assert (record["num_steps"], record["settings"]["data"]["tokens_per_step"]) == (2, 64)


def test_adapt_extends_a_padded_encoder_without_a_head(
    texts: list[str], domain: Path, tmp_path: Path, cloze: Cloze
) -> None:
    directory = base(texts, tmp_path, padding=3)
    tensors = load_file(directory / "model.safetensors")
    bare = {n: t for n, t in tensors.items() if not n.startswith("cls.")}
    save_file(bare, directory / "model.safetensors")
    cloze("adapt", directory, domain, "--out", tmp_path / "plain", *TRAINING)
    cloze("adapt", directory, domain, "--out", tmp_path / "more", "--extend-vocab", 5, *TRAINING)
    assert clozelm.inspect(tmp_path / "more" / "extended")["has_mlm_head"] is False
    report = json.loads((tmp_path / "more" / "adapt.json").read_text(encoding="utf-8"))
    assert report["after"]["loss"] < report["after"]["unigram"] + 0.5


def test_adapt_from_python(texts: list[str], domain: Path, tmp_path: Path) -> None:
    directory = base(texts, tmp_path)
    overrides = ["budget.steps=3", "run.precision=fp32", "run.threads=1"]
    adapted = clozelm.adapt(directory, domain, out=tmp_path / "out", overrides=overrides)
    assert adapted.before is not None
    assert adapted.before.words.words == adapted.after.words.words
    assert adapted.model.fill("a [MASK] model")
