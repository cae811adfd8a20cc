"""Checkpoints: whole or not there, whatever happens while they are written or lie on the disk."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from clozelm.errors import DataError
from clozelm.train import checkpoint
from clozelm.train.checkpoint import newest, states, write


def _payload(step=0):
    generator = torch.Generator().manual_seed(step)
    return {
        "model": {"a": torch.randn(4, 3, generator=generator), "b": torch.randn(3, 4).mT.bfloat16()},
        "state": {
            "cursor": {"epoch": 1, "row": step},
            "rates": [0.1, (0.9, 0.98)],
            7: torch.tensor(3),
            "x": None,
        },
    }


def _names(root):
    return sorted(path.name for path in (root / "checkpoints").iterdir())


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_comes_back_as_it_was_written(tmp_path):
    payload = _payload(5)
    written = write(tmp_path, 5, payload, {"settings": {"seed": 1}}, keep=2)
    found, notices = newest(tmp_path)
    assert notices == []
    assert found == written
    assert (found.step, found.meta) == (5, {"settings": {"seed": 1}})
    model, state = found.load("model"), found.load("state")
    assert all(torch.equal(model[key], payload["model"][key]) for key in ("a", "b"))
    assert torch.equal(state.pop(7), payload["state"].pop(7))
    assert state == payload["state"]


def test_only_the_newest_are_kept_in_order_of_steps(tmp_path):
    for step in (999_998, 999_999, 1_000_000, 1_000_001):
        write(tmp_path, step, _payload(), {}, keep=2)
    assert _names(tmp_path) == ["step-1000000", "step-1000001"]
    assert newest(tmp_path)[0].step == 1_000_001


def test_without_checkpoints_there_is_none(tmp_path):
    assert newest(tmp_path) == (None, [])
    (tmp_path / "checkpoints").mkdir()
    assert newest(tmp_path) == (None, [])


def _flip_model(path):
    _flip(path / "model.safetensors")


def _flip_state(path):
    _flip(path / "state.pt")


def _flip_manifest(path):
    _flip(path / "manifest.json")


def _shorten(path):
    os.truncate(path / "state.pt", 10)


def _lose(path):
    (path / "model.safetensors").unlink()


def _lose_manifest(path):
    (path / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_flip_model, "checksum of model.safetensors"),
        (_flip_state, "checksum of state.pt"),
        (_flip_manifest, "manifest.json is damaged"),
        (_shorten, "state.pt has 10 bytes instead of"),
        (_lose, "model.safetensors is missing"),
        (_lose_manifest, "manifest.json is missing"),
    ],
)
def test_a_damaged_newest_is_said_and_the_one_before_used(tmp_path, harm, said):
    write(tmp_path, 1, _payload(), {}, keep=3)
    harm(write(tmp_path, 2, _payload(), {}, keep=3).path)
    found, notices = newest(tmp_path)
    assert found.step == 1
    assert len(notices) == 1
    assert said in notices[0]
    assert newest(tmp_path) == (found, [])
    assert _names(tmp_path) == ["damaged-step-000002", "step-000001"]
    assert write(tmp_path, 2, _payload(), {}, keep=3) == newest(tmp_path)[0]


def test_looking_changes_nothing(tmp_path):
    assert list(states(tmp_path)) == []
    first = write(tmp_path, 1, _payload(), {}, keep=3).path
    _flip_model(write(tmp_path, 2, _payload(), {}, keep=3).path)
    (tmp_path / "checkpoints" / ".tmp-step-000003").mkdir()
    before = _names(tmp_path)
    found = list(states(tmp_path))
    assert [path.name for path, _ in found] == ["step-000002", "step-000001"]
    assert "checksum of model.safetensors" in found[0][1]
    assert found[1] == (first, None)
    assert _names(tmp_path) == before


def test_a_checkpoint_dropped_meanwhile_is_no_damage(tmp_path):
    for step in (1, 2):
        write(tmp_path, step, _payload(), {}, keep=3)
    seen = states(tmp_path)
    assert next(seen)[1] is None
    shutil.rmtree(tmp_path / "checkpoints" / "step-000001")
    assert list(seen) == []


def test_when_all_are_damaged_there_is_none(tmp_path):
    _flip_model(write(tmp_path, 1, _payload(), {}, keep=3).path)
    found, notices = newest(tmp_path)
    assert found is None
    assert "none before it" in notices[0]


def test_a_damaged_one_of_the_same_step_is_replaced_and_a_whole_one_stays(tmp_path):
    first = write(tmp_path, 1, _payload(), {"try": 1}, keep=3)
    assert write(tmp_path, 1, _payload(), {"try": 2}, keep=3) == first
    _flip_model(first.path)
    assert write(tmp_path, 1, _payload(), {"try": 2}, keep=3).meta == {"try": 2}


def test_left_overs_are_removed(tmp_path):
    write(tmp_path, 1, _payload(), {}, keep=3)
    left = tmp_path / "checkpoints" / ".tmp-step-000002"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert newest(tmp_path)[0].step == 1
    assert not left.exists()


@pytest.mark.parametrize("part", ["model", "state"])
def test_a_full_disk_is_said_and_costs_nothing(tmp_path, monkeypatch, part):
    write(tmp_path, 1, _payload(), {}, keep=1)
    original = checkpoint._DigestedFile.write

    def full(self, content):
        if os.path.basename(self._file.name).startswith(part):
            self._file = _Full(self._file)
        return original(self, content)

    class _Full:
        def __init__(self, file):
            self.name = file.name

        def write(self, content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def flush(self):
            pass

    monkeypatch.setattr(checkpoint._DigestedFile, "write", full)
    with pytest.raises(DataError, match=r"step-000002: No space left.*step-000001, is kept"):
        write(tmp_path, 2, _payload(), {}, keep=1)
    monkeypatch.undo()
    assert _names(tmp_path) == ["step-000001"]
    assert newest(tmp_path)[0].step == 1


def test_objects_with_code_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"state\.path is a PosixPath"):
        write(tmp_path, 1, {"state": {"path": tmp_path}}, {}, keep=1)
    assert newest(tmp_path) == (None, [])


WRITER = """
import sys, pathlib, torch
torch.set_num_threads(1)
from clozelm.train.checkpoint import newest, write
root = pathlib.Path(sys.argv[1])
found, notices = newest(root)
assert not notices, notices
step = 0 if found is None else found.step
print("ready", flush=True)
while True:
    step += 1
    tensors = {"weight": torch.full((300, 100), float(step))}
    write(root, step, {"model": tensors, "state": {"step": step, "nested": tensors}}, {"step": step}, keep=1)
    print(step, flush=True)
"""


def test_kill_at_any_moment_leaves_the_last_good_one(tmp_path):
    """With one checkpoint kept, the hardest case; at most the one being written is lost."""
    draw = random.Random(0)
    reached = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.02, 0.15))
        process.send_signal(signal.SIGKILL)
        said = [line for line in process.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
        reached = int(said[-1]) if said else reached
        found, notices = newest(tmp_path)
        assert notices == []
        if reached:
            assert found.step in (reached, reached + 1)
            assert float(found.load("model")["weight"][0, 0]) == found.step == found.load("state")["step"]
            reached = found.step
    assert reached > 3
