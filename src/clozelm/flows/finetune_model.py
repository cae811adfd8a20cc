"""The model of a fine-tuning: made of a pretrained one, measured before anything is learned, and saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clozelm.errors import DataError
from clozelm.hub.classifier import LoadedClassifier, new_classifier, save_classifier
from clozelm.hub.labels import TASK_KEY
from clozelm.hub.prompt import LoadedPrompt, new_prompt, save_prompt
from clozelm.nn.classifier import Classifier
from clozelm.tasks.classify import Classify
from clozelm.tasks.task import Task
from clozelm.text.atomic import disk_errors
from clozelm.train.finetune_settings import FinetuneSettings
from clozelm.train.tuning import Tuning

ZERO_SHOT = "zero_shot.json"
_RESAMPLES = 1000


@dataclass(frozen=True)
class ZeroShot:
    """What a prompt answers before anything is learned: figures of the development set."""

    metric: str
    figures: Mapping[str, Mapping[str, float | None]]

    @property
    def sentence(self) -> str:
        """The same for a person."""
        value = self.figures[self.metric]["value"]
        shown = "undefined" if value is None else f"{value:.4f}"
        return f"zero-shot, before anything is learned: {self.metric} {shown} on dev"


def new_model(settings: FinetuneSettings, directory: Path, task: Task[Any]) -> LoadedClassifier | LoadedPrompt:
    """Make the model that is fine-tuned: with a new head, or, asked by a prompt, as it is."""
    dropout, attention = settings.model.dropout, settings.model.attention_dropout
    if isinstance(task, Classify) and task.prompt is not None:
        return new_prompt(
            directory, prompt=task.prompt, labels=task.labels, dropout=dropout, attention_dropout=attention
        )
    return new_classifier(
        directory,
        kind=task.kind,
        labels=task.labels,
        problem=task.problem,
        seed=settings.run.seed,
        dropout=dropout,
        attention_dropout=attention,
    )


def save_model(run: Tuning[Any], *, card: Mapping[str, Any], facts: Mapping[str, Any], out: Path) -> None:
    """Write the model as it is into ``out``, with ``card`` for people and the ``facts`` of its task."""
    start, model = run.start, run.model.cpu()
    if isinstance(start, LoadedPrompt):
        save_prompt(start, out, card=card, facts=facts)
        return
    assert isinstance(model, Classifier)
    save_classifier(
        model,
        run.tokenizer,
        out,
        family=start.family.name,
        labels=start.labels,
        problem=start.problem,
        card=card,
        extra_config={TASK_KEY: dict(facts)},
    )


def zero_shot(run: Tuning[Any]) -> ZeroShot | None:
    """Return how good a prompt is before the first step; measured then, and kept in ``out`` from there on.

    None for a task without a prompt, whose head knows nothing yet.
    """
    if not isinstance(run.start, LoadedPrompt):
        return None
    path = run.out / ZERO_SHOT
    if run.step == 0 and not path.is_file():
        measured = run.task.measure(run.answer_dev(), run.split.dev, resamples=_RESAMPLES)
        with disk_errors(run.out):
            path.write_text(json.dumps(measured["figures"], indent=2) + "\n", encoding="utf-8")
    if not path.is_file():
        return None
    try:
        return ZeroShot(run.metric, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): name another --out.") from None
