"""`cloze finetune sentiment`, and `--seeds` and `--search` of every task: end to end, and what is refused."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from clozelm.hub.save import save
from tests.cli.conftest import Cloze, Mistake
from tests.tiny_models import tiny_model, wordpiece

QUICK = ("--set", "run.precision=fp32", "--set", "optim.learning_rate=2e-3", "--epochs", 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model") / "bert"
    save(tiny_model("bert"), wordpiece(), place, family="bert")
    return place


def reviews(path: Path, labels: list[str]) -> Path:
    """Thirty texts, each of its own words, with the labels in turn."""
    words = ("cat", "dog", "mat", "machine", "powerful")
    texts = [f"the {one} {verb} on a {other}" for one in words for other in words for verb in ("sat", "ran")]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "stars"])
        writer.writerows([text, labels[i % len(labels)]] for i, text in enumerate(texts[:30]))
    return path


STARS = [str(number) for number in range(1, 6)]
FIVE = ["very negative", "negative", "neutral", "positive", "very positive"]


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return found


def test_five_stars_from_table_to_predictions(cloze: Cloze, model: Path, tmp_path: Path) -> None:
    train, out = reviews(tmp_path / "r.csv", STARS), tmp_path / "out"
    said = cloze("finetune", "sentiment", model, train, "--out", out, *QUICK)
    assert "labels are read as sentiment in 5 ways: 1 = very negative, 2 = negative" in said
    assert "mean distance" in said
    found = results(out)
    assert found["labels"] == FIVE
    assert found["settings"]["optim"]["layer_decay"] == 0.95, "the recipe"
    assert found["settings"]["budget"]["epochs"] == 1, "over the recipe"
    assert {"mae_steps", "within_one"} <= found["figures"].keys()
    assert found["figures"]["mae_steps"]["low"] is not None
    config = json.loads((out / "model" / "config.json").read_text(encoding="utf-8"))
    assert list(config["id2label"].values()) == FIVE
    rows = list(csv.DictReader(io.StringIO(cloze("predict", out, train, "--probabilities"))))
    assert [row["stars"] for row in rows] == STARS * 6
    for row in rows:
        given = json.loads(row["probabilities"])
        assert list(given) == FIVE
        assert row["predicted"] == max(given, key=given.__getitem__)
    measured = cloze("evaluate", out, train)
    assert "mean distance" in measured, "stars are read as in training"
    named = reviews(tmp_path / "named.csv", FIVE)
    assert cloze("evaluate", out, named).splitlines()[3:9] == measured.splitlines()[3:9]


@pytest.mark.parametrize("labels", [["0", "1"], ["NEG", "pos"], ["-1", "1"]])
def test_two_ways(labels: list[str], cloze: Cloze, model: Path, tmp_path: Path) -> None:
    train, dev = reviews(tmp_path / "r.csv", labels), reviews(tmp_path / "d.csv", labels[::-1])
    out = tmp_path / "out"
    cloze("finetune", "sentiment", model, train, "--dev", dev, "--out", out, *QUICK)
    found = results(out)
    assert found["labels"] == ["negative", "positive"]
    assert found["counts"]["dev"] == {"positive": 15, "negative": 15}
    assert "mae_steps" not in found["figures"]


def test_one_and_two_need_ways(cloze: Cloze, mistake: Mistake, model: Path, tmp_path: Path) -> None:
    train = reviews(tmp_path / "r.csv", ["1", "2"])
    said = mistake("finetune", "sentiment", model, train, "--out", tmp_path / "out")
    assert "say --ways 2 (1 = negative, 2 = positive) or --ways 5 (1 = very negative" in said
    for ways, labels in ((2, ["negative", "positive"]), (5, FIVE)):
        out = tmp_path / f"out-{ways}"
        cloze("finetune", "sentiment", model, train, "--ways", ways, "--out", out, *QUICK)
        assert results(out)["labels"] == labels


def test_seeds_and_search_of_sentences(cloze: Cloze, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    lines = [f"the O\n{one} B-PET\n{verb} O\n" for one in ("cat", "dog") for verb in ("sat", "ran", "is")] * 3
    train, out = tmp_path / "t.conll", tmp_path / "out"
    train.write_text("\n".join(lines), encoding="utf-8")
    command = ("finetune", "tag", model, train, "--dev", train, "--out", out, "--search", 2, "--seeds", 2, *QUICK)
    said = cloze(*command)
    assert "Trial 2 of 2" in said
    assert "Seed 1 (2 of 2)" in said
    assert "the mean over seeds is what to report" in said
    found = results(out)
    assert [one["seed"] for one in found["seeds"]] == [0, 1]
    assert {one["settings"]["budget.epochs"] for one in found["trials"]} == {1.0}, "--epochs is kept"
    assert (out / "model" / "config.json").is_file()
    assert "out/seed-1 is finished" in cloze(*command)


def test_without_dev_all_seeds_hold_the_same_out(cloze: Cloze, model: Path, tmp_path: Path) -> None:
    train, out = reviews(tmp_path / "r.csv", ["a", "b"]), tmp_path / "out"
    cloze("finetune", "classify", model, train, "--out", out, "--seeds", 2, *QUICK)
    records = [json.loads((out / f"seed-{seed}" / "run.json").read_text(encoding="utf-8")) for seed in (0, 1)]
    assert records[0]["dev"] == records[1]["dev"]
    assert records[0]["settings"]["run"]["seed"] != records[1]["settings"]["run"]["seed"]


BAD = [
    (("--seeds", 0), "Invalid value for '--seeds'"),
    (("--search", 0), "Invalid value for '--search'"),
    (("--seeds", "many"), "Invalid value for '--seeds'"),
    (("--ways", 3), "--ways=3 must be 2 "),
    (("--ways", 2), "are no sentiment in 2 ways, but in 5: say --ways 5."),
    (
        ("--search", 1, "--set", "search.epochs=[]"),
        "search.epochs=[] must be one or more different numbers above 0.",
    ),
    (("--search", 1, "--set", "search.batch_size=[0]"), "search.batch_size=[0] must be one or more"),
    (("--search", 1, "--set", "search.epochs=3"), "search.epochs=3 must be a list of numbers"),
    (("--search", 1, "--set", "search.learning_rate_low=9"), "=9 is more than search.learning_rate_high=6."),
    (("--set", "search.epochs=[1]"), "search.epochs=[1] has no use without --search N"),
    (("--search", 1, "--set", "search.rate=9"), "Unknown setting 'search.rate'"),
]


@pytest.mark.parametrize(("options", "said"), BAD, ids=lambda part: " ".join(map(str, part)) if part else "")
def test_options_that_are_refused(
    options: tuple[Any, ...], said: str, mistake: Mistake, model: Path, tmp_path: Path
) -> None:
    train, out = reviews(tmp_path / "r.csv", STARS), tmp_path / "out"
    assert said in mistake("finetune", "sentiment", model, train, "--out", out, *options)
    assert not out.exists()


def test_labels_that_are_refused(mistake: Mistake, model: Path, tmp_path: Path) -> None:
    odd = reviews(tmp_path / "odd.csv", ["good", "meh"])
    assert "'meh' is on no scale" in mistake("finetune", "sentiment", model, odd, "--out", tmp_path / "out")
    one = reviews(tmp_path / "one.csv", ["good"])
    assert "learning needs two" in mistake("finetune", "sentiment", model, one, "--out", tmp_path / "out")
    train, dev = reviews(tmp_path / "r.csv", STARS), reviews(tmp_path / "d.csv", ["1", "6"])
    said = mistake("finetune", "sentiment", model, train, "--dev", dev, "--out", tmp_path / "out")
    assert "d.csv:3: label '6' is not among 1, 2, 3, 4, 5" in said


def test_places_of_other_runs_are_refused(cloze: Cloze, mistake: Mistake, model: Path, tmp_path: Path) -> None:
    train, out = reviews(tmp_path / "r.csv", STARS), tmp_path / "out"
    cloze("finetune", "sentiment", model, train, "--out", out, "--seeds", 1, *QUICK)
    shown = ("finetune", "sentiment", model, train, "--out", out)
    assert "optim.learning_rate was 0.002, now 0.001" in mistake(
        *shown, "--seeds", 2, *QUICK, "--set", "optim.learning_rate=1e-3"
    )
    assert "is not empty and holds no fine-tuning" in mistake(*shown, *QUICK)
    assert "There is no model directory 'nowhere'" in mistake(
        "finetune", "sentiment", "nowhere", train, "--out", tmp_path / "new", "--seeds", 2
    )
