"""`cloze fill`: what a model would write in place of each mask."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from clozelm.errors import ClozeError

if TYPE_CHECKING:
    from clozelm.infer.fill_mask import Filled


def fill(
    model: Annotated[str, typer.Argument(help="A run, or a Hugging Face model directory.")],
    text: Annotated[list[str], typer.Argument(help="Sentences with [MASK]; - reads one per line from stdin.")],
    top: Annotated[int, typer.Option(help="How many candidates per mask.", min=1)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per text.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Show what MODEL would write in place of each [MASK]."""
    from clozelm.flows.model import load

    texts = [line for one in text for line in _lines(one)]
    if not texts:
        raise ClozeError("There is no text to fill: standard input was empty.")
    for filled in load(model, device=device).fill_texts(texts, top):
        if filled.notice:
            typer.echo(f"notice: {filled.notice}", err=True)
        if as_json:
            typer.echo(json.dumps(to_json(filled), ensure_ascii=False))
        else:
            _show(filled)


def to_json(filled: "Filled") -> dict[str, object]:
    """Return the answer as plain data."""
    masks = [
        {"candidates": [{"id": c.id, "token": c.token, "probability": c.probability} for c in candidates]}
        for candidates in filled.masks
    ]
    return {"text": filled.text, "masks": masks}


def _lines(text: str) -> list[str]:
    if text != "-":
        return [text]
    try:
        lines = (one.strip().removeprefix("\ufeff") for one in sys.stdin or ())  # none: it was closed, as by <&-
        return [line for line in lines if line]
    except UnicodeDecodeError as error:
        raise ClozeError(f"Standard input is not UTF-8 text ({error.reason}): convert it first.") from None


def _show(filled: "Filled") -> None:
    """Print the text, then a line with a bar for every candidate."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(filled.text, style="bold"))
    for number, candidates in enumerate(filled.masks, start=1):
        if len(filled.masks) > 1:
            console.print(f"  mask {number}", style="dim")
        width = max(len(candidate.token) for candidate in candidates)
        for candidate in candidates:
            bar = "█" * round(24 * candidate.probability)
            line = Text(f"  {candidate.probability:6.1%}  {candidate.token:<{width}}  ")
            console.print(line + Text(bar, style="green"), overflow="ellipsis", no_wrap=True)
