"""A tiny real corpus, and pretraining runs small enough to finish in a second, for the tests."""

import itertools
import json
import lzma
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from clozelm.data.prepare import PrepareSettings, prepare
from clozelm.samples import ABSTRACTS
from clozelm.settings import load
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.train_tokenizer import Kind, train
from clozelm.train.journal import records
from clozelm.train.pretrain import StepReport, pretrain
from clozelm.train.settings import PretrainSettings
from clozelm.types import TokenBatch

# The real command, but for measuring the machine's matrix products, which takes seconds.
CLOZE = [
    sys.executable,
    "-c",
    "import clozelm.train.hardware as hardware; hardware.matrix_rate = lambda *_, **__: 1e11; "
    "from clozelm.cli.main import main; main()",
]
TINY: dict[str, dict[str, Any]] = {
    "model": {
        "family": "bert",
        "num_layers": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 64,
        "max_positions": 64,
        "dropout": 0.1,
        "attention_dropout": 0.1,
    },
    "data": {"row_length": 32, "tokens_per_step": 256, "micro_batch_tokens": 96},
    "masking": {"schedule": "linear", "rate": 0.3, "rate_end": 0.15},
    "budget": {"steps": 6},
    "evaluation": {"tokens": 500},
    "run": {"precision": "fp32", "threads": 1},
}
TIMES = {"seconds", "tokens_per_second", "peak_share", "elapsed_seconds"}


def abstracts(count: int) -> list[str]:
    with lzma.open(ABSTRACTS, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in itertools.islice(lines, count)]


def tokenizer(texts: list[str], kind: Kind = "wordpiece") -> Tokenizer:
    return train(texts, kind=kind, vocab_size=320)[0]


def make_store(folder: Path, texts: list[str], made_by: Tokenizer, *, hold_out: float = 0.1) -> Path:
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    prepare([corpus], made_by, folder / "tokens", PrepareSettings(hold_out=hold_out), workers=1)
    return folder / "tokens"


def one_row(ids: torch.Tensor) -> TokenBatch:
    """One document without padding."""
    return TokenBatch(ids, torch.ones_like(ids), torch.arange(ids.shape[1]).expand_as(ids))


def settings(*overrides: str) -> PretrainSettings:
    return load(PretrainSettings, TINY, overrides)


def recipe(folder: Path) -> Path:
    """The same settings as a file."""
    path = folder / "tiny.toml"
    lines = []
    for section, values in TINY.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def trained(chosen: PretrainSettings, data: Path, out: Path, stop_after: int | None = None) -> list[StepReport]:
    return list(pretrain(chosen, data=data, out=out, stop_after=stop_after))


def journal(out: Path) -> list[dict[str, Any]]:
    """The journal without what differs between two runs of the same settings: times."""
    return [{k: v for k, v in each.items() if k not in TIMES} for each in records(out / "journal.jsonl")]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def assert_equal_runs(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert journal(one) == journal(other)
