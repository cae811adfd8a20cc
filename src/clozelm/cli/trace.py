"""`cloze trace`: the four steps of masked language modelling on one sentence."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clozelm.cli.default_model import MODEL_HELP, one_text, split_model

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {
    "mask": "bold white on rgb(42,111,151)",
    "random": "bold white on rgb(209,73,91)",
    "keep": "bold black on rgb(237,174,73)",
}
_GUESSES = 4


def trace(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="[MODEL] TEXT", help=f"{MODEL_HELP} Then a whole sentence, without a mask."),
    ],
    hide: Annotated[
        list[str] | None, typer.Option(help="A word to hide, in place of what the seed draws; may be repeated.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Share of pieces drawn to be predicted.")] = 0.15,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    learning_rate: Annotated[float, typer.Option(help="Of the one update.")] = 3e-4,
    top: Annotated[int, typer.Option(min=1, help="How many guesses to keep.")] = 5,
    html: Annotated[Path | None, typer.Option(help="Page to write, with pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Show the technique on one sentence: pieces, masks, predictions, and what one update of MODEL changes."""
    from clozelm.flows.model import load
    from clozelm.flows.trace import write_page

    model, texts = split_model(arguments, "sentences", may_be_word=True)
    text = one_text(texts, "She opened the door.")
    chosen: dict[str, Any] = {"rate": rate, "seed": seed, "learning_rate": learning_rate, "top": top}
    found = load(model, device=device).trace(text, hide=hide or [], **chosen)
    if html is not None:
        write_page(found, html, model=model)
    if found.notice:
        typer.echo(f"notice: {found.notice}", err=True)
    if as_json:
        typer.echo(json.dumps(found.plain(), ensure_ascii=False, allow_nan=False))
        return
    _show(found.plain())
    if html is not None:
        typer.echo(f"Page: {html}")


def _show(trace: Mapping[str, Any]) -> None:
    from rich.console import Console

    from clozelm.report.trace_words import STEPS

    console = Console(highlight=False, markup=False)
    for number, (title, show) in enumerate(zip(STEPS, (_pieces, _hidden, _predicted, _update), strict=True), 1):
        from rich.text import Text

        console.print(Text.assemble((f" {number} ", "bold reverse"), (f" {title}", "bold")))
        console.print()
        show(console, trace)
        console.print()


def _pieces(console: "Console", trace: Mapping[str, Any]) -> None:
    """Print pieces in boxes of two lines, the piece and its number, as many side by side as there is room for."""
    from rich.text import Text

    from clozelm.report.trace_words import pieces_said

    above, below = Text("  "), Text("  ")
    for piece in trace["pieces"]:
        token, number = piece["token"], str(piece["id"])
        width = max(len(token), len(number)) + 2
        if len(above) > 2 and len(above) + width > console.width:
            console.print(above)
            console.print(below, end="\n\n")
            above, below = Text("  "), Text("  ")
        above.append(f"{token:<{width}}", "dim" if piece["word"] is None else "bold")
        below.append(f"{number:<{width}}", "dim")
    console.print(above)
    console.print(below, end="\n\n")
    console.print(Text(pieces_said(trace)))


def _hidden(console: "Console", trace: Mapping[str, Any]) -> None:
    from rich.text import Text

    from clozelm.report.trace_words import fates_said, hidden_said, shown_at

    line = Text("  ")
    for token, piece in shown_at(trace):
        style = _STYLES[piece["fate"]] if piece else ""
        line.append(f" {token} " if piece else token, style).append(" ")
    console.print(line, end="\n\n")
    console.print(Text(hidden_said(trace)))
    for truths, said in fates_said(trace):
        console.print(Text.assemble("  ", (truths, "bold"), f" {said}"))


def _predicted(console: "Console", trace: Mapping[str, Any]) -> None:
    from rich.text import Text

    for one in trace["predictions"]:
        console.print(Text.assemble(("  ", ""), (one["piece"]["truth"], "bold"), (" was hidden", "dim")))
        for name, side in (("both sides", "both"), ("left alone", "left"), ("right alone", "right")):
            console.print(_seen(name, one[side], one["piece"]["truth"], console.width))


def _update(console: "Console", trace: Mapping[str, Any]) -> None:
    from rich.text import Text

    from clozelm.report.trace_words import after_said, loss_said, step_said

    console.print(Text(loss_said(trace)))
    console.print(Text(step_said(trace)), end="\n\n")
    for one in trace["predictions"]:
        for name, side in (("before", "both"), ("after", "after")):
            console.print(_seen(name, one[side], one["piece"]["truth"], console.width))
    console.print()
    console.print(Text(after_said(trace)))


def _seen(name: str, seen: Mapping[str, Any], truth: str, width: int) -> "Text":
    """Return a line: whence it was read, the truth with its probability and place, and the first guesses."""
    from rich.text import Text

    from clozelm.report.explanation_words import percent

    line = Text.assemble((f"  {name:<12}", "dim"), (truth, "bold"))
    line.append(f" {percent(seen['probability'])}", "green").append(f" (place {seen['rank']:,})   ", "dim")
    line.pad_right(max(0, 44 - len(line)))
    for guess in seen["guesses"][:_GUESSES]:
        line.append(guess["text"], "bold" if guess["text"] == truth else "")
        line.append(f" {percent(guess['probability'])}  ", "dim")
    line.rstrip()
    line.truncate(width, overflow="ellipsis")
    return line
