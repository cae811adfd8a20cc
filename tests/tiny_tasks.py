"""Small sets of examples as files, one of every kind of task, for the tests."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clozelm import hub
from tests import tiny_models

KINDS = ("single", "pair", "multi", "regression", "tag")
QUICK = (
    *("--epochs", "3", "--set", "data.batch_size=8", "--set", "optim.learning_rate=5e-3"),
    *("--set", "run.precision=fp32", "--set", "run.device=cpu"),
)
_TEXTS = [
    f"the {one} {verb} on a {place}"
    for one in ("cat", "dog", "mat")
    for verb in ("sat", "ran")
    for place in ("mat", "machine", "dog")
]
TYPES = {"cat": "PET", "dog": "PET", "machine": "THING"}


def model(place: Path, family: str = "bert") -> Path:
    """Save a tiny pretrained model, once."""
    if not place.exists():
        hub.save(tiny_models.tiny_model(family), tiny_models.wordpiece(), place, family=family)
    return place


def table(path: Path, rows: Sequence[Sequence[Any]], delimiter: str = ",") -> Path:
    """Write rows, the first of them the header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return path


def lines(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records), encoding="utf-8")
    return path


def columns(path: Path, sentences: Sequence[str]) -> Path:
    """Write sentences of words that are pets, things or neither."""
    tagged = [[(word, f"B-{TYPES[word]}" if word in TYPES else "O") for word in each.split()] for each in sentences]
    path.write_text(
        "".join("".join(f"{word} {tag}\n" for word, tag in each) + "\n" for each in tagged), encoding="utf-8"
    )
    return path


def files(kind: str, folder: Path) -> tuple[Path, Path]:
    """Write examples to learn from and others to judge on."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = ("train", _TEXTS), ("dev", [text.replace("the ", "a ", 1) for text in _TEXTS[::2]])
    train, dev = (_file(kind, folder / name, texts) for name, texts in parts)
    return train, dev


def command(kind: str) -> list[str]:
    """Return what of the command line is a kind's own."""
    problem = {"multi": "multi", "regression": "regression"}.get(kind)
    return ["finetune", "tag"] if kind == "tag" else ["finetune", "classify", "--problem", problem or "single"]


def _file(kind: str, path: Path, texts: Sequence[str]) -> Path:
    if kind == "tag":
        return columns(path.with_suffix(".conll"), texts)
    if kind == "multi":
        named = [[word for word in ("ran", "dog", "machine") if word in text.split()] for text in texts]
        records = [{"text": text, "labels": labels} for text, labels in zip(texts, named, strict=True)]
        return lines(path.with_suffix(".jsonl"), records)
    if kind == "regression":
        return table(
            path.with_suffix(".tsv"), [["text", "score"], *([t, len(t) / 10] for t in texts)], delimiter="\t"
        )
    labels = ["still" if "sat" in text else "fast" for text in texts]
    if kind == "pair":
        rows = [[text, "the dog", label] for text, label in zip(texts, labels, strict=True)]
        return table(path.with_suffix(".csv"), [["premise", "hypothesis", "label"], *rows])
    return table(path.with_suffix(".csv"), [["text", "label"], *zip(texts, labels, strict=True)])
