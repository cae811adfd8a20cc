"""Pretraining: exactly resumable, independent of how a step is cut up, and stopped by what is not finite."""

import json
import re
import shutil
import signal
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clozelm.cli.main import main
from clozelm.data.loader import Cursor
from clozelm.errors import DataError, SettingsError, TrainingError
from clozelm.objectives import Example
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.hardware import describe_machine
from clozelm.train.pretrain import pretrain, train
from clozelm.train.run import Run
from clozelm.train.settings import PretrainSettings
from tests import tiny_runs
from tests.tiny_runs import assert_equal_runs, settings, trained

pytestmark = pytest.mark.usefixtures("known_machine")


def opened(chosen: PretrainSettings, data: Path, out: Path) -> Run:
    return Run.open(chosen, data=data, out=out)


def test_short_runs_measure_no_more_than_they_learn(tiny_store: Path, tmp_path: Path) -> None:
    """Of a step of 256 tokens and at most 500 looked at: every second step, and the last."""
    reports = trained(settings("budget.steps=5"), tiny_store, tmp_path / "short")
    assert [report.step for report in reports if report.heldout_loss is not None] == [2, 4, 5]
    often = settings("budget.steps=5", "evaluation.tokens=64")
    reports = trained(often, tiny_store, tmp_path / "often")
    assert [report.step for report in reports if report.heldout_loss is not None] == [1, 2, 3, 4, 5]


# --- resuming ---


def test_one_thread_as_it_was_written_before_is_the_same_machine(tiny_store: Path, tmp_path: Path) -> None:
    chosen = settings("budget.steps=1")
    trained(chosen, tiny_store, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for written, changes in (("1 threads of", 0), ("7 threads of", 1)):
        record["machine"] = re.sub(r"^1 thread of", written, describe_machine(torch.device("cpu")))
        path.write_text(json.dumps(record), encoding="utf-8")
        with closing(opened(chosen, tiny_store, tmp_path / "run")) as run:
            assert len([one for one in run.problems if "machine" in one]) == changes


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_resumed_run_equals_the_uninterrupted_one(
    precision: str, optimiser: str, stop_after: int, tiny_store: Path, tmp_path: Path
) -> None:
    family = "bert" if optimiser == "adamw" else "modernbert"
    chosen = settings(f"run.precision={precision}", f"optim.name={optimiser}", f"model.family={family}")
    trained(chosen, tiny_store, tmp_path / "straight")
    first = trained(chosen, tiny_store, tmp_path / "cut", stop_after)
    assert [report.is_saved for report in first] == [False] * (stop_after - 1) + [True]
    assert not (tmp_path / "cut" / "model").exists()
    second = trained(chosen, tiny_store, tmp_path / "cut")
    assert [report.step for report in first + second] == list(range(1, 7))
    assert_equal_runs(tmp_path / "straight", tmp_path / "cut")
    losses = [each["loss"] for each in tiny_runs.journal(tmp_path / "cut")]
    assert len(set(losses)) == len(losses) == 6


def test_dropout_and_masks_change_from_step_to_step_and_with_the_seed(tiny_store: Path, tmp_path: Path) -> None:
    run = opened(settings(), tiny_store, tmp_path / "a")
    rates = [report.mask_rate for report in train(run)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(0.3)
    assert rates[-1] >= 0.15
    trained(settings("run.seed=1"), tiny_store, tmp_path / "b")
    ours, theirs = tiny_runs.weights(tmp_path / "a"), tiny_runs.weights(tmp_path / "b")
    assert not torch.equal(*(each["bert.embeddings.word_embeddings.weight"] for each in (ours, theirs)))
    assert tiny_runs.journal(tmp_path / "a")[-1]["loss"] != tiny_runs.journal(tmp_path / "b")[-1]["loss"]


def test_a_finished_run_is_opened_and_trains_no_more(tiny_store: Path, tmp_path: Path) -> None:
    trained(settings(), tiny_store, tmp_path / "a")
    before = tiny_runs.weights(tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "model")
    assert trained(settings(), tiny_store, tmp_path / "a") == []
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny_runs.weights(tmp_path / "a").items())


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tiny_store: Path, tmp_path: Path) -> None:
    chosen = settings("checkpoint.every_steps=2")
    trained(chosen, tiny_store, tmp_path / "straight")
    trained(chosen, tiny_store, tmp_path / "cut", stop_after=4)
    (weights,) = (tmp_path / "cut" / "checkpoints" / "step-000004").glob("model*")
    weights.write_bytes(weights.read_bytes()[:-7])
    run = opened(chosen, tiny_store, tmp_path / "cut")
    assert run.step == 2
    assert [notice for notice in run.notices if "step-000004" in notice and "before it is used" in notice]
    assert f"Resuming {tmp_path / 'cut'} at step 2 of 6." in run.notices
    list(train(run))
    assert_equal_runs(tmp_path / "straight", tmp_path / "cut")


