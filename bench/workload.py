"""What both sides of a benchmark share: model shapes, the command line, rows from disk, the result line."""

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

PAD, UNK, CLS, SEP, MASK = range(5)
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Shape:
    """A BERT encoder; positions are learned, the vocabulary is tied."""

    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    vocab_size: int
    max_positions: int = 512


SHAPES = {
    "tiny": Shape(num_layers=4, hidden_size=256, num_heads=4, intermediate_size=1024, vocab_size=16_000),
    "small": Shape(num_layers=8, hidden_size=512, num_heads=8, intermediate_size=2048, vocab_size=30_000),
}


@dataclass(frozen=True)
class Result:
    """One side's measurement; every side prints exactly this as its last line of output, as JSON.

    ``tokens`` are real ones, padding not counted, of the measured steps; ``seconds`` is their wall time.
    """

    side: str
    tokens_per_second: float
    tokens: int
    seconds: float
    steps: int
    padding: float  # share of computed positions that hold no token
    first_loss: float  # mean nats of the first step; about ln(vocab_size)
    mean_loss: float  # mean nats of all later steps
    peak_rss_bytes: int
    settings: dict[str, Any]


def parser(description: str) -> argparse.ArgumentParser:
    """The command line of one side of a benchmark."""
    parse = argparse.ArgumentParser(description=description)
    parse.add_argument("rows", type=Path, help=".npy int [rows, seq], or .npz with flat ids and offsets (ragged)")
    parse.add_argument("--shape", choices=SHAPES, default="tiny")
    parse.add_argument("--family", default="bert", help="architecture")
    parse.add_argument("--rows-per-step", type=int, default=32)
    parse.add_argument("--steps", type=int, default=20, help="optimiser steps that are measured")
    parse.add_argument("--warm-up", type=int, default=3, help="steps before those, not measured")
    parse.add_argument("--dropout", type=float, default=0.1)
    parse.add_argument("--precision", choices=("fp32", "bf16", "auto"), default="fp32")
    parse.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa")
    parse.add_argument("--compile", action="store_true", help="torch.compile the model")
    parse.add_argument("--rate", type=float, default=0.15, help="share of the tokens that is predicted")
    parse.add_argument("--threads", type=int, default=0, help="0: as many as torch takes by itself")
    parse.add_argument("--seed", type=int, default=0)
    return parse


def encoder_config(options: argparse.Namespace) -> Any:
    """The encoder that both sides train: the family's own, in the shape of the benchmark.

    A gated perceptron keeps its family's width, which has about as many weights as the plain one.
    """
    from clozelm.families import FAMILIES

    shape = SHAPES[options.shape]
    family = FAMILIES[options.family]
    plain = {} if family.sizes["tiny"].gated else {"intermediate_size": shape.intermediate_size}
    return family.preset(
        options.shape,
        shape.vocab_size,
        num_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        num_heads=shape.num_heads,
        max_positions=shape.max_positions,
        dropout=options.dropout,
        attention_dropout=options.dropout,
        pad_id=PAD,
        **plain,
    )


def read_rows(path: Path) -> list[np.ndarray]:
    """Read rows of ids with their special tokens: all of one length, or each of its own."""
    if path.suffix == ".npy":
        return list(np.load(path))
    with np.load(path) as stored:
        return np.split(stored["ids"], stored["offsets"][1:-1])


def write_rows(path: Path, rows: Sequence[np.ndarray]) -> None:
    """Write rows as `read_rows` reads them; a .npy needs rows of one length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, np.stack(rows).astype(np.int32))
        return
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    np.savez(path, ids=np.concatenate(rows).astype(np.int32), offsets=offsets.astype(np.int64))


def probe_precision(size: int = 1024, products: int = 5) -> str:
    """Measure which matrix product is faster here; bf16 without hardware for it is several times slower."""
    import torch

    seconds = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(size, size).to(dtype)
        a @ a
        started = time.perf_counter()
        for _ in range(products):
            a @ a
        seconds[name] = time.perf_counter() - started
    return min(seconds, key=lambda name: seconds[name])


def peak_rss_bytes() -> int:
    """The most memory this process has held; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def say(result: Result) -> None:
    """Print the result as the last line."""
    print(json.dumps(asdict(result)), flush=True)
