"""`cloze adapt`: continue the pretraining of a model on text of a domain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clozelm.flows.adapt import Adaptation
    from clozelm.train.evaluate import TextEvaluation


def adapt(
    model: Annotated[Path, typer.Argument(help="A run, or a Hugging Face model directory.")],
    corpus: Annotated[list[str], typer.Argument(help="Files, directories or globs of text.")],
    out: Annotated[Path, typer.Option(help="Directory of everything that is made; resumed if it is there.")],
    extend_vocab: Annotated[
        int, typer.Option(min=0, help="Pieces to learn from the corpus and add to the vocabulary.")
    ] = 0,
    documents: Annotated[str | None, typer.Option(help="auto, line, block, record or file.")] = None,
    field: Annotated[
        str | None, typer.Option(help="Text field of records; several, as in title,text, are joined.")
    ] = None,
    hold_out: Annotated[float, typer.Option(help="Share of the documents, from the end, to measure on.")] = 0.05,
    dedup: Annotated[bool, typer.Option("--dedup", help="Drop exact duplicates.")] = False,
    recipe: Annotated[str, typer.Option(help="Recipe: a TOML file, or the name of a shipped one.")] = "adapt",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value; see `cloze settings pretrain`.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: minutes of optimiser steps.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget: optimiser steps.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Budget: tokens; three times the corpus by default.")] = None,
) -> None:
    """Train MODEL further on CORPUS and report how well it reads held-out text before and after."""
    from clozelm.cli.pretrain import budget, closing
    from clozelm.data.prepare import PrepareSettings
    from clozelm.flows.adapt import begin, finish
    from clozelm.flows.progress import show_run
    from clozelm.flows.training import draw_curve
    from clozelm.settings import load

    given = {"documents": documents, "field": field, "hold_out": hold_out, "dedup": dedup or None}
    preparation = load(PrepareSettings, {name: value for name, value in given.items() if value is not None})
    adaptation = begin(
        model,
        list(corpus),
        out,
        overrides=[*(set_ or []), *budget(minutes, steps, tokens)],
        preparation=preparation,
        extend_vocab=extend_vocab,
        recipe_name=recipe,
    )
    _introduce(adaptation, extend_vocab)
    show_run(adaptation.run)
    draw_curve(adaptation.run, str(out))
    if adaptation.run.step == adaptation.run.num_steps:
        _compare(adaptation, finish(adaptation, out))
    closing(adaptation.run)


def _introduce(adaptation: "Adaptation", wanted: int) -> None:
    base, run = adaptation.base, adaptation.run
    typer.echo(
        f"{base.family.name}, {run.config.num_layers} layers x {run.config.hidden_size}: "
        f"{run.store.num_tokens:,} tokens to learn from, {run.num_steps:,} steps"
    )
    if wanted:
        short = "" if adaptation.new_pieces == wanted else f" (no more of {wanted:,} occur often enough)"
        typer.echo(f"{adaptation.new_pieces:,} new pieces, begun from the mean of their old ones{short}")
    if base.dropped:
        typer.echo(f"not used: {', '.join(base.dropped)}")
    if base.has_new_head:
        typer.echo("The model had no head for masked language modelling: a new one is trained.")


def _compare(adaptation: "Adaptation", after: "TextEvaluation") -> None:
    from rich.console import Console
    from rich.table import Table

    from clozelm.flows.adapt import change

    before = adaptation.before
    table = Table("held out", "before", "after", box=None, pad_edge=False, title_justify="left")
    pairs = {
        "bits per byte": (before and f"{before.words.bits_per_byte:.3f}", f"{after.words.bits_per_byte:.3f}"),
        "words right": (before and f"{before.words.words_right:.1%}", f"{after.words.words_right:.1%}"),
    }
    if not adaptation.new_pieces:
        pairs["loss, nats a piece"] = (before and f"{before.pieces.loss:.3f}", f"{after.pieces.loss:.3f}")
        pairs["  unigram"] = (f"{after.pieces.unigram:.3f}", f"{after.pieces.unigram:.3f}")
    for name, (then, now) in pairs.items():
        table.add_row(name, then or "no head", now)
    console = Console(highlight=False)
    console.print(table)
    if (found := change(before, after)) is not None:
        if found.low is None or found.high is None:
            between = f"too few documents ({found.documents}) for an interval"
        else:
            between = (
                f"95% interval {found.low:+.3f} to {found.high:+.3f}, paired over {found.documents:,} documents"
            )
        console.print(f"bits per byte changed by {found.bits_per_byte:+.3f} ({between})", soft_wrap=True)
