"""Search settings of a fine-tuning: learning rate, epochs and batch size, by what they reach on dev."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

from clozelm.errors import SettingsError, TrainingError
from clozelm.flows.compare import read_json, write_json
from clozelm.flows.finetune_model import new_model
from clozelm.flows.finetune_progress import show_tuning
from clozelm.flows.task_data import TaskData
from clozelm.hub.load import model_directory
from clozelm.report.figures import figure, value_of, written
from clozelm.rng import seed_for
from clozelm.settings import overlaid
from clozelm.train.finetune_model import learning_rate
from clozelm.train.finetune_settings import FinetuneSettings
from clozelm.train.tuning import Tuning

TRIALS = "search.json"
FOLDER = "trials"
RATE, EPOCHS, BATCH = "optim.learning_rate", "budget.epochs", "data.batch_size"

_RANDOM = 5  # trials before the sampler has enough to go by
_SEEDS = 1 << 32  # numpy's old generators, which Optuna uses, take no larger ones


@dataclass(frozen=True)
class Ranges:
    """Where a search looks: peak learning rates from ``low`` to ``high``, and lists of the rest."""

    low: float
    high: float
    epochs: tuple[float, ...]
    batch_sizes: tuple[int, ...]

    @classmethod
    def of(cls, settings: FinetuneSettings, hidden_size: int) -> Ranges:
        """Return the ranges that the settings name for a model of a width."""
        search, rate = settings.search, learning_rate(settings.optim, hidden_size)
        low, high = rate * search.learning_rate_low, rate * search.learning_rate_high
        return cls(low, high, search.epochs, search.batch_size)

    def holds(self, chosen: Mapping[str, Any]) -> bool:
        """Whether settings are among those that may be tried."""
        is_rate = self.low <= chosen[RATE] <= self.high
        return is_rate and chosen[EPOCHS] in self.epochs and chosen[BATCH] in self.batch_sizes


def search(
    settings: FinetuneSettings, *, model: str | Path, data: TaskData, out: Path, trials: int, console: Console
) -> list[dict[str, Any]] | None:
    """Train ``trials`` times under other settings and return what each reached, in their order.

    Every trial is kept in ``search.json`` when it is done, of its directory nothing. The first has the settings as
    they are, where the ranges hold them. None when a signal stopped it: the next call goes on there, to the very
    trials that would have followed.
    """
    sampler = load_optuna()
    found: list[dict[str, Any]] = read_json(out / TRIALS)["trials"] if (out / TRIALS).is_file() else []
    while len(found) < trials:
        start = new_model(settings, model_directory(model), data.task)
        width = start.model.config.hidden_size
        ranges, given = Ranges.of(settings, width), as_given(settings, width)
        is_first = not found and ranges.holds(given)
        chosen = given if is_first else suggest(sampler, ranges, found, seed=settings.run.seed)
        number = len(found) + 1
        console.print(f"Trial {number} of {trials}: {said(chosen)}", style="bold", soft_wrap=True)
        place = out / FOLDER / f"trial-{number}"
        run = Tuning(changed(settings, chosen), task=data.task, start=start, split=data.split, out=place)
        outcome = _outcome(run, console)
        if outcome is None:
            return None
        found.append({"trial": number, "settings": chosen, **outcome})
        write_json(out / TRIALS, {"format": 1, "metric": run.metric, "trials": found})
        shutil.rmtree(place, ignore_errors=True)
        console.print(f"  {_reached(found, run.metric)}", style="cyan", soft_wrap=True)
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    return found[:trials]


def best_of(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the first of the trials that reached most; none that reached anything is an error."""
    finished = [one for one in trials if value_of(one) is not None]
    if not finished:
        raise TrainingError(
            f"None of {len(trials)} trials came to a figure: begin in another --out with a lower "
            "search.learning_rate_high."
        )
    return max(finished, key=lambda one: float(one["value"]))


