"""Fine-tune with several seeds, under settings as given or searched, and report the mean over seeds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from clozelm.errors import SettingsError
from clozelm.flows.compare import read_json, write_json
from clozelm.flows.finetune import MODEL, PREDICTIONS, tune, write_results
from clozelm.flows.finetune_search import best_of, changed, load_optuna, search, search_notes
from clozelm.flows.task_data import TaskData
from clozelm.hub.load import model_directory, read_config
from clozelm.hub.save import building
from clozelm.hub.weights import fingerprint as model_fingerprint
from clozelm.report.figures import figure, over_seeds, value_of
from clozelm.text.atomic import alone, disk_errors
from clozelm.train.finetune_settings import FinetuneSettings, SearchSettings
from clozelm.train.hardware import choose_device, choose_precision
from clozelm.train.journal import JOURNAL
from clozelm.train.record import RECORD as SINGLE
from clozelm.train.record import differences
from clozelm.train.tuning import check_place, fingerprint

RECORD = "sweep.json"
"""What a directory of several runs is: settings, examples and model, so that others are refused there."""


def sweep(
    settings: FinetuneSettings,
    *,
    model: str | Path,
    data: TaskData,
    out: str | Path,
    seeds: int = 1,
    trials: int = 0,
    console: Console,
) -> dict[str, Any] | None:
    """Search settings in ``trials`` runs, if any, and fine-tune under the best with ``seeds`` seeds.

    The first seed is ``run.seed``; each run lies in ``out/seed-K`` as ``tune`` leaves it. ``out`` itself gets what
    a single run leaves, of the seed that is best on the development set, with the figures of all seeds. What is
    finished is not done again, and seeds may be added. None when a signal stopped it.
    """
    out = Path(out)
    if trials:
        load_optuna()
    settings = _opened(settings, model, data, out, trials)
    with alone(out):
        return _swept(settings, model, data, out, seeds, trials, console)


def _swept(
    settings: FinetuneSettings,
    model: str | Path,
    data: TaskData,
    out: Path,
    seeds: int,
    trials: int,
    console: Console,
) -> dict[str, Any] | None:
    tried = None
    notes: list[str] = []
    if trials:
        tried = search(settings, model=model, data=data, out=out, trials=trials, console=console)
        if tried is None:
            return None
        notes += search_notes(settings, tried)
        settings = changed(settings, best_of(tried)["settings"])
    settings = settings.model_copy(update={"search": SearchSettings()})
    found: list[tuple[int, dict[str, Any]]] = []
    for number, seed in enumerate(range(settings.run.seed, settings.run.seed + seeds), start=1):
        console.print(f"Seed {seed} ({number} of {seeds})", style="bold")
        results = tune(
            with_seed(settings, seed), model=model, data=data, out=seed_place(out, seed), console=console
        )
        if results is None:
            return None
        found.append((seed, results))
    return _gathered(out, found, tried, notes)


def with_seed(settings: FinetuneSettings, seed: int) -> FinetuneSettings:
    """Return the settings with another seed."""
    return settings.model_copy(update={"run": settings.run.model_copy(update={"seed": seed})})


def seed_place(out: Path, seed: int) -> Path:
    """Return where the run of a seed lies."""
    return out / f"seed-{seed}"


def _opened(
    settings: FinetuneSettings, model: str | Path, data: TaskData, out: Path, trials: int
) -> FinetuneSettings:
    """Begin in ``out``, or go on if the same is there; return the settings with the precision all runs have."""
    directory = model_directory(model)
    read_config(directory)  # says in one line when there is no model
    now = {
        "format": 1,
        "task": data.task.name,
        "problem": data.task.problem,
        "labels": list(data.task.labels),
        "train": fingerprint(data.split.train),
        "dev": fingerprint(data.split.dev),
        "model": model_fingerprint(directory),
        "search": trials,
        "settings": settings.model_dump(mode="json"),
    }
    if (out / RECORD).is_file():
        before = read_json(out / RECORD)
        _check_same(out, before, now)
        precision = before.get("precision", settings.run.precision)
    else:
        _check_new(out)
        precision = choose_precision(settings.run.precision, choose_device(settings.run.device))
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        write_json(out / RECORD, now | {"precision": precision})
    return settings.model_copy(update={"run": settings.run.model_copy(update={"precision": precision})})


def _check_new(out: Path) -> None:
    if (out / SINGLE).is_file():
        raise SettingsError(f"{out} holds a single fine-tuning: name a new --out for --seeds and --search.")
    check_place(out)


def _check_same(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to mix runs of other settings, examples or models."""
    changes = differences(before.get("settings", {}), now["settings"])
    if before.get("search") != now["search"]:
        changes.append(f"--search was {before.get('search')}, now {now['search']}")
    changes += [name for name in ("task", "problem", "labels") if before.get(name) != now[name]]
    changes += [f"the examples of {name}" for name in ("train", "dev") if before.get(name) != now[name]]
    changes += ["the model"] if before.get("model") != now["model"] else []
    if changes:
        raise SettingsError(
            f"{out} holds another fine-tuning ({'; '.join(changes)}): use the same to resume it, or name another "
            "--out."
        )


def _gathered(
    out: Path,
    found: Sequence[tuple[int, dict[str, Any]]],
    tried: Sequence[Mapping[str, Any]] | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Put the best seed's model and answers into ``out``, and write the results of all."""
    seed, best = max(found, key=lambda one: _value(one[1]))
    place = seed_place(out, seed)
    with building(out / MODEL, replace=True) as model:
        shutil.copytree(place / MODEL, model, dirs_exist_ok=True, copy_function=_linked)
    with disk_errors(out):
        for name in (JOURNAL, PREDICTIONS):
            (out / name).unlink(missing_ok=True)
            _linked(place / name, out / name)
    results = {**best, "seeds": [{"seed": each, "figures": one["figures"]} for each, one in found]}
    if len(found) > 1:
        chosen = f"the best of {len(found)} on dev in {figure(best['metric']).title}"
        notes = [
            *notes,
            f"the model is that of seed {seed}, {chosen}: its own figures are optimistic, the mean over seeds is "
            "what to report",
        ]
    results["over_seeds"] = {
        name: {"mean": mean.mean, "low": mean.low, "high": mean.high}
        for name, (mean, _) in over_seeds(results).items()
    }
    results |= {"best_seed": seed, "notes": [*notes, *best["notes"]]}
    if tried is not None:
        results["trials"] = list(tried)
    write_results(out, results)
    return results


def _value(results: Mapping[str, Any]) -> float:
    """Return the figure that chose, the larger the better."""
    value = value_of(results["figures"][results["metric"]])
    return float("-inf") if value is None else value * figure(results["metric"]).better


def _linked(source: Any, target: Any) -> Any:
    """Give a file a second name, or copy it where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
