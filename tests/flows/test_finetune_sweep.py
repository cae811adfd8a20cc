"""Several seeds and searched settings: each run is the single one, what was done is kept, others are refused."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from clozelm.errors import SettingsError, TrainingError
from clozelm.flows import finetune_search
from clozelm.flows.finetune import tune
from clozelm.flows.finetune_search import BATCH, EPOCHS, RATE, Ranges, best_of, search_notes, suggest
from clozelm.flows.finetune_sweep import sweep
from clozelm.flows.task_data import TaskData
from clozelm.hub.save import save
from clozelm.report.finetune_table import seed_grid, trial_grid
from clozelm.report.statistics import mean_of
from clozelm.settings import load
from clozelm.tasks.classify import Classify
from clozelm.text.examples import TextExample
from clozelm.train.finetune import finetune
from clozelm.train.finetune_settings import FinetuneSettings
from clozelm.train.tuning import Split
from tests.tiny_models import tiny_model, wordpiece

optuna = pytest.importorskip("optuna")

TEXTS = [
    TextExample((f"the {one} {verb} on a {other}",), "pet" if verb == "sat" else "wild", f"t:{place}")
    for place, (one, other, verb) in enumerate(
        (one, other, verb)
        for one in ("cat", "dog", "mat")
        for other in ("machine", "cat", "dog")
        for verb in ("sat", "ran")
    )
]
QUICK = ["data.batch_size=8", "run.precision=fp32", "run.device=cpu", "optim.learning_rate=2e-3", "budget.epochs=2"]
SEARCHED = [*QUICK, "search.batch_size=[4, 8]", "search.epochs=[1, 2]", "search.learning_rate_high=3"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model") / "bert"
    save(tiny_model("bert"), wordpiece(), place, family="bert")
    return place


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


def data(count: int = len(TEXTS)) -> TaskData:
    task = Classify(("pet", "wild"))
    return TaskData(task, Split(TEXTS[:count], TEXTS), "train.csv", "dev.csv", facts={"text": ["text"]})


def settings(*overrides: str, base: list[str] = QUICK) -> FinetuneSettings:
    return load(FinetuneSettings, None, [*base, *overrides])


def weights(place: Path) -> dict[str, torch.Tensor]:
    return load_file(place / "model.safetensors")


def assert_same_model(one: Path, other: Path) -> None:
    theirs = weights(other)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(one).items())


def test_every_seed_is_the_single_run_and_the_best_is_the_model(
    model: Path, tmp_path: Path, console: Console
) -> None:
    out = tmp_path / "many"
    found = sweep(settings("run.seed=3"), model=model, data=data(), out=out, seeds=3, console=console)
    single = tune(settings("run.seed=4"), model=model, data=data(), out=tmp_path / "one", console=console)
    assert found is not None
    assert single is not None
    assert [one["seed"] for one in found["seeds"]] == [3, 4, 5]
    assert found["seeds"][1]["figures"] == single["figures"]
    assert_same_model(out / "seed-4" / "model", tmp_path / "one" / "model")
    values = [one["figures"]["accuracy"]["value"] for one in found["seeds"]]
    mean = mean_of(values)
    assert found["over_seeds"]["accuracy"] == {"mean": mean.mean, "low": mean.low, "high": mean.high}
    best = values.index(max(values)) + 3
    assert found["best_seed"] == best
    assert found["figures"] == found["seeds"][best - 3]["figures"]
    assert_same_model(out / "model", out / f"seed-{best}" / "model")
    assert json.loads((out / "results.json").read_text()) == found
    assert "Over seeds" in (out / "report.html").read_text()
    assert f"the model is that of seed {best}, the best of 3 on dev" in found["notes"][0]
    assert seed_grid(found) is not None
    assert {"journal.jsonl", "dev_predictions.jsonl"} <= {path.name for path in out.iterdir()}


def test_seeds_are_added_and_what_is_done_stays(model: Path, tmp_path: Path, console: Console) -> None:
    sweep(settings(), model=model, data=data(), out=tmp_path / "a", seeds=1, console=console)
    before = (tmp_path / "a" / "seed-0" / "journal.jsonl").read_text()
    found = sweep(settings(), model=model, data=data(), out=tmp_path / "a", seeds=2, console=console)
    assert found is not None
    assert len(found["seeds"]) == 2
    assert (tmp_path / "a" / "seed-0" / "journal.jsonl").read_text() == before, "seconds and all"


def test_a_stopped_seed_goes_on(
    model: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sweep(settings(), model=model, data=data(), out=tmp_path / "whole", seeds=2, console=console)
    monkeypatch.setattr("clozelm.flows.finetune.show_tuning", stop_after(4))
    assert sweep(settings(), model=model, data=data(), out=tmp_path / "cut", seeds=2, console=console) is None
    assert not (tmp_path / "cut" / "results.json").exists()
    monkeypatch.undo()
    cut = sweep(settings(), model=model, data=data(), out=tmp_path / "cut", seeds=2, console=console)
    assert whole is not None
    assert cut is not None
    assert cut["seeds"] == whole["seeds"]
    assert_same_model(tmp_path / "cut" / "model", tmp_path / "whole" / "model")


def stop_after(count: int) -> Any:
    """Train so many steps, then save and stop, as a signal does."""

    def show(run: Any, console: Console) -> None:
        for _, report in zip(range(count), finetune(run), strict=False):
            assert report.step
        run.save_checkpoint()

    return show


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["optim.learning_rate=1e-3"], "optim.learning_rate was 0.002, now 0.001"),
        (["run.seed=2"], "run.seed was 0, now 2"),
    ],
)
def test_other_settings_are_refused(
    changes: list[str], said: str, model: Path, tmp_path: Path, console: Console
) -> None:
    sweep(settings(), model=model, data=data(), out=tmp_path / "a", console=console)
    with pytest.raises(SettingsError, match=said):
        sweep(settings(*changes), model=model, data=data(), out=tmp_path / "a", seeds=3, console=console)
    assert not (tmp_path / "a" / "seed-1").exists()


def test_other_examples_models_and_places_are_refused(model: Path, tmp_path: Path, console: Console) -> None:
    sweep(settings(), model=model, data=data(), out=tmp_path / "a", console=console)
    with pytest.raises(SettingsError, match="the examples of train"):
        sweep(settings(), model=model, data=data(10), out=tmp_path / "a", console=console)
    save(tiny_model("bert", seed=1), wordpiece(), tmp_path / "other", family="bert")
    with pytest.raises(SettingsError, match="the model"):
        sweep(settings(), model=tmp_path / "other", data=data(), out=tmp_path / "a", console=console)
    with pytest.raises(SettingsError, match="--search was 0, now 2"):
        sweep(settings(), model=model, data=data(), out=tmp_path / "a", trials=2, console=console)
    tune(settings(), model=model, data=data(), out=tmp_path / "single", console=console)
    with pytest.raises(SettingsError, match=r"single holds a single fine-tuning: name a new --out"):
        sweep(settings(), model=model, data=data(), out=tmp_path / "single", console=console)
    with pytest.raises(SettingsError, match=r"is not empty and holds no fine-tuning"):
        tune(settings(), model=model, data=data(), out=tmp_path / "a", console=console)


def test_a_search_keeps_figures_and_trains_the_best(model: Path, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "a"
    given = settings(base=SEARCHED)
    found = sweep(given, model=model, data=data(), out=out, trials=4, seeds=2, console=console)
    assert found is not None
    assert len(found["trials"]) == 4
    assert found["trials"][0]["settings"] == {RATE: 2e-3, EPOCHS: 2.0, BATCH: 8}, "as given"
    best = max(found["trials"], key=lambda one: one["value"])["settings"]
    used = found["settings"]
    assert (used["optim"]["learning_rate"], used["budget"]["epochs"], used["data"]["batch_size"]) == (
        best[RATE],
        best[EPOCHS],
        best[BATCH],
    )
    assert found["seeds"][0]["figures"]["accuracy"]["value"] == max(one["value"] for one in found["trials"])
    assert "are the best of 4 tried on these very dev examples" in found["notes"][0]
    assert trial_grid(found) is not None
    assert "4 trials" in (out / "report.html").read_text()
    assert not (out / "trials").exists()
    again = sweep(given, model=model, data=data(), out=out, trials=4, seeds=2, console=console)
    assert again == found


def test_a_stopped_search_goes_on_to_the_same_trials(
    model: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def searched(name: str) -> list[Any] | None:
        return finetune_search.search(
            settings(base=SEARCHED), model=model, data=data(), out=tmp_path / name, trials=7, console=console
        )

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, real = searched("whole"), finetune_search.show_tuning
    calls = 0

    def cut(run: Any, console: Console) -> None:
        nonlocal calls
        calls += 1
        (stop_after(1) if calls in (2, 5) else real)(run, console)

    monkeypatch.setattr(finetune_search, "show_tuning", cut)
    assert searched("cut") is None
    assert len(json.loads((tmp_path / "cut" / "search.json").read_text())["trials"]) == 1
    assert searched("cut") is None
    resumed = searched("cut")
    assert whole is not None
    assert resumed is not None
    assert without_seconds(resumed) == without_seconds(whole)
    assert json.loads((tmp_path / "cut" / "search.json").read_text())["trials"] == resumed


def without_seconds(trials: list[Any]) -> list[Any]:
    return [{name: value for name, value in one.items() if name != "seconds"} for one in trials]


def test_a_trial_that_diverges_is_an_outcome(
    model: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = finetune_search.show_tuning

    def diverge(run: Any, console: Console) -> None:
        if run.settings.optim.learning_rate == 2e-3:
            raise TrainingError("The loss is not finite.")
        real(run, console)

    monkeypatch.setattr(finetune_search, "show_tuning", diverge)
    out = tmp_path / "a"
    found = sweep(settings(base=SEARCHED), model=model, data=data(), out=out, trials=2, console=console)
    assert found is not None
    assert found["trials"][0]["value"] is None
    assert found["trials"][0]["state"] == "diverged"
    assert found["settings"]["optim"]["learning_rate"] == found["trials"][1]["settings"][RATE]
    with pytest.raises(TrainingError, match="None of 1 trials came to a figure"):
        sweep(settings(base=SEARCHED), model=model, data=data(), out=tmp_path / "b", trials=1, console=console)


RANGES = Ranges(1e-5, 1e-3, (2.0, 3.0), (16, 32))


def objective(chosen: dict[str, Any]) -> float:
    """Best near 3e-4 with three epochs; batches do not matter."""
    return -abs(torch.tensor(chosen[RATE] / 3e-4).log().item()) - (chosen[EPOCHS] == 2.0)


def trials(count: int, seed: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _ in range(count):
        chosen = suggest(optuna, RANGES, found, seed=seed)
        assert RANGES.holds(chosen)
        found.append({"settings": chosen, "value": objective(chosen)})
    return found


def test_suggestions_are_a_function_of_seed_and_trials_and_learn() -> None:
    found = trials(25, seed=0)
    assert found == trials(25, seed=0)
    assert found[:3] != trials(3, seed=1)
    assert suggest(optuna, RANGES, found[:9], seed=0) == found[9]["settings"]
    searches = [trials(25, seed=seed) for seed in range(4)]
    early = [one["value"] for each in searches for one in each[:5]]
    late = [one["value"] for each in searches for one in each[10:]]
    assert sum(late) / len(late) > sum(early) / len(early) + 0.4
    assert all(best_of(each)["value"] > -0.2 for each in searches)


def test_what_was_not_tried_is_said() -> None:
    found = trials(2, seed=0)
    assert len(search_notes(settings("data.batch_size=16", "budget.epochs=3"), found)) == 1
    odd = settings("data.batch_size=16", "budget.epochs=4")
    assert search_notes(odd, found)[1] == "budget.epochs=4 was not tried: search.epochs=[2, 3, 5]"


def test_without_optuna_it_is_named(
    model: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        SettingsError, match=r"--search needs the package optuna: `pip install clozelm\[finetune\]`"
    ):
        sweep(settings(), model=model, data=data(), out=tmp_path / "a", trials=1, console=console)
    assert not (tmp_path / "a").exists(), "so that the same --out can be used without"
