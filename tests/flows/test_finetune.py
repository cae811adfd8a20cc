"""One fine-tuning on disk: alone in its place, chosen by its figure, calibrated in its weights."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from clozelm.errors import SettingsError, TrainingError
from clozelm.flows.finetune import tune
from clozelm.flows.finetune_sweep import sweep
from clozelm.flows.task_data import ClassifyRequest, TagRequest, TaskData, classify_data, tag_data
from clozelm.infer.predict import Predictor
from clozelm.settings import load
from clozelm.tasks.calibration import calibrate, expected_calibration_error
from clozelm.tasks.classify import probabilities
from clozelm.text.atomic import alone
from clozelm.text.labelled import Wanted
from clozelm.train.finetune_settings import FinetuneSettings
from tests import tiny_tasks

QUICK = ["data.batch_size=8", "run.precision=fp32", "run.device=cpu", "optim.learning_rate=5e-3", "budget.epochs=2"]
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tasks.model(tmp_path_factory.mktemp("model") / "bert")


def settings(*overrides: str) -> FinetuneSettings:
    return load(FinetuneSettings, None, [*QUICK, *overrides])


def data(kind: str, folder: Path) -> TaskData:
    train, dev = tiny_tasks.files(kind, folder)
    if kind == "tag":
        return tag_data(TagRequest(train, dev))
    problem: Any = kind if kind in ("multi", "regression") else "single"
    return classify_data(ClassifyRequest(train, dev, Wanted(problem=problem)))


def test_two_processes_are_not_let_into_one_place(base: Path, tmp_path: Path) -> None:
    given, out = data("single", tmp_path), tmp_path / "out"
    out.mkdir()
    script = "import sys; from pathlib import Path; from clozelm.text.atomic import alone\n"
    script += f"with alone(Path({str(out)!r})): print('in', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        for run in (tune, sweep):
            with pytest.raises(SettingsError, match=r"out is being worked in by another process: wait for it"):
                run(settings(), model=base, data=given, out=out, console=QUIET)
            assert not (out / "journal.jsonl").exists()
            for path in out.iterdir():
                path.unlink()
    finally:
        other.communicate()
    assert tune(settings(), model=base, data=given, out=out, console=QUIET) is not None
    with alone(out):
        pass


@pytest.mark.parametrize(("metric", "better"), [("log_loss", -1), ("accuracy", 1)])
def test_the_best_is_the_best_by_its_figure(metric: str, better: int, base: Path, tmp_path: Path) -> None:
    given = data("single", tmp_path)
    chosen = settings(f"evaluation.metric={metric}", "budget.epochs=4")
    found = sweep(chosen, model=base, data=given, out=tmp_path / "out", seeds=3, console=QUIET)
    assert found is not None
    values = {one["seed"]: better * one["figures"][metric]["value"] for one in found["seeds"]}
    assert len(set(values.values())) > 1
    assert values[found["best_seed"]] == max(values.values())
    place = tmp_path / "out" / f"seed-{found['best_seed']}"
    journal = [json.loads(line) for line in (place / "journal.jsonl").read_text().splitlines()]
    measured = {one["step"]: better * one["dev"][metric] for one in journal if one["dev"]}
    assert measured[found["training"]["best_step"]] == max(measured.values())


@pytest.mark.parametrize("kind", ["single", "pair", "multi", "tag"])
def test_the_temperature_is_in_the_weights(
    kind: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the directory says is what was measured, and its logits are those of training over the temperature."""

    def used(*given: Any, **options: Any) -> Any:
        """So few examples may refuse theirs, which is not what is tested."""
        found = calibrate(*given, **options)
        assert found is not None
        return {**found, "temperature": found["refused"] or found["temperature"], "refused": None}

    given = data(kind, tmp_path)
    monkeypatch.setattr("clozelm.flows.finetune.calibrate", used)
    found = tune(settings(), model=base, data=given, out=tmp_path / "a", console=QUIET)
    monkeypatch.setattr("clozelm.flows.finetune._calibration", lambda *_: None)
    raw = tune(settings(), model=base, data=given, out=tmp_path / "b", console=QUIET)
    assert found is not None
    assert raw is not None
    temperature = found["calibration"]["temperature"]
    assert temperature != 1.0
    warm, cold = (
        Predictor.open(tmp_path / name).answers(given.split.dev).logits.astype(np.float64) for name in ("a", "b")
    )
    assert warm * temperature == pytest.approx(cold, abs=1e-5)
    task = given.task
    truth = task.targets(given.split.dev).values.astype(np.int64)
    shares = probabilities(cold, "multi" if kind == "multi" else "single")
    error = expected_calibration_error(shares, truth)
    assert found["calibration"]["before"]["ece"] == pytest.approx(error, abs=1e-5)
    assert found["figures"].get("accuracy", {}).get("value") == raw["figures"].get("accuracy", {}).get("value")
    if kind != "tag":
        after = expected_calibration_error(probabilities(warm, task.problem), truth)
        assert found["figures"]["ece"]["value"] == pytest.approx(after, abs=1e-5)


def test_a_diverged_run_leaves_no_model(base: Path, tmp_path: Path) -> None:
    given = data("tag", tmp_path)
    with pytest.raises(TrainingError):
        tune(settings("optim.learning_rate=1e30"), model=base, data=given, out=tmp_path / "out", console=QUIET)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"run.json", "journal.jsonl"}


def test_labels_in_one_field_are_divided_alike_when_measured(base: Path, tmp_path: Path) -> None:
    from clozelm.flows.predict import evaluate_texts
    from clozelm.text.record_files import TableForm

    rows = [
        ["text", "labels"],
        *([text, "x;y" if "sat" in text else "x"] for text in ("a cat sat", "a cat ran") * 4),
    ]
    path = tiny_tasks.table(tmp_path / "a.csv", rows)
    request = ClassifyRequest(path, path, Wanted(problem="multi", separator=";"))
    found = tune(settings(), model=base, data=classify_data(request), out=tmp_path / "out", console=QUIET)
    assert found is not None
    again = evaluate_texts(Predictor.open(tmp_path / "out"), str(path), wanted=Wanted(), form=TableForm())
    assert again["figures"]["micro_f1"]["value"] == pytest.approx(found["figures"]["micro_f1"]["value"])