def test_a_run_without_a_checkpoint_begins_again(tiny_store: Path, tmp_path: Path) -> None:
    trained(settings(), tiny_store, tmp_path / "straight")
    reports = pretrain(settings(), data=tiny_store, out=tmp_path / "cut")
    next(reports)
    next(reports)
    reports.close()  # as if killed: nothing was saved, the journal holds two steps
    assert len(tiny_runs.journal(tmp_path / "cut")) == 2
    trained(settings(), tiny_store, tmp_path / "cut")
    assert_equal_runs(tmp_path / "straight", tmp_path / "cut")


@pytest.mark.parametrize("override", ["optim.learning_rate=0.5", "run.seed=3", "model.dropout=0", "budget.steps=7"])
def test_other_settings_are_refused_by_name(override: str, tiny_store: Path, tmp_path: Path) -> None:
    trained(settings(), tiny_store, tmp_path / "a", stop_after=1)
    journal = (tmp_path / "a" / "journal.jsonl").read_bytes()
    name, _, value = override.partition("=")
    with pytest.raises(SettingsError, match=rf"{name} was .*, now {value}") as caught:
        trained(settings(override), tiny_store, tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "a" / "journal.jsonl").read_bytes() == journal


def test_another_store_is_refused(
    texts: list[str], tiny_tokenizer: Tokenizer, tiny_store: Path, tmp_path: Path
) -> None:
    other = tiny_runs.make_store(tmp_path, texts[:40], tiny_tokenizer)
    trained(settings(), tiny_store, tmp_path / "a", stop_after=1)
    with pytest.raises(DataError, match="was trained on other tokens than"):
        trained(settings(), other, tmp_path / "a")


