"""`cloze compare`: train several arms under an equal budget with several seeds, and report how they differ."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    recipe: Annotated[str, typer.Argument(help="Comparison: a TOML file, or the name of a shipped one.")],
    data: Annotated[Path, typer.Option(help="Token store made by `cloze prepare`.")],
    out: Annotated[Path, typer.Option(help="Directory of the comparison; one of the same settings is resumed.")],
    heldout: Annotated[
        Path | None, typer.Option(help="Token store to measure on; DATA/held_out where there is one.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="compare.key=value, measure.key=value, base.section.key=value or arms.NAME...."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Train and measure this arm alone; repeatable.")] = None,
) -> None:
    """Train the arms of RECIPE on DATA, measure them alike and report in OUT."""
    from rich.console import Console

    from clozelm.flows.compare import begin, train_arms
    from clozelm.flows.compare_settings import load_comparison

    console = Console(highlight=False)
    comparison = load_comparison(recipe, set_ or [])
    plan = begin(comparison, data=data, out=out, heldout=heldout)
    if not train_arms(plan, only=only or [], console=console):
        console.print(
            f"Stopped with {len(plan.unfinished)} of {len(plan.jobs)} runs to go; the same command goes on."
        )
