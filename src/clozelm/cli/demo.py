"""`cloze demo`: the whole road on shipped text, in minutes."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Directory for tokenizer, tokens, run and model.")] = Path("runs/demo"),
    minutes: Annotated[float, typer.Option(help="Minutes of optimiser steps.", min=0.01)] = 3.0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value of the recipe.")] = None,
) -> None:
    """Train a small model on shipped abstracts, watch it learn, evaluate it and let it fill sentences."""
    from clozelm.flows.demo import demo as run

    run(out, minutes=minutes, overrides=tuple(set_ or ()))
