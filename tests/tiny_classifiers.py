"""Tiny random classifiers of every family, stock and ours, for the tests."""

from pathlib import Path
from typing import Any

import torch

from clozelm import hub
from clozelm.families import FAMILIES
from clozelm.families.task_heads import stock_head
from clozelm.nn.classifier import Classifier, TaskKind
from clozelm.types import Context, TokenBatch
from tests import tiny_models

LABELS = ("negative", "neutral", "positive")
KINDS: tuple[TaskKind, ...] = ("sequence", "token")
CASES = [(family, kind) for family in FAMILIES for kind in KINDS]


def tiny_classifier(
    family: str, kind: TaskKind, *, num_labels: int = 3, seed: int = 0, context: Context = "both", **changes: Any
) -> Classifier:
    """A classifier whose every tensor is far from its initial value."""
    config = tiny_models.tiny_config(family, **changes)
    head = stock_head(FAMILIES[family], kind).read({}, config, kind, num_labels)
    model = Classifier(config, head, context)
    tiny_models.perturb(model, seed)
    return model.eval()


def save(model: Classifier, directory: Path, family: str, labels: tuple[str, ...] = LABELS, **rest: Any) -> Path:
    hub.save_classifier(model, tiny_models.wordpiece(), directory, family=family, labels=labels, **rest)
    return directory


def stock_classifier(
    family: str, kind: TaskKind, *, labels: tuple[str, ...] = LABELS, keys: Any = None, **changes: Any
) -> Any:
    """A `transformers` classifier, eager attention, its weights perturbed; ``keys`` are added to its config."""
    import transformers

    config = FAMILIES[family].write_config(
        tiny_models.tiny_config(family, **changes), tiny_models.wordpiece().vocabulary
    )
    config |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    auto = {
        "sequence": transformers.AutoModelForSequenceClassification,
        "token": transformers.AutoModelForTokenClassification,
    }[kind]
    stock_config = transformers.AutoConfig.for_model(**config | (keys or {}))
    model = auto.from_config(stock_config, attn_implementation="eager")
    tiny_models.perturb(model, 0)
    return model.eval()


def save_stock(stock: Any, directory: Path) -> Path:
    stock.save_pretrained(directory)
    tiny_models.wordpiece().write(directory)
    return directory


def scored(model: Classifier, batch: TokenBatch) -> torch.Tensor:
    """The flat positions that get labels: one of each document, or all tokens."""
    if model.kind == "sequence":
        return model.document_positions(batch)
    return batch.is_token.flatten().nonzero().squeeze(1)
