"""Open a pretraining run, or say what it would do."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from clozelm.errors import SettingsError
from clozelm.report.curves import loss_curve
from clozelm.train.journal import records
from clozelm.train.run import JOURNAL, Run, summarise
from clozelm.train.settings import PretrainSettings


def recipe_path(name: str | Path) -> Path:
    """Return the file of a recipe: a path, or the name of one that ships with the package."""
    path = Path(name)
    if path.is_file():
        return path
    folder = Path(str(resources.files("clozelm") / "recipes"))
    shipped = folder / f"{path.stem}.toml"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    known = ", ".join(sorted(each.stem for each in folder.glob("*.toml")))
    raise SettingsError(f"{name}: there is no such recipe file, and no recipe of that name (shipped: {known}).")


def open_run(
    settings: PretrainSettings, *, data: Path | str, out: Path | str, heldout: Path | str | None = None
) -> Run:
    """Open or resume the run in ``out``; see ``clozelm.pretrain``."""
    return Run.open(settings, data=Path(data), out=Path(out), heldout=None if heldout is None else Path(heldout))


def plan(settings: PretrainSettings, *, data: Path | str, heldout: Path | str | None = None) -> dict[str, Any]:
    """Check recipe, tokenizer and store, and return what a run would be, training nothing and writing nothing."""
    return summarise(settings, data=Path(data), heldout=None if heldout is None else Path(heldout))


def draw_curve(run: Run, title: str) -> Path:
    """Draw the loss curve of a run from its journal into ``loss.png`` and return its path."""
    path = run.out / "loss.png"
    loss_curve(records(run.out / JOURNAL), path, unigram_nats=run.unigram_nats, title=title, log=False)
    return path
