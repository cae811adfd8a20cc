"""The commands one after another, as a user would run them, on a tiny real corpus."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import clozelm
from tests import tiny_runs
from tests.cli.conftest import Cloze

SENTENCE = "we propose a [MASK] model for [MASK] translation"


@pytest.fixture(scope="module")
def road(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first three commands leave, with what they print in `printed.json`."""
    folder = tmp_path_factory.mktemp("road")
    corpus = folder / "corpus.txt"
    corpus.write_text("\n\n".join(texts), encoding="utf-8")
    recipe = tiny_runs.recipe(folder)
    held = ("--hold-out", "0.1")
    commands = {
        "tokenizer": ("tokenizer", "train", corpus, "--vocab-size", 320, "--out", folder / "tokenizer", *held),
        "prepare": (
            *("prepare", corpus, "--tokenizer", folder / "tokenizer", "--out", folder / "tokens"),
            *(*held, "--workers", 1, "--dedup"),
        ),
        "pretrain": (
            *("pretrain", recipe, "--data", folder / "tokens", "--out", folder / "run"),
            *("--steps", 4, "--set", "optim.name=muon"),
        ),
    }
    printed = {}
    for name, command in commands.items():
        done = subprocess.run([*tiny_runs.CLOZE, *map(str, command)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        printed[name] = done.stdout
    (folder / "printed.json").write_text(json.dumps(printed), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def printed(road: Path) -> dict[str, str]:
    read: dict[str, str] = json.loads((road / "printed.json").read_text(encoding="utf-8"))
    return read


def test_what_the_commands_print(road: Path, printed: dict[str, str]) -> None:
    assert printed["tokenizer"].startswith(f"{road / 'tokenizer'}: wordpiece, 320 pieces from ")
    assert "fertility" in printed["tokenizer"]
    assert "45 documents" in printed["prepare"]
    assert f"5 documents, text in {road / 'tokens' / 'held_out.jsonl'}" in printed["prepare"]
    lines = printed["pretrain"].splitlines()
    assert any(line.strip().startswith("step 4: held-out loss") for line in lines)
    assert lines[-2] == f"Model: {road / 'run' / 'model'}"
    assert lines[-1] == f'Try:   cloze fill {road / "run" / "model"} "Machine learning is a [MASK] technology."'
    for output in printed.values():
        assert "\x1b" not in output
        assert "\r" not in output
        assert all(line.strip() for line in output.splitlines()), "no empty lines"


def test_what_pretraining_leaves(road: Path) -> None:
    names = {path.name for path in (road / "run").iterdir()}
    assert names == {"run.json", "journal.jsonl", "checkpoints", "model", "loss.png"}
    record = json.loads((road / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["num_steps"] == 4
    assert record["settings"]["optim"]["name"] == "muon"
    assert len((road / "run" / "journal.jsonl").read_text(encoding="utf-8").splitlines()) == 4


def test_held_out_text_is_held_out_from_tokenizer_and_tokens(road: Path, texts: list[str]) -> None:
    held = (road / "tokens" / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in held] == texts[-5:]
    store = clozelm.TokenStore.open(road / "tokens")
    assert store.num_documents == 45


@pytest.mark.usefixtures("known_machine")
def test_resuming_says_so(cloze: Cloze, road: Path, printed: dict[str, str]) -> None:
    common = ("pretrain", road / "tiny.toml", "--data", road / "tokens", "--out", road / "run", "--steps", 4)
    out = cloze(*common, "--set", "optim.name=muon")
    assert f"Resuming {road / 'run'} at step 4 of 4." in " ".join(out.split())
    assert out.splitlines()[-1] == printed["pretrain"].splitlines()[-1]


def test_a_plan_writes_nothing(cloze: Cloze, road: Path) -> None:
    common = ("pretrain", road / "tiny.toml", "--data", road / "tokens", "--out", road / "planned")
    out = cloze(*common, "--dry-run", "--minutes", 3)
    facts = dict(line.split("  ", 1) for line in out.splitlines())
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    assert facts["family"] == "bert"
    assert facts["encoder"] == "2 layers x 32, vocabulary 320"
    assert facts["budget"] == "minutes 3.0"
    assert not (road / "planned").exists()


@pytest.mark.usefixtures("known_machine")
def test_a_plan_says_where_a_run_would_go_on(cloze: Cloze, road: Path, tmp_path: Path) -> None:
    """And what it would pass over; a plan changes nothing."""

    def plan() -> dict[str, str]:
        said = cloze("pretrain", road / "tiny.toml", "--data", road / "tokens", "--out", out, "--dry-run", *more)
        return {line.split("  ")[0]: line.partition("  ")[2].strip() for line in said.splitlines()}

    more = ("--steps", 4, "--set", "checkpoint.every_steps=2")
    settings = tiny_runs.settings("budget.steps=4", "checkpoint.every_steps=2")
    out = tmp_path / "run"
    tiny_runs.trained(settings, road / "tokens", out, stop_after=3)
    assert plan()["out"] == f"{out}, resumes at step 3 of 4"
    last = out / "checkpoints" / "step-000003"
    (last / "model.safetensors").write_bytes(b"")
    before = sorted(path.name for path in last.parent.iterdir())
    assert plan()["out"] == f"{out}, resumes at step 2 of 4"
    assert plan()["damaged"].startswith(f"{last}: model.safetensors has 0 bytes instead of ")
    assert sorted(path.name for path in last.parent.iterdir()) == before
    tiny_runs.trained(settings, road / "tokens", tmp_path / "whole")
    out = tmp_path / "whole"
    assert plan()["out"] == f"{out}, finished at step 4 of 4"


def test_evaluate(cloze: Cloze, road: Path) -> None:
    held = road / "tokens" / "held_out.jsonl"
    out = cloze("evaluate", road / "run", held, "--row-length", 32)
    for name in ("loss", "unigram", "perplexity", "accuracy", "bits per byte", "words right", "text"):
        assert any(line.startswith(name) for line in out.splitlines()), name
    found = json.loads(cloze("evaluate", road / "run", held, "--row-length", 32, "--json"))
    again = json.loads(cloze("evaluate", road / "run" / "model", held, "--row-length", 32, "--json"))
    assert found == again
    assert found["pieces"]["documents"] == 5
    assert found["pieces"]["perplexity"] == pytest.approx(math.exp(found["pieces"]["loss"]))
    assert found["pieces"]["interval"][0] < found["pieces"]["loss"] < found["pieces"]["interval"][1]
    assert f"{found['pieces']['loss']:.3f} nats a piece" in out
    other = json.loads(cloze("evaluate", road / "run", held, "--row-length", 32, "--json", "--seed", 1))
    assert other["pieces"]["loss"] != found["pieces"]["loss"]
    assert other["words"]["words"] > 0


def test_json_has_no_nan(cloze: Cloze, road: Path, tmp_path: Path) -> None:
    """One document gives no interval; JSON has no word for that but null."""
    (tmp_path / "one.txt").write_text("we propose a model", encoding="utf-8")

    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is not JSON")

    found = json.loads(cloze("evaluate", road / "run", tmp_path / "one.txt", "--json"), parse_constant=refuse)
    assert found["pieces"]["interval"] == [None, None]


def test_fill_json_is_the_promised_format(cloze: Cloze, road: Path) -> None:
    found = json.loads(cloze("fill", road / "run", SENTENCE, "--top", 3, "--json", "--order", "each"))
    assert list(found) == ["text", "masks"]
    assert found["text"] == SENTENCE
    assert [list(mask) for mask in found["masks"]] == [["entropy", "candidates"]] * 2
    names = ["id", "token", "piece", "probability", "log_probability", "rank"]
    for mask in found["masks"]:
        assert [list(each) for each in mask["candidates"]] == [names] * 3
        probabilities = [each["probability"] for each in mask["candidates"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert all(0 < each < 1 for each in probabilities)
        assert all(isinstance(each["id"], int) for each in mask["candidates"])


def test_the_json_of_masks_filled_together(cloze: Cloze, road: Path) -> None:
    found = json.loads(cloze("fill", road / "run", SENTENCE, "--top", 2, "--json"))
    assert list(found) == ["text", "order", "fillings"]
    assert len(found["fillings"]) == 2
    for filling in found["fillings"]:
        assert "[MASK]" not in filling["text"]
        assert len(filling["answers"]) == 2
        logs = [answer["log_probability"] for answer in filling["answers"]]
        assert filling["log_probability"] == pytest.approx(sum(logs))


def test_python_says_what_the_command_says(cloze: Cloze, road: Path) -> None:
    found = json.loads(cloze("fill", road / "run", SENTENCE, "--json", "--order", "each"))
    masks = clozelm.load(road / "run").fill(SENTENCE)
    assert [[c.id for c in mask] for mask in masks] == [
        [each["id"] for each in mask["candidates"]] for mask in found["masks"]
    ]


def test_transformers_opens_the_model_and_agrees(road: Path) -> None:
    transformers = pytest.importorskip("transformers")
    stock = transformers.AutoModelForMaskedLM.from_pretrained(road / "run" / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(road / "run" / "model")
    encoded = tokenizer(SENTENCE, return_tensors="pt")
    assert int((encoded["input_ids"] == tokenizer.mask_token_id).sum()) == 2
    ours = clozelm.load(road / "run")
    ids = [ours.tokenizer.vocabulary.cls_id, *ours.tokenizer.encode(SENTENCE).ids, ours.tokenizer.vocabulary.sep_id]
    assert encoded["input_ids"][0].tolist() == ids
    from clozelm.types import TokenBatch

    whole = torch.ones_like(encoded["input_ids"])
    with torch.inference_mode():
        expected = stock(**encoded).logits
        logits = ours.masked_lm(TokenBatch.from_padded(encoded["input_ids"], whole))
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-5)
    assert float(expected.std()) > 0.01


def test_settings(cloze: Cloze) -> None:
    out = cloze("settings", "pretrain", "masking")
    assert "masking.rate_end" in out
    assert "Devlin et al. 2018" in out
    assert "optim.name" not in out
    assert "filters." in cloze("settings", "prepare")


@pytest.mark.parametrize("arguments", [("--help",), ("pretrain", "--help"), ("--version",)])
def test_help(arguments: tuple[str, ...], cloze: Cloze) -> None:
    assert cloze(*arguments).strip()


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "clozelm", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == clozelm.__version__
