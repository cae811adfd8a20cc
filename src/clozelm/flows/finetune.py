"""Fine-tune one model on one task with one seed: train, choose, calibrate, measure, save and report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from clozelm.errors import DataError
from clozelm.flows.finetune_model import new_model, save_model, zero_shot
from clozelm.flows.finetune_progress import show_tuning
from clozelm.flows.finetune_result import counts, hardest, predictions
from clozelm.flows.task_data import TaskData
from clozelm.hub.load import model_directory
from clozelm.hub.weights import fingerprint
from clozelm.tasks.calibration import calibrate, refusal
from clozelm.tasks.classify import Classify
from clozelm.tasks.task import Answers, Task
from clozelm.text.atomic import alone, disk_errors
from clozelm.train import checkpoint
from clozelm.train.finetune_settings import FinetuneSettings
from clozelm.train.journal import JOURNAL
from clozelm.train.tuning import Tuning, check_place

RESULTS, PREDICTIONS, PAGE, MODEL = "results.json", "dev_predictions.jsonl", "report.html", "model"
_UNCALIBRATED = (
    "the temperature is kept in the model's config.json, where `cloze predict` finds it: the weights are a plain "
    "masked language model's, and what they say at a mask elsewhere is not divided by it"
)


def tune(
    settings: FinetuneSettings, *, model: str | Path, data: TaskData, out: str | Path, console: Console
) -> dict[str, Any] | None:
    """Fine-tune the model in a directory and leave everything in ``out``; return the results.

    What is finished there is not done again; what is not goes on where it was left. None when a signal stopped it.
    """
    out = Path(out)
    check_place(out)
    directory = model_directory(model)
    start = new_model(settings, directory, data.task)
    base = fingerprint(directory)
    run = Tuning(settings, task=data.task, start=start, split=data.split, out=out, base=base)
    run.open()
    with alone(out):
        if is_finished(out):
            console.print(f"{out} is finished; its results are shown.", soft_wrap=True)
            return read_results(out)
        return _trained(run, data, str(model), console)


def is_finished(out: Path) -> bool:
    """Whether a fine-tuning has left all there is to leave; one whose model was removed is done again."""
    return (out / RESULTS).is_file() and (out / MODEL / "config.json").is_file()


def _trained(run: Tuning[Any], data: TaskData, model: str, console: Console) -> dict[str, Any] | None:
    console.print(run.start.summary, style="dim", soft_wrap=True)
    for notice in (*run.encoding_notes, *run.notices):
        console.print(notice, style="yellow", soft_wrap=True)
    if (before := zero_shot(run)) is not None:
        console.print(before.sentence, soft_wrap=True)
    show_tuning(run, console)
    return finish(run, data, model=model) if run.is_finished else None


def finish(run: Tuning[Any], data: TaskData, *, model: str) -> dict[str, Any]:
    """Make the best weights the model, calibrate and measure them on the development set, and write everything."""
    run.settle()
    found = run.answer_dev()
    calibration = _calibration(data.task, found, data.split.dev, run)
    if calibration is not None:
        run.model.divide_logits(calibration["temperature"])
        found.logits /= calibration["temperature"]
    results = _results(run, data, found, calibration, model)
    card = {
        "base model": model,
        "trained on": f"{data.train_name}, {len(data.split.train):,} examples",
        "judged on": data.dev_name + (" (held out)" if data.dev_is_held_out else ""),
        **{
            name: round(figure["value"], 4)
            for name, figure in results["figures"].items()
            if figure["value"] is not None
        },
    }
    save_model(run, card=card, facts={**data.facts, "max_length": run.read_as.max_length}, out=run.out / MODEL)
    with disk_errors(run.out), (run.out / PREDICTIONS).open("w", encoding="utf-8") as file:
        for record in predictions(data.task, found, data.split.dev):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    write_results(run.out, results)
    shutil.rmtree(run.out / checkpoint.FOLDER, ignore_errors=True)
    return results


def write_results(out: Path, results: Mapping[str, Any]) -> None:
    """Write ``results.json`` and the page that is drawn from it."""
    from clozelm.report.finetune import page
    from clozelm.train.journal import records

    journal = out / JOURNAL
    with disk_errors(out):
        (out / PAGE).write_text(
            page(results, list(records(journal)) if journal.is_file() else []), encoding="utf-8"
        )
        aside = out / f".{RESULTS}.tmp"
        aside.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        aside.replace(out / RESULTS)


def read_results(out: Path) -> dict[str, Any]:
    """Read ``results.json`` of a finished fine-tuning."""
    path = out / RESULTS
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): name another --out.") from None
    if not isinstance(found, dict) or "figures" not in found:
        raise DataError(f"{path} holds no results of a fine-tuning: name another --out.")
    return found


def _calibration(task: Task[Any], found: Answers, dev: Sequence[Any], run: Tuning[Any]) -> dict[str, Any] | None:
    """Return the temperature that the development set asks for, and the error of probabilities before and after."""
    if task.problem == "regression":
        return None
    asked = ~np.isnan(found.logits).any(axis=1)
    truth = run.dev_targets.values[asked]
    sizes = [task.num_answers(example) for example in dev]
    owner = np.repeat(np.arange(len(dev)), sizes)[asked]
    result = calibrate(found.logits[asked], truth, owner=owner)
    return None if result is None else dict(result)


def _results(
    run: Tuning[Any], data: TaskData, found: Answers, calibration: dict[str, Any] | None, model: str
) -> dict[str, Any]:
    """Return everything that is known of a finished fine-tuning, as plain data."""
    measured = data.task.measure(found, data.split.dev, resamples=1000)
    results = {
        "format": 1,
        "task": data.task.name,
        "problem": data.task.problem,
        "labels": list(data.task.labels),
        "model": model,
        "train": data.train_name,
        "dev": data.dev_name,
        "dev_is_held_out": data.dev_is_held_out,
        "examples": {"train": len(data.split.train), "dev": len(data.split.dev)},
        "counts": {"train": counts(data.split.train), "dev": counts(data.split.dev)},
        "notes": [*data.notes, *run.encoding_notes, *measured["notes"], *refusal(calibration)],
        "metric": run.metric,
        "figures": measured["figures"],
        "per_class": measured["per_class"],
        "confusion": measured["confusion"],
        "calibration": calibration,
        "hardest": hardest(data.task, found, data.split.dev),
        "training": {
            "epochs": run.step / run.steps_per_epoch,
            "steps": run.step,
            "best_step": run.best_step,
            "seconds": run.seconds,
            "tokens": run.tokens,
            "examples_per_second": len(data.split.train) * run.step / run.steps_per_epoch / max(run.seconds, 1e-9),
        },
        "seeds": None,
        "settings": run.settings.model_dump(mode="json"),
    }
    results |= {name: measured[name] for name in ("mode", "scheme") if name in measured}
    if (before := zero_shot(run)) is not None:
        results |= {"prompt": dict(data.task.asks), "zero_shot": before.figures}
        results["notes"] += [before.sentence, *([] if calibration is None else [_UNCALIBRATED])]
    if isinstance(data.task, Classify) and data.task.problem == "regression":
        truth = run.dev_targets.values.tolist()
        results["scatter"] = [list(pair) for pair in zip(truth, found.logits[:, 0].tolist(), strict=True)]
    return results