def test_a_resumed_run_keeps_the_precision_that_was_measured(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings("run.precision=auto")
    monkeypatch.setattr("clozelm.train.hardware.matrix_rate", lambda precision, *_, **__: len(precision))
    trained(chosen, tiny_store, tmp_path / "a", stop_after=1)
    faster = {"fp32": 1.0, "bf16": 2.0}
    monkeypatch.setattr("clozelm.train.hardware.matrix_rate", lambda precision, *_, **__: faster[precision])
    for name, expected in (("a", "fp32"), ("b", "bf16")):
        with closing(opened(chosen, tiny_store, tmp_path / name)) as run:
            assert run.precision == expected


# --- the process is killed ---


STEPS = 60
KILLABLE = (f"budget.steps={STEPS}", "checkpoint.every_steps=5")


@pytest.fixture(scope="module")
def straight(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("straight") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clozelm.train.run.matrix_rate", lambda *_, **__: 1e11)
        trained(settings(*KILLABLE), tiny_store, out)
    return out


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("killed_by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_loses_nothing_that_matters(
    killed_by: signal.Signals,
    straight: Path,
    tiny_store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "killed"
    arguments = ["pretrain", str(tiny_runs.recipe(tmp_path)), "--data", str(tiny_store), "--out", str(out)]
    arguments += [word for override in KILLABLE for word in ("--set", override)]
    command = [*tiny_runs.CLOZE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(out / "checkpoints" / "step-000005", process)
        process.send_signal(killed_by)
        printed, errors = process.communicate(timeout=60)
    done = tiny_runs.journal(out)[-1]["step"]
    assert done < STEPS
    if killed_by != signal.SIGKILL:
        assert (process.returncode, errors) == (0, "")
        assert printed.splitlines()[-1] == f"Stopped at step {done} of {STEPS}; the same command resumes it."
    else:
        assert process.returncode == -signal.SIGKILL
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert not caught.value.code
    resumed = re.search(rf"at step (\d+) of {STEPS}", " ".join(capsys.readouterr().out.split()))
    assert resumed
    lost = done - int(resumed[1])
    assert 0 <= lost <= (5 if killed_by == signal.SIGKILL else 0)
    assert_equal_runs(straight, out)


# --- what a step is ---


def test_micro_batches_equal_the_big_batch(tiny_store: Path, tmp_path: Path) -> None:
    """Uneven parts (3, 3 and 2 rows) with unequal numbers of predictions: a mean of means would show."""
    runs = {}
    for name, tokens in (("big", 256), ("parts", 96), ("rows", 32)):
        overrides = (f"data.micro_batch_tokens={tokens}", "model.dropout=0", "model.attention_dropout=0")
        run = opened(settings(*overrides), tiny_store, tmp_path / name)
        parts = run.batches.step(Cursor(), 0.3).micro_batches
        assert len({int(part.predicted.sum()) for part in parts}) > 1 or len(parts) == 1
        reports = list(train(run, stop_after=1))
        again = run.batches.step(run.cursor, 0.3)
        run.objective.eval()
        for example in again.micro_batches:
            (run.objective(example)["mlm"].loss_sum / again.counts["mlm"]).backward()
        gradients = {key: p.grad for key, p in run.model.named_parameters() if p.grad is not None}
        runs[name] = reports[0], gradients
    report, gradients = runs["big"]
    for name in ("parts", "rows"):
        other, others = runs[name]
        assert (other.predictions, other.tokens) == (report.predictions, report.tokens)
        assert other.loss == pytest.approx(report.loss, rel=1e-6)
        assert other.gradient_norm == pytest.approx(report.gradient_norm, rel=1e-5)
        # One update later: AdamW makes whole steps of gradients near 0, whose rounding then shows.
        for key, gradient in gradients.items():
            torch.testing.assert_close(others[key], gradient, rtol=1e-4, atol=1e-5, msg=key)


def test_the_loss_falls(tiny_store: Path, tmp_path: Path) -> None:
    overrides = ("budget.steps=40", "model.dropout=0", "model.attention_dropout=0", "optim.learning_rate=0.01")
    chosen = settings(*overrides, "model.unigram_bias=false")
    reports = trained(chosen, tiny_store, tmp_path / "a")
    assert reports[-1].loss < reports[0].loss - 0.5
    assert reports[-1].tokens_seen == sum(report.tokens for report in reports)
    evaluated = [report.step for report in reports if report.heldout_loss is not None]
    assert evaluated == list(range(4, 41, 4))


def test_a_loss_that_is_not_finite_stops_the_run(tiny_store: Path, tmp_path: Path) -> None:
    chosen = settings("checkpoint.every_steps=1")
    trained(chosen, tiny_store, tmp_path / "a", stop_after=2)
    run = opened(chosen, tiny_store, tmp_path / "a")
    with torch.no_grad():
        run.model.head.bias[7] = float("nan")
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    coordinates = r"loss is not finite at step 2 \(seed 0, epoch 0, window 0, rows 16 to 23\)"
    with pytest.raises(TrainingError, match=coordinates):
        list(train(run))
    after = run.model.state_dict()
    assert all(torch.equal(before[k].nan_to_num(), after[k].nan_to_num()) for k in before)
    kept = sorted(path.name for path in (tmp_path / "a" / "checkpoints").iterdir())
    assert kept == ["step-000001", "step-000002"]
    trained(chosen, tiny_store, tmp_path / "a")


def test_a_rate_far_too_large_is_stopped(tiny_store: Path, tmp_path: Path) -> None:
    chosen = settings("optim.learning_rate=1e38", "budget.steps=20", "schedule.warmup=0", "schedule.kind=constant")
    with pytest.raises(TrainingError, match="not finite at step") as caught:
        trained(chosen, tiny_store, tmp_path / "a")
    assert "\n" not in str(caught.value)


def emptied(example: Example) -> Example:
    return replace(example, labels=torch.full_like(example.labels, -100))


def test_a_step_with_nothing_to_predict_changes_nothing(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(settings("optim.weight_decay=0"), tiny_store, tmp_path / "a")
    step = run.batches.step

    def nothing(cursor: Cursor, rate: float):
        data = step(cursor, rate)
        return replace(data, micro_batches=[emptied(one) for one in data.micro_batches], counts={"mlm": 0})

    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    monkeypatch.setattr(run.batches, "step", nothing)
    (report,) = train(run, stop_after=1)
    assert (report.loss, report.accuracy, report.gradient_norm) == (0.0, 0.0, 0.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.model.state_dict().items())


def test_a_part_of_a_step_may_have_nothing_to_predict(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(settings(), tiny_store, tmp_path / "a")
    step = run.batches.step

    def mostly(cursor: Cursor, rate: float):
        data = step(cursor, rate)
        first, *others = data.micro_batches
        parts = [*(emptied(other) for other in others), first]
        return replace(data, micro_batches=parts, counts={"mlm": int(first.predicted.sum())})

    monkeypatch.setattr(run.batches, "step", mostly)
    (report,) = train(run, stop_after=1)
    assert 0 < report.loss < 20
    assert all(tensor.isfinite().all() for tensor in run.model.state_dict().values())


# --- budgets ---


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_minutes_become_steps_once_and_the_rehearsal_leaves_no_trace(
    precision: str, tiny_store: Path, tmp_path: Path
) -> None:
    common = (f"run.precision={precision}", "optim.name=muon")
    timed = settings(*common, "budget.steps=none", "budget.minutes=0.005")
    run = opened(timed, tiny_store, tmp_path / "timed")
    steps = run.num_steps
    assert json.loads((tmp_path / "timed" / "run.json").read_text())["num_steps"] == steps
    list(train(run, stop_after=1))
    again = opened(timed, tiny_store, tmp_path / "timed")
    assert (again.num_steps, again.step) == (steps, 1)
    list(train(again))
    trained(settings(*common, f"budget.steps={steps}"), tiny_store, tmp_path / "counted")
    assert_equal_runs(tmp_path / "timed", tmp_path / "counted")


def test_tokens_become_steps(tiny_store: Path, tmp_path: Path) -> None:
    chosen = settings("budget.steps=none", "budget.tokens=1300")
    with closing(opened(chosen, tiny_store, tmp_path / "a")) as run:
        assert run.num_steps == 5


def test_a_disk_error_in_the_journal_is_said_in_one_line(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(settings(), tiny_store, tmp_path / "a")

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run._writers[0], "write", full)
    with pytest.raises(DataError, match="No space left on device"):
        list(train(run))


def test_tensorboard_mirrors_the_journal_over_a_resume(tiny_store: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    chosen = settings("run.tensorboard=true", "budget.steps=3")
    trained(chosen, tiny_store, tmp_path / "a", stop_after=2)
    trained(chosen, tiny_store, tmp_path / "a")
    read = events.EventAccumulator(str(tmp_path / "a" / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in read.Scalars("loss")]
    expected = [(each["step"], pytest.approx(each["loss"])) for each in tiny_runs.journal(tmp_path / "a")]
    assert losses == expected
