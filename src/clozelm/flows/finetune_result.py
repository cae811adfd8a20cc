"""What a fine-tuned model says of the development set: every prediction, and the mistakes it is surest of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clozelm.tasks.classify import Classify, probabilities
from clozelm.tasks.tag import Tag
from clozelm.tasks.task import Answers, Task

_MOST_HARD = 30


def predictions(task: Task[Any], found: Answers, examples: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield for every example where it stands, the truth, the prediction and the probabilities behind it."""
    for number, example in enumerate(examples):
        if isinstance(task, Tag):
            predicted, sure = task.answer(found.of(number))
            yield {
                "source": example.source,
                "words": list(example.words),
                "truth": list(example.tags or ()),
                "predicted": list(predicted),
                "probability": [round(float(one), 6) for one in sure],
            }
        elif isinstance(task, Classify):
            answer = classified(task, found.of(number)[0])
            yield {"source": example.source, "text": list(example.texts), "truth": example.label, **answer}


def classified(task: Classify, logits: NDArray[np.float64]) -> dict[str, Any]:
    """Return the prediction for one text, given its logits [labels]: a label, several, or a number."""
    if task.problem == "regression":
        return {"predicted": float(logits[0])}
    given = probabilities(logits[None], task.problem)[0]
    named = {label: round(float(each), 6) for label, each in zip(task.labels, given, strict=True)}
    if task.problem == "multi":
        return {"predicted": [label for label, each in named.items() if each > 0.5], "probabilities": named}
    best = int(given.argmax())
    return {"predicted": task.labels[best], "probability": round(float(given[best]), 6), "probabilities": named}


def hardest(task: Task[Any], found: Answers, examples: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the mistakes, surest first; of a regression the largest errors."""
    rows: list[tuple[float, dict[str, Any]]] = []
    for record in predictions(task, found, examples):
        truth, predicted = record["truth"], record["predicted"]
        if isinstance(task, Tag):
            rows += _tag_mistakes(record)
            continue
        if task.problem == "regression":
            sureness, shown = abs(predicted - truth), None
        elif task.problem == "multi":
            wrong = set(truth) ^ set(predicted)
            if not wrong:
                continue
            sureness = shown = max(abs(record["probabilities"][label] - 0.5) + 0.5 for label in wrong)
        elif predicted == truth:
            continue
        else:
            sureness = shown = record["probability"]
        text = " | ".join(record["text"])
        rows.append(
            (sureness, {"text": text, "truth": _said(truth), "predicted": _said(predicted), "probability": shown})
        )
        rows[-1][1]["source"] = record["source"]
    rows.sort(key=lambda row: -row[0])
    return [row for _, row in rows[:_MOST_HARD]]


def counts(examples: Sequence[Any]) -> dict[str, int]:
    """Return how often every label occurs; for tags every type of entity, counted where one begins."""
    found: Counter[str] = Counter()
    for example in examples:
        label = example.label if hasattr(example, "texts") else _types(example.tags or ())
        if isinstance(label, tuple):
            found.update(label)
        elif isinstance(label, str):
            found[label] += 1
    return dict(found.most_common())


def _tag_mistakes(record: dict[str, Any]) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield the surest wrong tag of a sentence, its word marked."""
    wrong = [
        i for i, (one, other) in enumerate(zip(record["truth"], record["predicted"], strict=True)) if one != other
    ]
    if not wrong:
        return
    worst = max(wrong, key=lambda i: record["probability"][i])
    words = list(record["words"])
    words[worst] = f"»{words[worst]}«"
    sure = record["probability"][worst]
    yield (
        sure,
        {
            "text": " ".join(words),
            "truth": record["truth"][worst],
            "predicted": record["predicted"][worst],
            "probability": sure,
            "source": record["source"],
        },
    )


def _said(label: Any) -> str:
    if isinstance(label, float):
        return f"{label:.2f}"
    return label if isinstance(label, str) else ", ".join(label) or "none"


def _types(tags: Sequence[str]) -> tuple[str, ...]:
    previous = ["O", *tags]
    begun = zip(previous, tags, strict=False)
    return tuple(tag[2:] for before, tag in begun if tag[0] in "BSU" or (tag[0] in "IEL" and before[2:] != tag[2:]))
