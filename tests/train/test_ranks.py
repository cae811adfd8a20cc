"""Several processes train what one does: the same losses, the same weights but for the order of sums."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from clozelm.errors import SettingsError
from clozelm.train.ranks import Ranks, _buckets
from clozelm.train.run import Run
from tests import tiny_runs

pytestmark = pytest.mark.usefixtures("known_machine")

PLAIN = ("model.dropout=0", "model.attention_dropout=0")
ELECTRA = ("model.family=electra", "model.embedding_size=16", "objective.name=rtd", "objective.rtd.generator=0.5")


def started(recipe: Path, store: Path, out: Path, *overrides: str, world: int = 2) -> list[subprocess.Popen[str]]:
    """The command as torchrun starts it: a process for each rank, told where the others are."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [*tiny_runs.CLOZE, "pretrain", str(recipe), "--data", str(store), "--out", str(out)]
    command += [part for override in overrides for part in ("--set", override)]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
    return [
        subprocess.Popen(
            command,
            env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def finished(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    ended = []
    for process in processes:
        out, error = process.communicate(timeout=200)
        ended.append((process.returncode, out, error))
    return ended


def assert_alike(one: Path, other: Path) -> None:
    """Equal but for rounding, and for what an update makes of it."""
    for ours, theirs in zip(tiny_runs.journal(one), tiny_runs.journal(other), strict=True):
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if ours[key] is None] == [key for key in theirs if theirs[key] is None]
        known = [key for key in theirs if theirs[key] is not None]
        assert [ours[key] for key in known] == pytest.approx([theirs[key] for key in known], rel=1e-4, abs=1e-5)
        assert [ours[key] for key in ("tokens", "predictions", "tokens_seen")] == [
            theirs[key] for key in ("tokens", "predictions", "tokens_seen")
        ]
    ours_, theirs_ = tiny_runs.weights(one), tiny_runs.weights(other)
    assert all(torch.allclose(ours_[name], theirs_[name], rtol=1e-3, atol=2e-5) for name in theirs_)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(PLAIN, id="mlm"),
        pytest.param((*PLAIN, "objective.name=nsp", "optim.name=muon"), id="nsp with muon", marks=pytest.mark.slow),
        pytest.param((*PLAIN, *ELECTRA), id="rtd", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_what_one_does(overrides: tuple[str, ...], tiny_store: Path, tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    tiny_runs.trained(tiny_runs.settings(*overrides), tiny_store, alone)
    first, second = finished(started(tiny_runs.recipe(tmp_path), tiny_store, shared, *overrides))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "Model:" in first[1]
    assert second[1] == ""
    assert_alike(shared, alone)


@pytest.mark.slow
def test_two_processes_go_on_bit_by_bit(tiny_store: Path, tmp_path: Path) -> None:
    """With dropout, which each rank draws for itself; stopped by a signal to either."""
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    recipe, more = tiny_runs.recipe(tmp_path), "budget.steps=60"
    assert [code for code, _, _ in finished(started(recipe, tiny_store, straight, more))] == [0, 0]
    processes = started(recipe, tiny_store, cut, more)
    journal = cut / "journal.jsonl"
    end = time.monotonic() + 100
    while (not journal.exists() or journal.read_text().count("\n") < 3) and time.monotonic() < end:
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGTERM)
    stopped = finished(processes)
    assert [code for code, _, _ in stopped] == [0, 0], stopped
    assert "the same command resumes it" in stopped[0][1]
    assert [code for code, _, _ in finished(started(recipe, tiny_store, cut, more))] == [0, 0]
    tiny_runs.assert_equal_runs(cut, straight)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("data.tokens_per_step=96", "makes 3 rows, which 2 processes cannot share evenly: use a multiple of 64"),
        ("masking.strategy=adaptive", "learns from the predictions of one process: start cloze without torchrun"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    overrides: str, message: str, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ranks, "agree", lambda _, find: find())
    monkeypatch.setattr(Ranks, "joined", lambda: Ranks(0, 2))
    with pytest.raises(SettingsError, match=message):
        Run.open(tiny_runs.settings(overrides), data=tiny_store, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mistake_that_the_first_finds_ends_all(tiny_store: Path, tmp_path: Path) -> None:
    recipe, out = tiny_runs.recipe(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    ended = finished(started(recipe, tiny_store, out))
    assert [code for code, _, _ in ended] == [2, 2], ended
    assert "is not empty and holds no run" in ended[0][2]
    assert ended[1][2] == ""


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = Ranks.joined()
    assert alone == Ranks(0, 1)
    assert alone.is_first
    assert alone.key == ()
    assert alone.sums([3, 0.5]) == [3, 0.5]
    assert alone.any(True, False) == (True, False)
    assert alone.agree(lambda: 7) == 7


@pytest.mark.parametrize("world", ["two", "2"])
def test_processes_that_cannot_be_joined_are_a_mistake(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(SettingsError, match=f"WORLD_SIZE={world} speaks of cannot be joined .*with torchrun"):
        Ranks.joined()


def test_messages_hold_all_gradients_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clozelm.train.ranks._BUCKET", 10)
    sizes = [4, 5, 3, 20, 1, 1]
    buckets = list(_buckets([torch.zeros(size) for size in sizes]))
    assert [[each.numel() for each in bucket] for bucket in buckets] == [[4, 5], [3], [20], [1, 1]]
    assert not list(_buckets([]))


@pytest.mark.slow
def test_torchrun_starts_it(tiny_store: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [*("-m", "clozelm", "pretrain", str(tiny_runs.recipe(tmp_path)), "--steps", "2")]
    command += [*("--data", str(tiny_store), "--out", str(tmp_path / "out"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Model:") == 1
    assert len(tiny_runs.journal(tmp_path / "out")) == 2
