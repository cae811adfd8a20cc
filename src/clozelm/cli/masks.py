"""`cloze masks`: what a masking strategy would hide, looked at before paying for training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clozelm.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from clozelm.flows.mask_examples import Example, Stretch
    from clozelm.flows.masks import Found, MaskReport

_STYLES = {
    "mask": ("bold white on rgb(42,111,151)", "bold white on rgb(70,143,175)"),
    "random": ("bold white on rgb(209,73,91)", "bold white on rgb(225,112,126)"),
    "keep": ("bold black on rgb(237,174,73)", "bold black on rgb(245,205,130)"),
}
_LEGEND = {
    "mask": "[MASK]",
    "random": "a random piece",
    "keep": "kept but predicted",
}
_BARS = 16
_LONGEST = 5


def masks(
    data: Annotated[Path, typer.Argument(help="Token store made by `cloze prepare`.")],
    strategy: Annotated[
        str | None, typer.Option(help="How positions are chosen; see `cloze settings pretrain masking`.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Share of tokens hidden; 0.15 unless --set or --recipe says otherwise.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Masks and rows of a recipe: a TOML file, or the name of a shipped one, such as tiny."),
    ] = None,
    at: Annotated[
        float, typer.Option(help="Where in the run, for a rate that moves: 0 its beginning, 1 its end.")
    ] = 0.0,
    show: Annotated[int, typer.Option(min=0, help="How many texts to show.")] = 5,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="masking.key=value; see `cloze settings pretrain masking`.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of order and masks, as run.seed; else the recipe's, or 0.")
    ] = None,
    epoch: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The pass over the corpus, from 0.")] = 0,
    row_length: Annotated[
        int | None, typer.Option(min=16, help="Tokens in a packed row; else the recipe's, or 128.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="About how many tokens to measure.")] = 200_000,
    png: Annotated[
        str | None, typer.Option(help="Picture to write: masks.png unless --json is there; none for none.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a masking strategy hides of DATA, in examples and figures: the masks training would see.

    Training follows a recipe: name it with --recipe, so that strategy, rate, corruption and rows are its own.
    """
    from clozelm.flows.masks import draw, look, of_run, overrides

    picture = _picture(png, as_json)
    settings = of_run(recipe, overrides(strategy, rate, set_ or []))
    report = look(
        data,
        settings.masking,
        show=show,
        tokens=tokens,
        seed=settings.run.seed if seed is None else seed,
        epoch=epoch,
        row_length=settings.data.row_length if row_length is None else row_length,
        unit=settings.data.unit,
        at=at,
        objective=settings.objective.name,
    )
    if as_json:
        typer.echo(json.dumps(report.plain(), ensure_ascii=False))
    else:
        _show(report)
    if picture is not None:  # last, so that a folder that cannot be written to does not hide the figures
        draw(report, picture)
        if not as_json:
            typer.echo(f"Picture: {picture}")


def _picture(png: str | None, as_json: bool) -> Path | None:
    """Return where the picture goes."""
    if png == "none" or (png is None and as_json):
        return None
    if png is not None and not png.lower().endswith(".png"):
        raise SettingsError(f"--png {png}: a PNG is what is drawn, so name a file that ends in .png.")
    return Path(png or "masks.png")


def _show(report: "MaskReport") -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    for number, example in enumerate(report.examples):
        if number == 0:
            console.print(_legend(console.is_terminal), end="\n\n")
        about = f"document {example.document:,}: {example.hidden:,} of {example.tokens:,} tokens hidden"
        console.print(Text(about, style="dim"))
        console.print(_written(example, console.is_terminal), end="\n\n")
    low, high = report.measured.interval
    about = (
        f" (95% interval {low:.2%} to {high:.2%}; asked for {report.rate:.2%}), measured on {report.tokens:,} "
        f"tokens in {report.pieces:,} document pieces, {report.rows:,} rows of {report.row_length}\n"
    )
    console.print(Text.assemble((f"{report.strategy}: {report.measured.rate:.2%} hidden", "bold"), about))
    console.print(_shares(report))
    console.print()
    console.print(_clusters(report))
    console.print()
    console.print(_becomes(report))
    if report.collocations is not None:
        console.print(Text(_collocations(report.collocations)))
    if report.notice:
        console.print(Text(report.notice, style="yellow"))


