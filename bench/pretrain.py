"""Pretraining throughput beside transformers' Trainer: same machine, rows, shapes and tokens per step.

    python -m bench.pretrain --text corpus.txt          (or: make bench ARGS='--text corpus.txt')

Each side is a process of its own; the sides take turns (A B A B), so that a machine that slows down slows
both, and the table gives medians. `python -m bench.ours` has the command line and the result of the peer.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.rows import random_rows, rows_of
from bench.workload import Result

ROOT = Path(__file__).resolve().parents[1]
OURS, PEER = "bench.ours", "bench.peer_trainer"


@dataclass(frozen=True)
class Row:
    """One line of the table: a workload, and what each side turns on."""

    name: str
    shape: str
    kind: str
    rows_per_step: int
    steps: int
    ours: tuple[str, ...]
    peer: tuple[str, ...]
    family: str = "bert"


DEFAULTS = ("--dropout", "0.1", "--precision", "fp32")  # what Trainer does when told nothing
WITHOUT_DROPOUT = ("--dropout", "0", "--precision", "fp32")  # the default of ALBERT and ModernBERT
BEST = ("--dropout", "0", "--precision", "auto")  # what it can do; add --compile with --compile
FAST = ("--dropout", "0", "--precision", "auto")

TABLE = (
    Row("tiny, defaults", "tiny", "grouped", 32, 20, FAST, DEFAULTS),
    Row("tiny, best", "tiny", "grouped", 32, 20, FAST, BEST),
    Row("tiny, like with like", "tiny", "grouped", 32, 20, DEFAULTS, DEFAULTS),
    Row("tiny, one sentence per document", "tiny", "sentences", 128, 20, FAST, DEFAULTS),
    Row("tiny, one sentence, best", "tiny", "sentences", 128, 20, FAST, BEST),
    Row("small, defaults", "small", "grouped", 32, 8, FAST, DEFAULTS),
    Row("small, best", "small", "grouped", 32, 8, FAST, BEST),
    *(
        Row(f"family {family}", "tiny", "grouped", 32, 12, FAST, defaults, family)
        for family, defaults in (
            ("bert", DEFAULTS),
            ("roberta", DEFAULTS),
            ("albert", WITHOUT_DROPOUT),
            ("distilbert", DEFAULTS),
            ("electra", DEFAULTS),
            ("modernbert", WITHOUT_DROPOUT),
        )
    ),
)


def main() -> None:
    options = parse_options()
    chosen = [row for row in TABLE if any(part in row.name for part in options.only)] if options.only else TABLE
    print(f"{machine()}, commit {commit()}, {options.repeats} turns each; real tokens, padding not counted\n")
    print(HEADER)
    for row in chosen:
        print(line(row, *measure(row, options)), flush=True)


def parse_options() -> argparse.Namespace:
    parse = argparse.ArgumentParser(description="pretraining throughput beside transformers' Trainer")
    parse.add_argument("--text", type=Path, nargs="+", default=[], help="corpus (.txt or .jsonl, .xz, .gz)")
    parse.add_argument("--only", nargs="+", default=[], help="rows whose name holds one of these")
    parse.add_argument("--repeats", type=int, default=2, help="turns of each side")
    parse.add_argument("--steps", type=int, default=0, help="measured steps, instead of the table's")
    parse.add_argument("--warm-up", type=int, default=3)
    parse.add_argument("--compile", action="store_true", help="torch.compile on both sides (not for defaults)")
    parse.add_argument("--peer-only", action="store_true", help="measure only transformers")
    parse.add_argument("--threads", type=int, default=0)
    parse.add_argument("--folder", type=Path, default=ROOT / "runs" / "bench", help="where rows are kept")
    return parse.parse_args()


def measure(row: Row, options: argparse.Namespace) -> tuple[list[Result], list[Result]]:
    """Let the sides take turns on the same rows; fresh rows in every step, none seen twice."""
    steps = options.steps or row.steps
    count = (steps + options.warm_up) * row.rows_per_step
    make = (row.shape, row.kind, count, options.folder)
    path = rows_of(row.shape, row.kind, options.text, count, options.folder) if options.text else random_rows(*make)
    common: tuple[str, ...] = (
        str(path),
        "--shape",
        row.shape,
        "--family",
        row.family,
        "--rows-per-step",
        str(row.rows_per_step),
    )
    common += ("--steps", str(steps), "--warm-up", str(options.warm_up), "--threads", str(options.threads))
    ours: list[Result] = []
    peer: list[Result] = []
    for turn in range(options.repeats):
        if not options.peer_only:
            ours.append(run(OURS, (*common, *switches(row.ours, options), "--seed", str(turn))))
        peer.append(run(PEER, (*common, *switches(row.peer, options), "--seed", str(turn))))
    return ours, peer


def switches(side: tuple[str, ...], options: argparse.Namespace) -> tuple[str, ...]:
    return (*side, "--compile") if options.compile and side != DEFAULTS else side


def run(module: str, arguments: Sequence[str]) -> Result:
    """Run one side in its own process and read its last line."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return Result(**json.loads(done.stdout.strip().splitlines()[-1]))


HEADER = """\
| benchmark | ours, tokens/s | Trainer, tokens/s | ratio | peak memory | ours turns on | Trainer turns on |
|---|--:|--:|--:|--:|---|---|"""


def line(row: Row, ours: Sequence[Result], peer: Sequence[Result]) -> str:
    """One line of the table: medians over the turns, memory as ours / Trainer's."""
    theirs, their_peak = speed(peer), peak(peer)
    shown = [row.name, "-", f"{theirs:,.0f}", "-", f"- / {their_peak:.2f} GB", "-", turned_on(peer[0])]
    if ours:
        shown[1], shown[3] = f"{speed(ours):,.0f}", f"{speed(ours) / theirs:.2f}x"
        shown[4] = f"{peak(ours):.2f} / {their_peak:.2f} GB ({peak(ours) / their_peak:.2f}x)"
        shown[5] = turned_on(ours[0])
    return f"| {' | '.join(shown)} |"


def speed(results: Sequence[Result]) -> float:
    return statistics.median(result.tokens_per_second for result in results)


def peak(results: Sequence[Result]) -> float:
    return max(result.peak_rss_bytes for result in results) / 1e9


def turned_on(result: Result) -> str:
    """What a side says it used, the precision it chose included."""
    used = result.settings
    precision = used.get("computed_in", used["precision"])
    attention = [used["attention"]] if result.side == "transformers" else []
    share = [f"{used['peak_share']:.0%} of matrix peak"] if "peak_share" in used else []
    parts = [precision, f"dropout {used['dropout']:g}", *attention, *share]
    return ", ".join([*parts, *(["compiled"] if used["compile"] else []), f"{result.padding:.0%} padding"])


def machine() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [each for each in info.read_text().splitlines() if each.startswith("model name")]
        model = named[0].partition(":")[2].strip() if named else model
    return f"{model}, {os.cpu_count()} cores"


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "none"


if __name__ == "__main__":
    main()
