"""`cloze finetune`, `predict` and `evaluate`: the whole way, of every kind of task."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clozelm.cli.main import main
from clozelm.train.tuning import Tuning
from tests import tiny_tasks
from tests.cli.conftest import Cloze, Mistake

ALL = pytest.mark.parametrize("kind", tiny_tasks.KINDS)
LEFT = {"run.json", "journal.jsonl", "model", "dev_predictions.jsonl", "results.json", "report.html"}
RESULTS = {
    *("task", "problem", "labels", "model", "train", "dev", "dev_is_held_out", "counts", "examples", "notes"),
    *("metric", "figures", "per_class", "confusion", "calibration", "hardest", "training", "seeds", "settings"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tasks.model(tmp_path_factory.mktemp("model") / "bert")


class Trained:
    """What `cloze finetune` left for a kind of task, and what it said."""

    def __init__(self, kind: str, base: Path, folder: Path, cloze: Cloze) -> None:
        self.train, self.dev = tiny_tasks.files(kind, folder)
        self.out = folder / "out"
        self.command = [*tiny_tasks.command(kind), base, self.train, "--dev", self.dev, *tiny_tasks.QUICK]
        self.said = cloze(*self.command, "--out", self.out)

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "results.json").read_text(), parse_constant=pytest.fail)
        return found

    def predictions(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "dev_predictions.jsonl").read_text().splitlines()]


@ALL
def test_what_is_left(kind: str, base: Path, tmp_path: Path, cloze: Cloze) -> None:
    trained = Trained(kind, base, tmp_path, cloze)
    assert {path.name for path in trained.out.iterdir()} == LEFT, "no checkpoints"
    results = trained.results
    assert results.keys() >= RESULTS
    assert results["metric"] in results["figures"]
    assert (results["examples"]["train"], results["examples"]["dev"]) == (18, 9)
    assert results["train"] == str(trained.train)
    assert not results["dev_is_held_out"]
    journal = [json.loads(line) for line in (trained.out / "journal.jsonl").read_text().splitlines()]
    assert [one["step"] for one in journal] == list(range(1, 10))
    assert [one["step"] for one in journal if one["dev"] is not None] == [3, 6, 9]
    assert len(trained.predictions()) == 9
    assert "<html" in (trained.out / "report.html").read_text()
    for part in (str(trained.train), str(trained.dev), "18 ", "9 ", str(trained.out / "report.html")):
        assert part in trained.said


@ALL
def test_the_same_command_shows_the_results_again(kind: str, base: Path, tmp_path: Path, cloze: Cloze) -> None:
    trained = Trained(kind, base, tmp_path, cloze)
    before = {path: path.stat().st_mtime_ns for path in trained.out.rglob("*")}
    again = cloze(*trained.command, "--out", trained.out)
    assert "is finished; its results are shown" in again
    assert "epoch 1" not in again
    assert again.splitlines()[-6:] == trained.said.splitlines()[-6:]
    assert before == {path: path.stat().st_mtime_ns for path in trained.out.rglob("*")}


@ALL
def test_evaluate_gives_the_figures_of_training(kind: str, base: Path, tmp_path: Path, cloze: Cloze) -> None:
    trained = Trained(kind, base, tmp_path, cloze)
    found = json.loads(cloze("evaluate", trained.out, trained.dev, "--json"), parse_constant=pytest.fail)
    results = trained.results
    for name in ("figures", "per_class", "confusion", "labels", "problem", "metric"):
        assert_close(found[name], results[name])
    assert found["counts"]["dev"] == results["counts"]["dev"]
    assert found["examples"]["dev"] == results["examples"]["dev"]
    assert_close([one["source"] for one in found["hardest"]], [one["source"] for one in results["hardest"]])
    shown = cloze("evaluate", trained.out, trained.dev)
    assert "95% interval" in shown


def assert_close(one: Any, other: Any) -> None:
    """Equal, numbers to what calibrated weights in fp32 allow."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_close(value, other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for each, its in zip(one, other, strict=True):
            assert_close(each, its)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-5)
    else:
        assert one == other