def _legend(is_coloured: bool) -> "Text":
    from rich.text import Text

    from clozelm.flows.mask_examples import Stretch

    legend = Text()
    for fate, meaning in _LEGEND.items():
        sample = Stretch("word", fate, 1, "other" if fate == "random" else None)  # type: ignore[arg-type]
        legend.append_text(_block(sample, is_coloured, 0))
        legend.append(f" {meaning}   ", style="dim")
    legend.rstrip()
    return legend


def _written(example: "Example", is_coloured: bool) -> "Text":
    """Return a text in which hidden stretches stand out; neighbours that touch get different shades."""
    from rich.text import Text

    line = Text()
    shade = 0
    for stretch in example.stretches:
        if stretch.fate == "seen":
            line.append(stretch.text)
            continue
        text = stretch.text.lstrip()
        gap = stretch.text[: len(stretch.text) - len(text)]
        shade = 0 if gap else 1 - shade
        line.append(gap)
        line.append_text(_block(stretch, is_coloured, shade))
    if example.is_cut:
        line.append(" …", style="dim")
    return line


def _block(stretch: "Stretch", is_coloured: bool, shade: int) -> "Text":
    """Return a hidden stretch: a coloured block, or in brackets with a sign where there are no colours."""
    from rich.text import Text

    text = stretch.text.strip()
    if not is_coloured:
        inner = {"mask": text, "random": f"{text}→{stretch.replacement}", "keep": f"={text}"}[stretch.fate]
        return Text(f"⟦{inner}⟧")
    style = _STYLES[stretch.fate][shade]
    if stretch.fate != "random":
        return Text.assemble((text, style))
    return Text.assemble((text, f"{style} strike"), (f"→{stretch.replacement}", style))


def _shares(report: "MaskReport") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("kind of token", no_wrap=True)
    for name in ("tokens", "hidden", "95% interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    most = max(share.rate for shares in report.kinds.values() for share in shares)
    for shares in report.kinds.values():
        if table.row_count:
            table.add_row()
        for share in shares:
            low, high = (100 * end for end in share.interval)
            name = f"{share.name} ({share.note})" if share.note else share.name
            bar = Text("█" * round(_BARS * share.rate / (most or 1.0)), style="rgb(42,111,151)")
            table.add_row(name, f"{share.tokens:,}", f"{share.rate:.2%}", f"{low:.2f} to {high:.2f}", bar)
    return table


def _clusters(report: "MaskReport") -> "Table":
    """Return how many hidden tokens stand together, as shares of lengths."""
    from rich.table import Table

    from clozelm.flows.mask_figures import mean_of

    table = Table(box=None, pad_edge=False)
    table.add_column("length of", no_wrap=True)
    for name in ("mean", *map(str, range(1, _LONGEST + 1)), "more"):
        table.add_column(name, justify="right", no_wrap=True)
    names = {
        "run tokens": "a hidden run, tokens",
        "run words": "a hidden run, words",
        "group tokens": "one draw, tokens",
    }
    for key, name in names.items():
        counts = report.lengths[key]
        total = sum(counts.values())
        shown = [counts.get(length, 0) for length in range(1, _LONGEST + 1)]
        cells = [f"{count / total:.1%}" if count else "" for count in (*shown, total - sum(shown))]
        table.add_row(name, f"{mean_of(counts):.2f}", *cells)
    return table


def _collocations(found: "Found") -> str:
    """Say how many collocations there are, and which are the best."""
    numbers = ", ".join(f"{number:,} of {words} words" for words, number in found.numbers.items())
    best = f" The best: {'; '.join(found.best)}." if found.best else ""
    return f"Collocations, hidden together: {numbers}.{best}"


def _becomes(report: "MaskReport") -> str:
    """Say what becomes of hidden tokens, and how many a document piece has."""
    from clozelm.flows.mask_figures import mean_of, quantile_of

    asked = report.corruption
    fates = [f"{share:.1%} {_LEGEND[name]} (asked for {asked[name]:.0%})" for name, share in report.fates.items()]
    counts = report.per_piece
    return (
        f"Hidden tokens become: {', '.join(fates)}.\n"
        f"A document piece has {mean_of(counts):.1f} of them on average, half of them at most "
        f"{quantile_of(counts, 0.5)}, from {min(counts)} to {max(counts)}."
    )
