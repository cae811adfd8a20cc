"""Fine-tuning from Python: one call from files to a model that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from clozelm.errors import SettingsError, TrainingError
from clozelm.flows.finetune import MODEL
from clozelm.flows.finetune_sweep import sweep
from clozelm.flows.task_data import ClassifyRequest, TagRequest, TaskData, checked_scheme, classify_data, tag_data
from clozelm.infer.predict import Predictor
from clozelm.settings import load
from clozelm.text.conll import TaggedForm
from clozelm.text.files import named
from clozelm.text.labelled import Wanted
from clozelm.train.finetune_settings import FinetuneSettings, check_searched


@dataclass(frozen=True)
class Finetuned:
    """What a fine-tuning gave: figures and more, as in ``results.json``, and the model."""

    results: dict[str, Any]
    predictor: Predictor


def finetune(
    task: Literal["classify", "tag"],
    model: str | Path,
    train: str | Path,
    *,
    out: str | Path,
    dev: str | Path | None = None,
    seeds: int = 1,
    search: int = 0,
    overrides: Sequence[str] = (),
    **reading: Any,
) -> Finetuned:
    """Fine-tune the model in a directory on a file of examples, as ``cloze finetune`` does, and open the result.

    ``overrides`` are settings such as ``"budget.epochs=5"``. How examples are read may be said: for classes by
    ``text`` (a field or two), ``label``, ``problem``, ``separator``; for tags by ``word``, ``tag``, ``scheme``.
    What is finished in ``out`` is opened, what is not goes on; ``TrainingError`` when a signal stopped it.
    """
    check_searched(overrides, is_searched=search > 0)
    settings = load(FinetuneSettings, None, overrides)
    data = _data(task, named(train), None if dev is None else named(dev), settings, reading)
    results = sweep(
        settings, model=model, data=data, out=out, seeds=seeds, trials=search, console=Console(quiet=True)
    )
    if results is None:
        raise TrainingError(f"Stopped; what was done is in {out}, and the same call goes on.")
    return Finetuned(results, Predictor.open(Path(out) / MODEL))


def _data(
    task: str, train: Path, dev: Path | None, settings: FinetuneSettings, reading: dict[str, Any]
) -> TaskData:
    known = {"classify": {"text", "label", "problem", "separator"}, "tag": {"word", "tag", "scheme"}}
    if task not in known:
        raise SettingsError(f"task={task!r} is not known: use {' or '.join(known)}.")
    if wrong := sorted(reading.keys() - known[task]):
        names = ", ".join(sorted(known[task]))
        raise SettingsError(f"{wrong[0]}={reading[wrong[0]]!r} has no use with task={task!r}, which takes {names}.")
    if task == "tag":
        form = TaggedForm(word=reading.get("word"), tag=reading.get("tag"))
        return tag_data(TagRequest(train, dev, form, checked_scheme(reading.get("scheme")), settings.run.seed))
    text = reading.pop("text", None)
    wanted = Wanted(text=(text,) if isinstance(text, str) else text, **reading)
    request = ClassifyRequest(train, dev, wanted, class_weights=settings.loss.class_weights, seed=settings.run.seed)
    return classify_data(request)
