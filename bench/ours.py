"""Pretraining with clozelm on given rows; prints one JSON line.

    python -m bench.ours rows.npy --shape tiny --rows-per-step 32 --steps 20

The same loop that `cloze pretrain` runs, on a token store made of the rows; a ragged file is packed into rows
of 128 with as many tokens a step as the given number of documents has on average.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import workload
from bench.workload import SHAPES, SPECIAL_TOKENS, Result
from clozelm.process import tune_process

ROW_LENGTH = 128


def main() -> None:
    tune_process()  # as the cloze command does
    options = workload.parser("clozelm on given rows").parse_args()
    rows = workload.read_rows(options.rows)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "tokens"
        write_store(store, rows, SHAPES[options.shape].vocab_size)
        workload.say(measure(options, store, Path(folder) / "run", tokens_per_step(options, rows)))


def tokens_per_step(options: argparse.Namespace, rows: Sequence[np.ndarray]) -> int:
    """As many tokens as the peer's rows hold on average, in whole rows."""
    mean = float(np.mean([len(row) for row in rows]))
    return max(1, round(mean * options.rows_per_step / ROW_LENGTH)) * ROW_LENGTH


def write_store(path: Path, rows: Sequence[np.ndarray], vocab_size: int) -> None:
    """Store each row as a document, without the special tokens at its ends, which the loader adds."""
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import WordPiece

    from clozelm.data.store import StoreWriter
    from clozelm.text.tokenizer import Tokenizer
    from clozelm.vocab import WORD_START

    words = [*SPECIAL_TOKENS, *(f"t{i}" for i in range(len(SPECIAL_TOKENS), vocab_size))]
    tokenizer = Tokenizer(Backend(WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")), {})
    with StoreWriter(path, fingerprint=tokenizer.fingerprint, vocab_size=vocab_size) as writer:
        for row in rows:
            writer.add(row[1:-1], np.full(len(row) - 2, WORD_START, dtype=np.uint8))
        tokenizer.write(writer.building / "tokenizer")
        writer.close()


def settings_of(options: argparse.Namespace, step_tokens: int) -> Any:
    from clozelm.train.settings import PretrainSettings

    config = workload.encoder_config(options)
    return PretrainSettings.model_validate(
        {
            "model": {
                "family": options.family,
                "size": options.shape,
                "num_layers": config.num_layers,
                "hidden_size": config.hidden_size,
                "num_heads": config.num_heads,
                "intermediate_size": config.intermediate_size,
                "max_positions": config.max_positions,
                "dropout": options.dropout,
                "attention_dropout": options.dropout,
            },
            "data": {"row_length": ROW_LENGTH, "tokens_per_step": step_tokens},
            "masking": {"rate": options.rate},
            "optim": {"learning_rate": 5e-5},
            "schedule": {"warmup": 0.0},
            "budget": {"steps": options.warm_up + options.steps + 1},
            "checkpoint": {"every_steps": 1 << 30},
            "run": {
                "precision": options.precision,
                "seed": options.seed,
                "threads": options.threads or None,
                "compile": "yes" if options.compile else "no",
                "device": "auto",
            },
        }
    )


def measure(options: argparse.Namespace, store: Path, out: Path, step_tokens: int) -> Result:
    from clozelm.train.pretrain import train
    from clozelm.train.run import Run

    run = Run.open(settings_of(options, step_tokens), data=store, out=out)
    ends, reports = [], []
    for report in train(run):
        ends.append(time.perf_counter())
        reports.append(report)
        if len(reports) == options.warm_up + options.steps:
            break  # before the last step, which saves the run
    measured = reports[options.warm_up :]
    seconds = ends[-1] - ends[options.warm_up - 1]
    tokens = sum(report.tokens for report in measured)
    return Result(
        side="clozelm",
        tokens_per_second=tokens / seconds,
        tokens=tokens,
        seconds=seconds,
        steps=len(measured),
        padding=1 - tokens / (len(measured) * step_tokens),
        first_loss=reports[0].loss,
        mean_loss=float(np.mean([report.loss for report in reports[1:]])),
        peak_rss_bytes=workload.peak_rss_bytes(),
        settings={
            **{key: str(value) if key == "rows" else value for key, value in vars(options).items()},
            "computed_in": run.precision,
            "matrix_gflops": run.matrix_rate / 1e9,
            "peak_share": float(np.median([report.peak_share for report in measured])),
        },
    )


if __name__ == "__main__":
    main()
