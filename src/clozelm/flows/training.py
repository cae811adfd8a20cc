"""Find recipes, and draw what a run did."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from clozelm.errors import SettingsError
from clozelm.report.curves import loss_curve
from clozelm.settings import load
from clozelm.text.atomic import disk_errors
from clozelm.train.journal import JOURNAL, records
from clozelm.train.run import Run
from clozelm.train.settings import PretrainSettings


def recipe_path(name: str | Path, *, within: str = ".") -> Path:
    """Return the file of a recipe: a path, or the name of one that ships with the package.

    ``within`` is where among the shipped recipes to look: those of comparisons lie in ``compare``.
    """
    path = Path(name)
    if path.is_file():
        return path
    folder = Path(str(resources.files("clozelm") / "recipes")) / within
    shipped = folder / f"{name}.toml"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    known = ", ".join(sorted(each.stem for each in folder.glob("*.toml")))
    raise SettingsError(f"{name}: there is no such recipe file, and no recipe of that name (shipped: {known}).")


def recipe(name: str | Path, *overrides: str) -> PretrainSettings:
    """Return the settings of a recipe, with overrides such as ``"masking.rate=0.3"``."""
    return load(PretrainSettings, recipe_path(name), overrides)


def draw_curve(run: Run, title: str) -> Path:
    """Draw the loss curve of a run from its journal into ``loss.png`` and return its path."""
    path = run.out / "loss.png"
    with disk_errors(path):
        unigram = run.unigram_nats if run.objective.fills_masks else None
        loss_curve(
            records(run.out / JOURNAL),
            path,
            unigram_nats=unigram,
            title=title,
            log=False,
            held_out=run.heldout_key,
        )
    return path