@ALL
def test_predict_gives_the_predictions_of_training(
    kind: str, base: Path, tmp_path: Path, cloze: Cloze, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = Trained(kind, base, tmp_path, cloze)
    out = tmp_path / f"predicted{trained.dev.suffix}"
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(trained.out / "model"), str(trained.dev), "--out", str(out)])
    assert not caught.value.code
    said = f"{trained.dev}: words are read from column 1 of 2\n" if kind == "tag" else ""
    assert capsys.readouterr() == ("", said)
    expected = [one["predicted"] for one in trained.predictions()]
    assert_close(list(predicted(kind, out)), expected)


def predicted(kind: str, path: Path) -> Iterator[Any]:
    text = path.read_text()
    if kind == "tag":
        for sentence in text.strip("\n").split("\n\n"):
            yield [line.split()[-1] for line in sentence.split("\n")]
    elif kind == "multi":
        yield from (json.loads(line)["predicted"] for line in text.splitlines())
    else:
        divider = "\t" if kind == "regression" else ","
        names, *rows = (line.split(divider) for line in text.splitlines())
        for row in rows:
            value = row[names.index("predicted")]
            yield float(value) if kind == "regression" else value


@pytest.mark.parametrize("kind", ["multi", "tag"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_same_end(
    kind: str, number: signal.Signals, base: Path, tmp_path: Path, cloze: Cloze, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Trained(kind, base, tmp_path, cloze)
    real = Tuning.units

    def units(run: Any, step: int) -> Any:
        if step == 4:
            signal.raise_signal(number)
        return real(run, step)

    monkeypatch.setattr(Tuning, "units", units)
    out = tmp_path / "parts"
    assert "Stopped; the same command goes on." in cloze(*whole.command, "--out", out)
    assert {path.name for path in out.iterdir()} == {"run.json", "journal.jsonl", "checkpoints"}
    monkeypatch.undo()
    assert "Going on at step 5 of 9" in cloze(*whole.command, "--out", out)
    assert {path.name for path in out.iterdir()} == LEFT
    ours, theirs = (load_file(place / "model" / "model.safetensors") for place in (whole.out, out))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    for name in ("dev_predictions.jsonl", "model/config.json"):
        assert (whole.out / name).read_text() == (out / name).read_text(), name
    results = json.loads((out / "results.json").read_text())
    assert {**results, "training": None} == {**whole.results, "training": None}
    assert results["training"]["steps"] == 9


def test_held_out_examples_are_named(base: Path, tmp_path: Path, cloze: Cloze) -> None:
    train, _ = tiny_tasks.files("single", tmp_path)
    said = cloze("finetune", "classify", base, train, "--out", tmp_path / "out", *tiny_tasks.QUICK)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["dev_is_held_out"]
    assert results["examples"] == {"train": 16, "dev": 2}
    assert results["counts"] == {"train": {"fast": 8, "still": 8}, "dev": {"fast": 1, "still": 1}}
    assert f"a tenth of {train}" in said


def test_a_dry_run_leaves_nothing(base: Path, tmp_path: Path, cloze: Cloze) -> None:
    train, dev = tiny_tasks.files("tag", tmp_path)
    said = cloze("finetune", "tag", base, train, "--dev", dev, "--out", tmp_path / "out", "--dry-run")
    assert "the cat[B-PET] sat on a mat" in said
    assert "B-PET 9" in said.splitlines()[4]
    assert not (tmp_path / "out").exists()


def test_a_place_that_will_not_do_is_said_at_once(
    base: Path, tmp_path: Path, mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, dev = tiny_tasks.files("single", tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    monkeypatch.setattr("clozelm.flows.finetune.new_model", lambda *_: pytest.fail("too late"))
    command = ["finetune", "classify", base, train, "--dev", dev, "--out"]
    assert f"{tmp_path}/file is a file: name a directory." in mistake(*command, tmp_path / "file")
    assert "full is not empty and holds no fine-tuning" in mistake(*command, tmp_path / "full")
    assert f"{train} is a file" in mistake(*command, train)
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "mine").read_text() == "mine"


def test_other_fine_tunings_are_refused(base: Path, tmp_path: Path, cloze: Cloze, mistake: Mistake) -> None:
    trained = Trained("single", base, tmp_path, cloze)
    out = ["--out", trained.out]
    assert "optim.learning_rate was 0.005, now 0.001" in mistake(
        *trained.command, *out, "--set", "optim.learning_rate=1e-3"
    )
    assert "run.seed was 0, now 1" in mistake(*trained.command, *out, "--seed", 1)
    other = tiny_tasks.model(tmp_path / "roberta", "roberta")
    command = [other if part is base else part for part in trained.command]
    assert "holds another fine-tuning (model)" in mistake(*command, *out)


def test_damaged_results_are_named(base: Path, tmp_path: Path, cloze: Cloze, mistake: Mistake) -> None:
    trained = Trained("single", base, tmp_path, cloze)
    path = trained.out / "results.json"
    for damaged in ("{", "[]", "{}"):
        path.write_text(damaged)
        assert str(path) in mistake(*trained.command, "--out", trained.out)
    path.unlink()
    (trained.out / "run.json").write_text("[]")
    assert "not the record of a fine-tuning" in mistake(*trained.command, "--out", trained.out)


def test_a_model_that_was_removed_is_made_again(base: Path, tmp_path: Path, cloze: Cloze) -> None:
    trained = Trained("single", base, tmp_path, cloze)
    place = trained.out / "model"
    before = load_file(place / "model.safetensors")
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    cloze(*trained.command, "--out", trained.out)
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_file(place / "model.safetensors").items())


@pytest.mark.parametrize("kind", ["single", "tag"])
def test_a_fine_tuned_model_is_fine_tuned_again(kind: str, base: Path, tmp_path: Path, cloze: Cloze) -> None:
    trained = Trained("single", base, tmp_path, cloze)
    train, dev = tiny_tasks.files(kind, tmp_path / "next")
    command = [*tiny_tasks.command(kind), trained.out, train, "--dev", dev, *tiny_tasks.QUICK]
    assert "new: classifier" in cloze(*command, "--out", tmp_path / "again")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "optim.learning_rate=nan"], "optim.learning_rate=nan must be a finite number"),
        (["--set", "optim.learning_rate=1e30"], "lower optim.learning_rate"),
        (["--epochs", "0"], "budget.epochs=0 trains nothing"),
        (["--epochs", "-1"], "budget.epochs=-1.0 must be at least 0"),
        (["--epochs", "nan"], "budget.epochs=nan must be a finite number"),
        (["--seed", "-1"], "'--seed'"),
        (["--set", "optim.lerning_rate=1"], "Did you mean 'optim.learning_rate'?"),
        (["--set", "evaluation.metric=bleu"], "evaluation.metric=bleu is none of this task's figures: accuracy,"),
        (["--set", "data.max_length=65"], "more than the model's 64 positions"),
        (["--text", "nothing"], "no field 'nothing'; the record has 'text', 'label'"),
        (["--delimiter", "ab"], "--delimiter 'ab' must be one character"),
        (["--encoding", "latin-99"], "--encoding 'latin-99' is unknown"),
        (["--problem", "multi"], "--separator"),
        (["--problem", "regression"], "is 'still', not a number"),
        (["--dev", "no.csv"], "no.csv: no such file"),
        (["--set", "search.batch_size=[8]"], "has no use without --search N"),
        (["--set", "run.device=tpu"], "run.device='tpu' is not a device"),
    ],
)
def test_a_mistake_is_one_line(options: list[str], said: str, base: Path, tmp_path: Path, mistake: Mistake) -> None:
    train, dev = tiny_tasks.files("single", tmp_path)
    command = ["finetune", "classify", base, train, "--dev", dev, *tiny_tasks.QUICK, "--out", tmp_path / "out"]
    assert said in mistake(*command, *options)
