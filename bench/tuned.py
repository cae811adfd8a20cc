"""One fine-tuning for a benchmark: with given examples and seed, judged after its last step."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from clozelm.flows.finetune_model import new_model
from clozelm.hub.classifier import LoadedClassifier
from clozelm.settings import load
from clozelm.tasks.task import Task
from clozelm.train.finetune import finetune
from clozelm.train.finetune_model import learning_rate
from clozelm.train.finetune_settings import FinetuneSettings
from clozelm.train.tuning import Split, Tuning


def tuning(
    model: Path,
    task: Task[Any],
    split: Split[Any],
    *,
    out: Path,
    epochs: float,
    overrides: Sequence[str],
    rate_factor: float = 1.0,
    is_random: bool = False,
) -> Tuning[Any]:
    """Return a fine-tuning that looks at the development set once, at its end: nothing is chosen there.

    It is computed in fp32 unless ``overrides`` say otherwise. ``rate_factor`` is of the default learning rate;
    ``is_random`` draws all weights anew, from the run's seed.
    """
    fixed = [f"budget.epochs={epochs}", f"evaluation.every={max(epochs, 1)}"]
    overrides = ["run.precision=fp32", *overrides]
    settings = load(FinetuneSettings, None, [*overrides, *fixed])
    start = new_model(settings, model, task)
    if is_random:
        assert isinstance(start, LoadedClassifier)
        start.model.initialise(torch.Generator().manual_seed(settings.run.seed))
    if rate_factor != 1:
        rate = rate_factor * learning_rate(settings.optim, start.model.config.hidden_size)
        settings = load(FinetuneSettings, None, [*overrides, *fixed, f"optim.learning_rate={rate}"])
    return Tuning(settings, task=task, start=start, split=split, out=out)


def tuned(
    model: Path, task: Task[Any], split: Split[Any], *, epochs: float, overrides: Sequence[str], **how: Any
) -> dict[str, float | None]:
    """Fine-tune and return every figure of the development set after the last step, and the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        run = tuning(model, task, split, out=Path(folder) / "run", epochs=epochs, overrides=overrides, **how)
        run.open()
        (last,) = [each for each in finetune(run) if each.dev is not None]
    assert last.dev is not None
    return {**last.dev, "seconds": run.seconds}


def epochs_for(examples: int, *, epochs: float, steps: int, batch_size: int) -> float:
    """Return how often so many examples are seen: at least ``epochs`` times, and in at least ``steps`` steps."""
    return max(epochs, steps * batch_size / examples)
