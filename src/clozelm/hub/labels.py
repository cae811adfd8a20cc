"""What ``config.json`` says of a classifier: its kind, its labels, and how many of them a text has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clozelm.errors import ModelError
from clozelm.nn.classifier import TaskKind
from clozelm.text.examples import Problem

TASK_KEY = "clozelm_task"
"""What of a task no stock key holds: fields of texts, scheme of tags, the longest sequence, a prompt."""

ANSWERS: dict[tuple[TaskKind, Problem], str] = {
    ("sequence", "single"): "one label for a text",
    ("sequence", "multi"): "any number of labels for a text",
    ("sequence", "regression"): "a number for a text",
    ("token", "single"): "a tag for each word",
}
"""What a classifier gives, for a person."""

_KINDS: dict[str, TaskKind] = {"ForSequenceClassification": "sequence", "ForTokenClassification": "token"}
_PROBLEMS: dict[str, Problem] = {
    "single_label_classification": "single",
    "multi_label_classification": "multi",
    "regression": "regression",
}
_STOCK_LABELS = 2  # what the stock code takes when a file names none, and leaves out when it writes


def kind_of(config: Mapping[str, Any]) -> TaskKind | None:
    """Return the kind of classifier that ``config`` names as its architecture; none where it is none."""
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        return None
    return next((kind for suffix, kind in _KINDS.items() if architectures[0].endswith(suffix)), None)


def read_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels in the order of their logits; where none are named, the stock ``LABEL_0`` and on."""
    given = config.get("id2label")
    count = config.get("num_labels")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise ModelError(f"config.json: num_labels={count!r} must be a number of labels.")
    if given is None:
        return tuple(f"LABEL_{index}" for index in range(count or _STOCK_LABELS))
    if not isinstance(given, Mapping) or not given:
        raise ModelError("config.json: id2label must map the number of each label to its name.")
    names = {str(key): str(name) for key, name in given.items()}
    order = [str(index) for index in range(len(names))]
    if missing := [key for key in order if key not in names]:
        raise ModelError(
            f"config.json: id2label has {len(names)} labels, but none has number {missing[0]}: number them from 0."
        )
    if count not in (None, len(names)):
        raise ModelError(f"config.json: id2label names {len(names)} labels, but num_labels={count}.")
    labels = tuple(names[key] for key in order)
    check_distinct(labels, "config.json: id2label")
    return labels


def read_problem(config: Mapping[str, Any], kind: TaskKind, num_labels: int) -> Problem:
    """Return how many labels a text has; with one label and nothing said, it is a number, as in stock training."""
    if kind == "token":
        return "single"
    given = config.get("problem_type")
    if given is None:
        return "regression" if num_labels == 1 else "single"
    if given not in _PROBLEMS:
        raise ModelError(f"config.json: problem_type={given!r} must be one of {', '.join(_PROBLEMS)}.")
    problem = _PROBLEMS[given]
    check_count(num_labels, problem, kind)
    return problem


def write_labels(labels: Sequence[str], problem: Problem, kind: TaskKind) -> dict[str, Any]:
    """Return the keys that ``read_labels`` and ``read_problem`` read, labels in the order of their logits."""
    keys: dict[str, Any] = {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    if kind == "sequence":
        keys["problem_type"] = next(name for name, one in _PROBLEMS.items() if one == problem)
    return keys


def check_labels(labels: Sequence[str], problem: Problem, kind: TaskKind) -> None:
    """Refuse labels that no classifier of that kind can have."""
    if problem not in _PROBLEMS.values() or (kind == "token" and problem != "single"):
        raise ModelError(f"problem={problem!r} is nothing that a {kind} classifier answers.")
    if any(not isinstance(label, str) or not label for label in labels):
        raise ModelError("Labels must be names, none of them empty.")
    check_distinct(labels, "The list of labels")
    check_count(len(labels), problem, kind)


def check_count(count: int, problem: Problem, kind: TaskKind) -> None:
    """Refuse a number of labels that the problem cannot have."""
    if problem == "regression" and count != 1:
        raise ModelError(f"A model of a number has one label, the number's name, not {count}.")
    if problem == "single" and kind == "sequence" and count < 2:
        raise ModelError(f"To choose one label there must be at least 2, not {count}.")
    if count < 1:
        raise ModelError("A classifier needs at least one label.")


def check_distinct(labels: Sequence[str], where: str) -> None:
    """Refuse a label that stands there twice."""
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ModelError(f"{where} holds {twice!r} twice: each label needs a name of its own.")
