"""`cloze pretrain`: train a masked language model on a token store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from clozelm.train.run import Run


def pretrain(
    recipe: Annotated[str, typer.Argument(help="Recipe: a TOML file of settings, or the name of a shipped one.")],
    data: Annotated[Path, typer.Option(help="Token store made by `cloze prepare`.")],
    out: Annotated[Path, typer.Option(help="Directory of the run; one of the same settings is resumed.")],
    heldout: Annotated[
        Path | None, typer.Option(help="Token store to evaluate on; DATA/held_out where there is one.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value; see `cloze settings pretrain`.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: minutes of optimiser steps.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget: optimiser steps.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Budget: tokens.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show the plan, train nothing.")
    ] = False,
) -> None:
    """Train RECIPE on DATA, leaving checkpoints, a journal, a loss curve and a model in OUT."""
    from clozelm.flows.progress import show_run
    from clozelm.flows.training import draw_curve
    from clozelm.flows.training import recipe as load_recipe
    from clozelm.train.run import Run
    from clozelm.train.summary import summarise

    settings = load_recipe(recipe, *(set_ or []), *budget(minutes, steps, tokens))
    if dry_run:
        _show_plan(summarise(settings, data=data, out=out, heldout=heldout))
        return
    run = Run.open(settings, data=data, out=out, heldout=heldout)
    show_run(run)
    if not run.ranks.is_first:
        return
    draw_curve(run, str(out))
    closing(run)


def budget(minutes: float | None, steps: int | None, tokens: int | None) -> list[str]:
    """Turn the short options into settings; a given one replaces the recipe's budget."""
    given = {"minutes": minutes, "steps": steps, "tokens": tokens}
    if all(value is None for value in given.values()):
        return []
    return [f"budget.{name}={'none' if value is None else value}" for name, value in given.items()]


def _show_plan(facts: dict[str, Any]) -> None:
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}")


def closing(run: "Run") -> None:
    """Say where the model is, or how to go on."""
    if run.step < run.num_steps:
        typer.echo(f"Stopped at step {run.step:,} of {run.num_steps:,}; the same command resumes it.")
        return
    if run.settings.objective.name == "distill" and run.heldout is not None:
        _show_retained(run)
    if not run.objective.fills_masks:
        typer.echo(f"Models: {', '.join(str(run.out / one.folder) for one in run.objective.stored())}")
        return
    folder = "generator" if run.settings.objective.name == "rtd" else "model"
    model = run.out / folder
    typer.echo(f'Model: {model}\nTry:   cloze fill {model} "Machine learning is a [MASK] technology."')


def _show_retained(run: "Run") -> None:
    """Say what the student kept of its teacher, and leave it in ``retained.json``."""
    import json

    from clozelm.text.atomic import disk_errors
    from clozelm.train.retained import retained

    kept = retained(run).plain()
    with disk_errors(run.out):
        (run.out / "retained.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    student, teacher = kept["student"], kept["teacher"]
    typer.echo(
        f"Held out, student and teacher: {student['loss']:.3f} and {teacher['loss']:.3f} nats, "
        f"{student['accuracy']:.1%} and {teacher['accuracy']:.1%} right.\n"
        f"The student has {kept['size']:.0%} of the parameters and is {kept['speed']:.2f} times as fast."
    )