def search_notes(settings: FinetuneSettings, trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the chosen settings are and what their figure is worth; ``settings`` are those before the search."""
    chosen = said(best_of(trials)["settings"])
    notes = [
        f"the settings ({chosen}) are the best of {len(trials)} tried on these very dev examples: their figures "
        "are optimistic, and only other examples tell how good they are"
    ]
    ranges = settings.search
    tried = ((EPOCHS, settings.budget.epochs, ranges.epochs), (BATCH, settings.data.batch_size, ranges.batch_size))
    for name, value, values in tried:
        if value not in values:
            shown = ", ".join(f"{each:g}" for each in values)
            notes.append(f"{name}={value:g} was not tried: search.{name.partition('.')[2]}=[{shown}]")
    return notes


def suggest(
    optuna: ModuleType, ranges: Ranges, before: Sequence[Mapping[str, Any]], *, seed: int
) -> dict[str, Any]:
    """Return what to try after the trials ``before``: a pure function of them and the seed (Bergstra et al. 2011).

    A trial that came to no figure counts as the worst of the others.
    """
    kinds = optuna.distributions
    places = {
        RATE: kinds.FloatDistribution(ranges.low, ranges.high, log=True),
        EPOCHS: kinds.CategoricalDistribution(ranges.epochs),
        BATCH: kinds.CategoricalDistribution(ranges.batch_sizes),
    }
    sampler = optuna.samplers.TPESampler(
        seed=seed_for(seed, "search", len(before)) % _SEEDS, n_startup_trials=_RANDOM
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    values = [value_of(one) for one in before]
    worst = min((value for value in values if value is not None), default=0.0)
    for one, value in zip(before, values, strict=True):
        reached = worst if value is None else value
        study.add_trial(
            optuna.trial.create_trial(params=dict(one["settings"]), distributions=places, value=reached)
        )
    chosen: dict[str, Any] = study.ask(places).params
    rounded = float(f"{chosen[RATE]:.3g}")
    return chosen | {RATE: min(max(rounded, ranges.low), ranges.high)}


def as_given(settings: FinetuneSettings, hidden_size: int) -> dict[str, Any]:
    """Return what a search changes as it is before."""
    rate = learning_rate(settings.optim, hidden_size)
    return {RATE: rate, EPOCHS: settings.budget.epochs, BATCH: settings.data.batch_size}


def changed(settings: FinetuneSettings, chosen: Mapping[str, Any]) -> FinetuneSettings:
    """Return the settings with those that a search chose."""
    tree: dict[str, Any] = settings.model_dump()
    for name, value in chosen.items():
        section, _, key = name.partition(".")
        tree = overlaid(tree, {section: {key: value}})
    return FinetuneSettings.model_validate(tree)


def said(chosen: Mapping[str, Any]) -> str:
    """Say what a search chose."""
    epochs = f"{chosen[EPOCHS]:g} epoch{'s' * (chosen[EPOCHS] != 1)}"
    return f"learning rate {chosen[RATE]:.3g}, {epochs}, batches of {chosen[BATCH]}"


def _outcome(run: Tuning[Any], console: Console) -> dict[str, Any] | None:
    """Train to the end and return the figure of the best weights; None when a signal stopped it."""
    run.open()
    try:
        show_tuning(run, console)
    except TrainingError:  # a learning rate that is too high for the model is an outcome
        return {"value": None, "seconds": run.seconds, "state": "diverged"}
    if not run.is_finished:
        return None
    value = value_of(run.best_value)
    state = {} if value is not None else {"state": "undefined"}
    return {"value": value, "seconds": run.seconds, **state}


def _reached(trials: Sequence[Mapping[str, Any]], metric: str) -> str:
    last = trials[-1]
    if last["value"] is None:
        return f"{last['state']}: no figure"
    best = ", the best so far" if best_of(trials) is last else ""
    return f"{figure(metric).title} {written(last['value'], metric)}{best}"


def load_optuna() -> ModuleType:
    """Return Optuna, made to keep quiet."""
    try:
        import optuna
    except ImportError:
        raise SettingsError("--search needs the package optuna: `pip install clozelm[finetune]`.") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
