"""What a person sees of examples before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from clozelm.flows.task_data import TaskData
from clozelm.text.examples import TaggedSentence
from clozelm.text.label_checks import preview

_LABELS_SHOWN, _WIDTH = 12, 96


def show_data(data: TaskData, console: Console) -> None:
    """Print counts, lengths, labels and the first examples, and every note."""
    console.print(f"{data.task.name}, {data.task.problem}: {_fields(data)}", style="bold")
    parts = (("train", data.train_name, data.split.train), ("dev", data.dev_name, data.split.dev))
    for name, path, examples in parts:
        seen = preview(examples)
        _, middle, most_of, most = seen.words
        unit = "sentences" if isinstance(seen.first[0], TaggedSentence) else "texts"
        console.print(
            f"{name:<6} {path}: {seen.count:,} {unit}, {middle} words (95% up to {most_of}, longest {most:,})",
            soft_wrap=True,
        )
        if seen.labels:
            console.print(f"       {_counted(seen.labels)}", style="dim", soft_wrap=True)
    for example in preview(data.split.train).first:
        console.print(Text("  ").append(_shown(example), style="dim"), soft_wrap=True)
    if asks := data.task.asks:
        words = ", ".join(f"{label} = {' or '.join(each)}" for label, each in asks["words"].items())
        console.print(f"asks   {asks['pattern']}  ({words})", soft_wrap=True)
    for note in data.notes:
        console.print(note, style="yellow", soft_wrap=True)


def _fields(data: TaskData) -> str:
    if "scheme" in data.facts:
        return f"{len(data.task.labels)} tags in {data.facts['scheme']}"
    text = " and ".join(data.facts["text"])
    what = "a number" if data.task.problem == "regression" else f"{len(data.task.labels)} labels"
    return f"text from {text}, label from {data.facts['label']}, {what}"


def _counted(labels: dict[str, int]) -> str:
    shown = list(labels.items())[:_LABELS_SHOWN]
    more = f", and {len(labels) - len(shown)} more" if len(labels) > len(shown) else ""
    return ", ".join(f"{label} {count:,}" for label, count in shown) + more


def _shown(example: Any) -> str:
    if isinstance(example, TaggedSentence):
        tags: Sequence[str] = example.tags or ()
        text = " ".join(
            word if tag == "O" else f"{word}[{tag}]" for word, tag in zip(example.words, tags, strict=False)
        )
        return _cut(text)
    label = ", ".join(example.label) if isinstance(example.label, tuple) else example.label
    return f"{label}: {_cut(' | '.join(example.texts))}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
