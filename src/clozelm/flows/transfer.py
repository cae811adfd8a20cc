"""What fine-tuning makes of a finished run's encoder: labels of texts, and entities."""

from __future__ import annotations

import tempfile
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import SettingsError
from clozelm.flows.compare_settings import MeasureSettings
from clozelm.flows.task_data import ClassifyRequest, TagRequest, TaskData, classify_data, tag_data
from clozelm.hub.classifier import LoadedClassifier, classifier_on
from clozelm.nn.heads import MaskedLM
from clozelm.settings import load
from clozelm.tasks.tags import spans
from clozelm.tasks.task import Task
from clozelm.text.labelled import Wanted
from clozelm.train.finetune import finetune
from clozelm.train.finetune_settings import FinetuneSettings
from clozelm.train.run import Run
from clozelm.train.tuning import Tuning
from clozelm.types import Reading


class Ratio(NamedTuple):
    """A figure as sum(above) / sum(below), with a number of each for every example."""

    above: NDArray[np.float64]
    below: NDArray[np.float64]


class Transfer:
    """Fine-tunes copies of encoders on the same examples with the same settings, judged after the last step."""

    def __init__(self, settings: MeasureSettings) -> None:
        """Check that what is asked for can be had; files are read when they are first needed."""
        self.settings = settings
        if settings.finetune or settings.entities:
            _require()

    def check(self) -> None:
        """Read what is learned from, and refuse what cannot be learned."""
        if self.settings.finetune:
            _ = self._texts
        if self.settings.entities:
            _ = self._sentences

    def accuracy(self, run: Run) -> Ratio:
        """Return how often the fine-tuned encoder gives a text its label, text by text."""
        tuning = self._tuned(run, self._texts)
        right = tuning.answer_dev().logits.argmax(axis=1) == tuning.dev_targets.values
        return Ratio(right.astype(np.float64), np.ones(len(right)))

    def f1(self, run: Run) -> Ratio:
        """Return F1 of entities, strict, sentence by sentence: twice the right ones over those said and true."""
        tuning = self._tuned(run, self._sentences)
        found, task = tuning.answer_dev(), self._sentences.task
        above, below = [], []
        for number, sentence in enumerate(self._sentences.split.dev):
            said = set(spans(task.decode(found.of(number)), task.scheme))
            true = set(spans(sentence.tags or (), task.scheme))
            above.append(2.0 * len(said & true))
            below.append(float(len(said) + len(true)))
        return Ratio(np.array(above), np.array(below))

    @cached_property
    def _texts(self) -> TaskData:
        given = self.settings
        assert given.probe is not None
        assert given.probe_dev is not None
        wanted = Wanted(text=tuple(given.probe_text.split(",")), label=given.probe_label)
        return classify_data(ClassifyRequest(Path(given.probe), Path(given.probe_dev), wanted))

    @cached_property
    def _sentences(self) -> Any:
        given = self.settings
        assert given.entities is not None
        assert given.entities_dev is not None
        return tag_data(TagRequest(Path(given.entities), Path(given.entities_dev)))

    def _tuned(self, run: Run, data: TaskData) -> Tuning[Any]:
        """Return a copy of the run's encoder fine-tuned with the run's seed."""
        epochs, machine = self.settings.finetune_epochs, run.settings.run
        threads = "none" if machine.threads is None else machine.threads
        settings = load(
            FinetuneSettings,
            None,
            [
                f"budget.epochs={epochs}",
                f"evaluation.every={epochs}",
                f"run.seed={machine.seed}",
                f"run.device={machine.device}",
                f"run.threads={threads}",
                "run.precision=fp32",
            ],
        )
        start = _start(run, data.task)
        with tempfile.TemporaryDirectory() as folder:
            tuning = Tuning(settings, task=data.task, start=start, split=data.split, out=Path(folder) / "run")
            tuning.open()
            for _ in finetune(tuning):
                pass
        return tuning


def _start(run: Run, task: Task[Any]) -> LoadedClassifier:
    """Put a task's head on a copy of the encoder that a run keeps; the head is the same for all arms of a seed."""
    kept = run.objective.stored()[0].model
    context = (kept.reading if isinstance(kept, MaskedLM) else Reading()).context
    return classifier_on(
        kept.encoder,
        run.tokenizer,
        family=run.settings.model.family,
        context=context,
        kind=task.kind,
        labels=task.labels,
        problem=task.problem,
        seed=run.settings.run.seed,
    )


def _require() -> None:
    if not all(find_spec(name) for name in ("seqeval", "sklearn")):
        raise SettingsError(
            "measure.finetune and measure.entities need more packages: `pip install 'clozelm[finetune]'`, or leave "
            "them out."
        )
