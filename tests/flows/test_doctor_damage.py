"""What the doctor says of damaged files: a finding, or one line where nothing can be told; never a traceback."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clozelm.errors import DataError
from clozelm.flows.doctor import examine
from clozelm.flows.doctor_data import DATA_CHECKS
from clozelm.flows.doctor_finding import Diagnosis, Finding
from clozelm.flows.doctor_run import RUN_CHECKS
from clozelm.text.atomic import alone
from tests import tiny_runs
from tests.flows.faults import STEPS, named, write_run


@pytest.fixture(scope="module")
def begun(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped at step 4 of 6, with checkpoints of steps 2 and 4; do not write to it."""
    return trained(tiny_store, tmp_path_factory.mktemp("begun") / "run", stop_after=4)


@pytest.fixture(scope="module")
def finished(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run at its end; do not write to it."""
    return trained(tiny_store, tmp_path_factory.mktemp("finished") / "run")


def trained(store: Path, out: Path, stop_after: int | None = None) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clozelm.train.run.matrix_rate", lambda *_, **__: 1e11)
        tiny_runs.trained(tiny_runs.settings("checkpoint.every_steps=2"), store, out, stop_after)
    return out


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "run"))


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "done"))


def only(found: Diagnosis, check: str) -> Finding:
    finding = named(found, check)
    assert finding is not None, (found.findings, found.not_checked)
    assert finding.why
    assert finding.do
    return finding


def content(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def cut(file: Path, size: int = 100) -> None:
    os.truncate(file, size)


# Models.


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("model.safetensors", None, "is damaged or cut short"),
        ("config.json", "[]", "must hold a JSON object"),
        ("config.json", "{", "cannot be read as JSON"),
        ("config.json", "{}", "names neither a model_type"),
    ],
)
def test_a_damaged_model_is_the_same_error_in_its_run_and_alone(
    file: str, text: str | None, says: str, done: Path
) -> None:
    assert examine(done).worst() != "error"
    if text is None:
        cut(done / "model" / file)
    else:
        (done / "model" / file).write_text(text, encoding="utf-8")
    in_run, alone_ = examine(done), examine(done / "model")
    for found in (in_run, alone_):
        finding = only(found, "opens")
        assert finding.severity == "error"
        assert finding.what.startswith("The model cannot be opened: ")
        assert says in finding.what
        assert found.not_checked["same answer"] == "the model does not open"
    assert only(in_run, "opens").what == only(alone_, "opens").what
    assert "loss" in in_run.facts


def test_a_model_without_its_configuration(done: Path) -> None:
    (done / "model" / "config.json").unlink()
    assert "holds no config.json" in only(examine(done), "opens").what


def test_a_model_started_again_is_whole_again(done: Path, tiny_store: Path) -> None:
    """What the finding advises."""
    cut(done / "model" / "model.safetensors")
    assert "`cloze pretrain` again" in only(examine(done), "opens").do
    trained(tiny_store, done)
    assert named(examine(done), "opens") is None


@pytest.mark.usefixtures("known_machine")
@pytest.mark.parametrize(
    ("settings", "others"),
    [
        (
            ["objective.name=span_corruption", "masking.schedule=constant", "masking.rate_end=none"],
            ("model", "seq2seq"),
        ),
        (["objective.name=rtd", "model.family=electra"], ("generator", "model")),
    ],
)
def test_every_model_of_a_run_is_opened(
    settings: list[str], others: tuple[str, ...], tiny_store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    tiny_runs.trained(tiny_runs.settings("budget.steps=1", *settings), tiny_store, out)
    assert named(examine(out), "opens") is None
    for name in others:
        file = out / name / "model.safetensors"
        whole = file.read_bytes()
        cut(file)
        assert str(file) in only(examine(out), "opens").what
        file.write_bytes(whole)


# Checkpoints.


def test_whole_checkpoints_have_no_finding(begun: Path, finished: Path) -> None:
    for path in (begun, finished):
        found = examine(path)
        assert {"checkpoints", "journal"} <= set(found.passed), (found.findings, found.not_checked)


def tear_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]", encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: cut(folder / "model.safetensors"), "model.safetensors has 100 bytes instead of"),
        (tear_manifest, "manifest.json is damaged"),
        (lambda folder: (folder / "optimisers.pt").unlink(), "optimisers.pt is missing"),
    ],
)
def test_a_damaged_newest_checkpoint(harm: Callable[[Path], Any], says: str, run: Path) -> None:
    harm(run / "checkpoints" / "step-000004")
    before = content(run)
    finding = only(examine(run), "checkpoints")
    assert finding.severity == "warning"
    assert f"step-000004: {says}" in finding.what
    assert "of step 2" in finding.what
    assert content(run) == before
    shutil.rmtree(run / "checkpoints" / "step-000002")
    finding = only(examine(run), "checkpoints")
    assert finding.severity == "error"
    assert "4 of 6 steps were done" in finding.what
    assert says in finding.what


def test_a_damaged_older_checkpoint_is_a_note(run: Path) -> None:
    tear_manifest(run / "checkpoints" / "step-000002")
    assert only(examine(run), "checkpoints").severity == "note"


def test_a_finished_run_needs_no_checkpoint(done: Path) -> None:
    tear_manifest(done / "checkpoints" / "step-000006")
    assert only(examine(done), "checkpoints").severity == "note"
    shutil.rmtree(done / "checkpoints")
    assert "checkpoints" in examine(done).passed


def test_removed_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints" / "step-000004")
    with (run / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(tiny_runs.journal(run)[-1] | {"step": 5}) + "\n")
    assert "one that was due" in only(examine(run), "checkpoints").what
    shutil.rmtree(run / "checkpoints" / "step-000002")
    assert only(examine(run), "checkpoints").severity == "error"
    shutil.rmtree(run / "checkpoints")
    assert only(examine(run), "checkpoints").severity == "error"


def test_the_first_checkpoint_of_a_run_that_goes_on_is_waited_for(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    first = (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()[0]
    (run / "journal.jsonl").write_text(f"{first}\n", encoding="utf-8")
    with alone(run):
        assert examine(run).not_checked["checkpoints"] == "the first checkpoint is still to come"
    assert only(examine(run), "checkpoints").severity == "error"


# Journals.


@pytest.mark.parametrize("text", [None, "", '{"ste'])
def test_a_journal_that_is_gone(text: str | None, run: Path, done: Path) -> None:
    for path in (run, done):
        if text is None:
            (path / "journal.jsonl").unlink(missing_ok=True)
        else:
            (path / "journal.jsonl").write_text(text, encoding="utf-8")
        finding = only(examine(path), "journal")
        assert "is missing" in finding.what if text is None else "is empty" in finding.what


def test_lines_that_are_no_records(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run" / "journal.jsonl").write_text('{"step":1}\n{"step":"x","loss":"y"}\n[]\n', encoding="utf-8")
    found = examine(tmp_path / "run")
    assert "journal.jsonl:2: not a journal record, and 1 more like it." in only(found, "journal").what
    assert found.facts["steps"] == f"1 of {STEPS}"


def everything(value: object) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        record.update({name: value for name in record if name not in ("step", "num_steps")})

    return change


def from_half(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.update({name: value}) if record["step"] > STEPS // 2 else None


ODD = [None, math.nan, math.inf, -math.inf, "y", True, [1], 10**400, 0, -1]


@pytest.mark.parametrize("value", ODD, ids=lambda value: str(value)[:8])
def test_a_journal_of_odd_values(value: object, tmp_path: Path) -> None:
    """Whatever stands in it: no check and no fact fails, and what is no finite loss is found."""
    names = [
        "loss",
        "gradient_norm",
        "heldout_loss",
        "predictions",
        "mask_rate",
        "peak_share",
        "tokens_seen",
        "seconds",
    ]
    changes = [everything(value), *(from_half(name, value) for name in names)]
    changes += [lambda record, name=name: record.pop(name, None) for name in names]
    for number, change in enumerate(changes):
        write_run(tmp_path / str(number), change)
        found = examine(tmp_path / str(number))
        assert json.dumps(found.plain(), allow_nan=False)
        assert set(RUN_CHECKS) <= {*found.passed, *found.not_checked, *(one.check for one in found.findings)}
        if number < 3 and value not in (0, -1):
            assert only(found, "finite loss").severity == "error"


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_run_that_diverged_at_once(value: float | None, tmp_path: Path) -> None:
    """Not one loss is a number; the held-out loss is infinite where it was measured."""

    def change(record: dict[str, Any]) -> None:
        record["loss"] = value
        record["heldout_loss"] = math.inf if record["heldout_loss"] else None

    write_run(tmp_path / "run", change)
    found = examine(tmp_path / "run")
    assert "not finite in 400 steps, first at step 1." in only(found, "finite loss").what
    assert found.facts["loss"] == "none"
    assert "divergence" in found.not_checked
    assert "evaluation" in found.passed


def test_a_held_out_loss_that_is_no_number(tmp_path: Path) -> None:
    write_run(tmp_path / "run", lambda one: one.update(heldout_loss=math.inf) if one["step"] == 200 else None)
    assert only(examine(tmp_path / "run"), "finite loss").what.startswith(
        "The held-out loss is not finite in 1 steps"
    )


# Records of runs.


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"settings": 3, "data": "x", "num_steps": 6, "precision": "fp32"}']
)
def test_a_damaged_record_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        examine(tmp_path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("num_steps",), None),
        (("num_steps",), 0),
        (("precision",), "fp7"),
        (("unigram_nats",), "x"),
        (("settings", "optim"), 3),
        (("settings", "optim", "learning_rate"), "x"),
    ],
)
def test_a_record_with_an_odd_value(place: tuple[str, ...], value: object, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    here = record
    for name in place[:-1]:
        here = here[name]
    here[place[-1]] = value
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        examine(tmp_path / "run")


def test_a_setting_that_is_no_more_is_no_damage(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    record["settings"]["model"]["colour"] = "red"
    record["settings"]["garden"] = {}
    file.write_text(json.dumps(record), encoding="utf-8")
    assert examine(tmp_path / "run").facts["steps"] == f"{STEPS} of {STEPS}"


# Token stores.


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


@pytest.mark.parametrize(
    "file", ["tokens-00000.bin", "unigrams.bin", "held_out/tokens-00000.bin", "flags-00000.bin"]
)
def test_a_store_is_verified_before_it_is_used(file: str, store: Path, finished: Path) -> None:
    raw = np.fromfile(store / file, np.uint8)
    raw[:] = 255
    raw.tofile(store / file)
    found = examine(store)
    finding = only(found, "damaged files")
    assert f"{store / file} is damaged (wrong checksum)" in finding.what
    assert set(found.not_checked) == set(DATA_CHECKS) - {"damaged files"}
    assert "tokens" in found.facts
    with pytest.raises(DataError, match="is damaged"):
        examine(finished, data=store)


@pytest.mark.parametrize("file", ["tokens-00000.bin", "lengths.bin", "tokenizer/tokenizer.json"])
def test_a_store_that_does_not_open(file: str, store: Path) -> None:
    cut(store / file, 10)
    finding = only(examine(store), "opens")
    assert finding.severity == "error"
    assert "The token store cannot be opened: " in finding.what


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_torn_manifest_is_named(text: str, store: Path, tmp_path: Path) -> None:
    (store / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        examine(store)
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        examine(tmp_path)


def test_a_checkpoint_is_no_damaged_store(begun: Path) -> None:
    with pytest.raises(DataError, match="no token store"):
        examine(begun / "checkpoints" / "step-000004")


def test_rows_that_no_store_could_fill_are_refused(tiny_store: Path, finished: Path) -> None:
    for arguments in ({"path": tiny_store}, {"path": finished, "data": tiny_store}):
        with pytest.raises(DataError, match="too few to fill one row of 99999999999"):
            examine(**arguments, row_length=99999999999)
