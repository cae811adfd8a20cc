"""`cloze finetune --prompt` and `--few` on the command line: what is left, that it answers, what is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from clozelm import hub
from tests.cli.conftest import Cloze, Mistake
from tests.tiny_models import tiny_model, wordpiece

QUICK = ["--set", "run.precision=fp32", "--set", "data.batch_size=8", "--set", "optim.learning_rate=5e-3"]
PROMPT = ["--prompt", "{text} is [MASK] .", "--words", "pet=cat|dog,wild=powerful"]
ROWS = [
    (f"the {animal} {verb} on a {place}", "pet" if verb == "sat" else "wild")
    for animal in ("cat", "dog")
    for verb in ("sat", "ran")
    for place in ("mat", "dog", "cat", "machine")
]


def write(path: Path, rows: list[tuple[Any, ...]], names: tuple[str, ...] = ("text", "label")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write(tmp_path / "train.csv", ROWS)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    hub.save(tiny_model("bert"), wordpiece(), tmp_path / "model", family="bert")
    return tmp_path / "model"


def test_a_prompt_is_learned_measured_and_answers(model: Path, train: Path, tmp_path: Path, cloze: Cloze) -> None:
    out = tmp_path / "out"
    command = ("finetune", "classify", model, train, "--dev", train, *PROMPT, "--out", out, "--epochs", 40, *QUICK)
    said = cloze(*command)
    assert "asks   {text} is [MASK] .  (pet = cat or dog, wild = powerful)" in said
    results = json.loads((out / "results.json").read_text())
    before, after = (results[name]["accuracy"]["value"] for name in ("zero_shot", "figures"))
    assert f"zero-shot, before anything is learned: accuracy {before:.4f} on dev" in said
    assert before < after == 1.0
    assert results["prompt"] == {"pattern": PROMPT[1], "words": {"pet": ["cat", "dog"], "wild": ["powerful"]}}
    assert any("the temperature is kept in the model's config.json" in note for note in results["notes"])
    kept = json.loads((out / "model" / "config.json").read_text())
    assert kept["clozelm_task"]["prompt"]["temperature"] == pytest.approx(results["calibration"]["temperature"])
    assert "is finished" in cloze(*command)

    predicted = list(csv.DictReader(cloze("predict", out, train, "--probabilities").splitlines()))
    dev = [json.loads(line) for line in (out / "dev_predictions.jsonl").read_text().splitlines()]
    assert [row["predicted"] for row in predicted] == [row["label"] for row in predicted]
    assert [json.loads(row["probabilities"]) for row in predicted] == [
        pytest.approx(one["probabilities"], abs=2e-6) for one in dev
    ]
    measured = json.loads(cloze("evaluate", out, train, "--json"))
    assert measured["figures"]["log_loss"] == pytest.approx(results["figures"]["log_loss"], abs=1e-5)
    filled = json.loads(cloze("fill", out, "the cat sat on a mat is [MASK] .", "--json", "--top", 30))
    found = {one["token"]: one["probability"] for one in filled["masks"][0]["candidates"]}
    assert found["cat"] + found["dog"] > found["powerful"]
    assert "by the prompt" in cloze("inspect", out)


def test_no_epochs_measure_the_prompt_as_it_is(model: Path, train: Path, tmp_path: Path, cloze: Cloze) -> None:
    out = tmp_path / "out"
    cloze("finetune", "classify", model, train, "--dev", train, *PROMPT, "--out", out, "--epochs", 0, *QUICK)
    results = json.loads((out / "results.json").read_text())
    assert results["zero_shot"]["accuracy"] == results["figures"]["accuracy"]
    assert results["training"]["steps"] == 0
    before, after = (hub.load(each).model.state_dict() for each in (model, out / "model"))
    assert all(bool((tensor == after[name]).all()) for name, tensor in before.items())
    assert (out / "report.html").is_file()


@pytest.mark.parametrize("prompt", [[], PROMPT], ids=["head", "prompt"])
def test_few_examples_are_learned_from(
    prompt: list[str], model: Path, train: Path, tmp_path: Path, cloze: Cloze
) -> None:
    command = ["finetune", "classify", model, train, "--dev", train, *prompt, "--few", 3, "--epochs", 1, *QUICK]
    said = cloze(*command, "--out", tmp_path / "out")
    assert "only 6 of 16 examples are learned from: 3 of every class" in said
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["counts"] == {"train": {"pet": 3, "wild": 3}, "dev": {"pet": 8, "wild": 8}}


def test_few_sentences_of_every_type_are_tagged(tmp_path: Path, cloze: Cloze, model: Path) -> None:
    lines = [f"the O\n{'cat B-PET' if i % 2 else 'mat O'}\nsat O\n" for i in range(20)]
    (tmp_path / "train.conll").write_text("\n".join(lines))
    said = cloze(
        "finetune", "tag", model, tmp_path / "train.conll", "--few", 2, "--out", tmp_path / "o", "--dry-run"
    )
    assert "only 4 of 18 examples are learned from: 2 of every class" in said


WRONG: list[tuple[list[object], str]] = [
    (["--prompt", "{text} [MASK]"], "--prompt needs --words"),
    (["--words", "pet=cat,wild=dog"], "--words needs --prompt"),
    (["--prompt", "{text}", "--words", "pet=cat,wild=dog"], "has no [MASK]"),
    (["--prompt", "{text} [MASK] [MASK]", "--words", "pet=cat,wild=dog"], "has 2 [MASK]s"),
    (["--prompt", "so [MASK]", "--words", "pet=cat,wild=dog"], "must have {text} once"),
    (["--prompt", "{a} [MASK] {b}", "--words", "pet=cat,wild=dog"], "asks about a pair"),
    (["--prompt", "{text} [MASK]", "--words", "pet=cat"], "no word for the label 'wild'"),
    (
        ["--prompt", "{text} [MASK]", "--words", "pet=cat,wild=dog,fish=mat"],
        "'fish', which is not among the labels",
    ),
    (["--prompt", "{text} [MASK]", "--words", "pet=cats,wild=dog"], "'cats' is 2 pieces (cat ##s)"),
    (["--prompt", "{text} [MASK]", "--words", "pet=zebra,wild=dog"], "'zebra' is unknown to the tokenizer"),
    (["--problem", "multi", *PROMPT], "--prompt is for one label of several"),
    (["--epochs", 0], "budget.epochs=0 trains nothing"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[said for _, said in WRONG])
def test_mistakes_are_one_line(
    options: list[object], said: str, model: Path, train: Path, tmp_path: Path, mistake: Mistake
) -> None:
    assert said in mistake(
        "finetune", "classify", model, train, "--dev", train, "--out", tmp_path / "out", *options
    )
    assert not (tmp_path / "out").exists()


def test_few_numbers_are_refused(model: Path, tmp_path: Path, mistake: Mistake) -> None:
    numbers = write(tmp_path / "numbers.csv", [(text, place / 2) for place, (text, _) in enumerate(ROWS)])
    said = mistake(
        "finetune",
        "classify",
        model,
        numbers,
        "--problem",
        "regression",
        "--few",
        2,
        "--out",
        tmp_path / "o",
        "--dry-run",
    )
    assert "the labels are numbers" in said
