"""The journal: every line at once, torn lines cut, the same after a resume as without one."""

import json
import subprocess
import sys

import pytest

from clozelm.errors import DataError
from clozelm.train.journal import Journal, TensorBoard, numbered, records


def _steps(path):
    return [record["step"] for record in records(path)]


def _filled(path, last):
    with Journal(path) as journal:
        for step in range(1, last + 1):
            journal.write({"step": step, "loss": 1 / step})
            if step % 2 == 0:
                journal.write({"step": step, "kind": "held out"})
    return path


def test_a_record_is_readable_as_soon_as_it_is_written(tmp_path):
    journal = Journal(tmp_path / "new" / "journal.jsonl")
    journal.write({"step": 1, "loss": 2.5, "probe": "naïve 机器", "done": True})
    journal.sync()
    assert list(records(tmp_path / "new" / "journal.jsonl")) == [
        {"step": 1, "loss": 2.5, "probe": "naïve 机器", "done": True}
    ]
    journal.close()


def test_resumed_journal_equals_the_uninterrupted_one(tmp_path):
    whole = _filled(tmp_path / "whole.jsonl", 9).read_bytes()
    path = _filled(tmp_path / "journal.jsonl", 7)
    with open(path, "ab") as file:
        file.write(b'{"step": 8, "lo')
    with Journal(path, resumed_step=4) as journal:
        for step in range(5, 10):
            journal.write({"step": step, "loss": 1 / step})
            if step % 2 == 0:
                journal.write({"step": step, "kind": "held out"})
    assert path.read_bytes() == whole


def test_resume_before_the_first_step_starts_anew(tmp_path):
    path = _filled(tmp_path / "journal.jsonl", 3)
    Journal(path, resumed_step=0).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("torn", [b'{"step": 4', b'{"step": 4}', b"\xff", b"4"])
def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path, torn):
    path = _filled(tmp_path / "journal.jsonl", 3)
    with open(path, "ab") as file:
        file.write(torn)
    assert _steps(path)[:4] == [1, 2, 2, 3]
    with Journal(path) as journal:
        journal.write({"step": 9})
    assert _steps(path) == [1, 2, 2, 3, 9]


def test_a_damaged_line_inside_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"journal\.jsonl:2: not a journal record"):
        list(records(path))


@pytest.mark.parametrize("step", ['"x"', "1.5", "true", "null"])
def test_a_step_is_a_whole_number(tmp_path, step):
    path = tmp_path / "journal.jsonl"
    path.write_text(f'{{"step": 1}}\n{{"step": {step}, "loss": 2.0}}\n{{"note": 3}}\n')
    assert list(numbered(path)) == [(1, {"step": 1}), (2, None), (3, {"note": 3})]
    with pytest.raises(DataError, match=r"journal\.jsonl:2: not a journal record"):
        list(records(path))


def test_numbers_without_json_become_null(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.write({"step": 1, "loss": float("nan"), "norm": float("inf")})
    assert json.loads((tmp_path / "journal.jsonl").read_text()) == {"step": 1, "loss": None, "norm": None}


def test_tensorboard_shows_the_numbers_of_a_record(tmp_path):
    """In a process of its own: tensorboard's imports are not free of warnings."""
    script = """
import sys
from clozelm.train.journal import TensorBoard
assert "tensorboard" not in sys.modules
board = TensorBoard(sys.argv[1], resumed_step=3)
board.write({"probe": "no step"})
assert "tensorboard" not in sys.modules
board.write({"step": 4, "loss": 2.5, "tokens": 7, "nan": float("nan"), "text": "x", "flag": True})
board.close()
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]); events.Reload()
assert events.Tags()["scalars"] == ["loss", "tokens"], events.Tags()
assert [(e.step, e.value) for e in events.Scalars("loss")] == [(4, 2.5)]
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "tb"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_closing_an_unused_tensorboard_writes_nothing(tmp_path):
    TensorBoard(tmp_path / "tb").close()
    assert not (tmp_path / "tb").exists()
