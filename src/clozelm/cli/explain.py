"""`cloze explain`: why a model fills a mask as it does."""

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clozelm.cli.default_model import MODEL_HELP, one_text, split_model

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from clozelm.explain.explain import Explanation
    from clozelm.explain.probe import Guess

_MOST_WORDS = 14
_MOST_SWAPS = 5
_FOR, _AGAINST = (0, 114, 178), (213, 94, 0)
_BLOCKS = " ▁▂▃▄▅▆▇█"
_SHORT = {
    "occlusion": "occlusion\nlog-odds",
    "occlusion KL": "occlusion\nKL",
    "integrated gradients": "integrated\ngradients",
    "attention rollout": "attention\nrollout",
}


def explain(
    arguments: Annotated[
        list[str], typer.Argument(metavar="[MODEL] TEXT", help=f"{MODEL_HELP} Then a sentence with [MASK].")
    ],
    word: Annotated[
        str | None, typer.Option(help="The word you expect; explained in place of the model's first guess.")
    ] = None,
    mask: Annotated[int | None, typer.Option(help="Which mask to explain, from 1, of several.")] = None,
    top: Annotated[int, typer.Option(help="How many guesses to show.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the random orders methods are held against.", min=0)] = 0,
    html: Annotated[Path | None, typer.Option(help="Page to write, with pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Show why MODEL fills a [MASK] as it does: layer by layer, word by word, side by side."""
    from clozelm.explain.question import read_question
    from clozelm.flows.explain import write_page
    from clozelm.flows.model import load

    model, texts = split_model(arguments, "sentences", may_be_word=True)
    text = one_text(texts, "She opened the [MASK].")
    loaded = load(model, device=device)
    positions = loaded.masked_lm.config.max_positions
    if first := read_question(loaded.tokenizer, positions, text, mask=mask, word=word).notice:
        typer.echo(f"notice: {first}", err=True)  # what takes long begins with why it is not all of the text
    with _waiting():
        found = loaded.explain(text, word=word, mask=mask, top=top, seed=seed)
    if html is not None:
        write_page(found, html, model=model)
    if rest := (found.prompt.notice or "").removeprefix(first or "").strip():
        typer.echo(f"notice: {rest}", err=True)
    if as_json:
        typer.echo(json.dumps(found.plain(), ensure_ascii=False, allow_nan=False))
        return
    _show(found)
    if html is not None:
        typer.echo(f"Page: {html}")


def _waiting() -> "AbstractContextManager[object]":
    """Show that something is being done, where somebody watches."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("Asking the model from all sides ...")


def _show(found: "Explanation") -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    _show_answer(console, found)
    _show_words(console, found)
    _show_belief(console, found)
    _show_layers(console, found)
    _show_sides(console, found)
    _show_swaps(console, found)
    _show_looks(console, found)


def _show_answer(console: "Console", found: "Explanation") -> None:
    from rich.text import Text

    from clozelm.report.explanation_words import (
        ASKED,
        believed,
        percent,
        strengths,
        stretches,
        target_said,
        undecided,
    )

    method = found.words.attributions[believed(found.words)]
    shades = dict(enumerate(strengths(method)))
    which, count = found.prompt.which
    line, asked = Text(), "»[MASK]«" if count > 1 else "[MASK]"
    for text, number in stretches(found.prompt):
        if number is None:
            line.append(text)
        else:
            line.append_text(Text(asked, "bold reverse") if number == ASKED else _shaded(text, shades[number]))
    console.print(line, end="\n\n")
    if count > 1:
        console.print(Text(f"Explained is mask {which} of {count}, »[MASK]« above.", "dim"))
    width = max(len(guess.text) for guess in found.answer.guesses)
    for guess in found.answer.guesses:
        bar = Text("█" * round(40 * guess.probability), "green")
        console.print(Text(f"  {percent(guess.probability):>7}  {guess.text:<{width}}  ") + bar)
    said = undecided(found.answer)
    console.print(Text(f"{said[0].upper()}{said[1:]}.", "dim"))
    console.print(Text(target_said(found.answer)))


def _show_words(console: "Console", found: "Explanation") -> None:
    from rich.text import Text

    from clozelm.report.explanation_words import strengths, value_written

    _head(console, "Which words it rests on", f'blue speaks for "{found.answer.target.text}", orange against it')
    table, methods = _table(), found.words.attributions
    table.add_column("", no_wrap=True, max_width=24)
    for each in methods:
        table.add_column(_SHORT[each.method], justify="right", no_wrap=True)
    shades = [strengths(each) for each in methods]
    weight = [max(abs(shade[number]) for shade in shades) for number in range(len(found.prompt.words))]
    kept = sorted(sorted(range(len(weight)), key=lambda number: -weight[number])[:_MOST_WORDS])
    for number in kept:
        cells = [
            _shaded(f" {value_written(each.values[number], each.unit)} ", shade[number])
            for each, shade in zip(methods, shades, strict=True)
        ]
        table.add_row(Text(found.prompt.words[number]), *cells)
    console.print(table)
    if len(kept) < len(weight):
        console.print(Text(f"  and {len(weight) - len(kept)} words that matter less; --json has all.", "dim"))


def _show_belief(console: "Console", found: "Explanation") -> None:
    from rich.text import Text

    from clozelm.report.explanation_words import completeness_said

    deletion = found.words.deletion
    _head(console, "Whom to believe", "the faster the answer goes, the better")
    if deletion.curves:
        table = _table()
        for name in ("words hidden in order of", "none → all", "it keeps", "beats random"):
            table.add_column(name, justify="right" if "keeps" in name or "beats" in name else "left", no_wrap=True)
        rows = [
            (each.method, each.probabilities, each.kept, f"{1 - each.worse_than:.0%}") for each in deletion.curves
        ]
        rows.append(("random order", deletion.random_mean, deletion.random_kept, ""))
        most = min(max(max(curve) for _, curve, *_ in rows), 2 * deletion.random_mean[0])
        leaders = {each.method for each in deletion.leaders}
        for name, curve, kept, beats in rows:
            style = "bold" if name in leaders else ""
            table.add_row(Text(name, style), Text(_spark(curve, most), "green"), f"{kept:.0%}", beats)
        console.print(table)
    console.print(Text(deletion.verdict))
    if deletion.curves:
        console.print(Text(completeness_said(found.words), "dim"))


def _show_layers(console: "Console", found: "Explanation") -> None:
    from rich.text import Text

    from clozelm.report.explanation_words import percent

    _head(console, "Layer by layer", "what the model would say if it stopped there")
    table = _guess_table(console, "layer", found)
    for each in found.layers:
        name = "before" if each.layer == 0 else str(each.layer)
        row = (Text(name), _guesses(each.guesses[:5]), percent(each.probability), f"{each.rank:,}")
        table.add_row(*row)
    console.print(table)


def _show_sides(console: "Console", found: "Explanation") -> None:
    from rich.text import Text

    from clozelm.report.explanation_words import SIDES, percent

    _head(console, "From one side", "what it says while the words of the other side are hidden")
    table = _guess_table(console, "reads", found)
    for side in found.sides:
        probability = percent(side.probability)
        table.add_row(Text(SIDES[side.side]), _guesses(side.guesses[:4]), probability, f"{side.rank:,}")
    console.print(table)


def _show_swaps(console: "Console", found: "Explanation") -> None:
    from rich.text import Text

    from clozelm.report.explanation_words import percent, swap_said

    _head(console, "Small edits", "one word swapped for another that the model finds likely there")
    for swap in found.swaps[:_MOST_SWAPS]:
        line = Text.assemble("  ", (swap.old, "strike dim"), " → ", (swap.new, "bold"))
        line.append(f" ({percent(swap.likely)})", "dim")
        now = "now" if swap.changes_answer else "still"
        line.append(f"  {now} ").append(swap.answer.text, "bold" if swap.changes_answer else "")
        line.append(f" {percent(swap.answer.probability)}")
        console.print(line, overflow="ellipsis", no_wrap=True)
    console.print(Text(swap_said(found)))


def _show_looks(console: "Console", found: "Explanation") -> None:
    """For every layer, the head that looks hardest at one word."""
    from rich.text import Text

    from clozelm.report.explanation_words import reach

    _head(console, "Where the mask looks", "the head of each layer that is surest of a word")
    looks = found.attention.weights[:, :, list(found.attention.asking)].mean(axis=2)
    if not found.prompt.words:
        return
    table = _table()
    for name in ("layer", "", "head", "word", "", ""):
        table.add_column(name, no_wrap=True)
    for index, layer in enumerate(looks):
        words = [[float(head[columns].sum()) for columns in found.prompt.columns] for head in layer]
        head = max(range(len(words)), key=lambda one: max(words[one]))
        word = max(range(len(words[head])), key=lambda one: words[head][one])
        share = words[head][word]
        bar = Text("█" * round(20 * share), f"rgb{_FOR}".replace(" ", ""))
        about = Text(reach(found.attention.windows[index]), "dim")
        table.add_row(str(index + 1), about, str(head + 1), Text(found.prompt.words[word]), f"{share:.0%}", bar)
    console.print(table)


def _head(console: "Console", title: str, about: str) -> None:
    from rich.text import Text

    console.print()
    console.print(Text.assemble((title, "bold"), ("  " + about, "dim")))


def _table() -> "Table":
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")


def _guess_table(console: "Console", first: str, found: "Explanation") -> "Table":
    """Return a table of guesses, which alone give way where a line is too narrow."""
    from clozelm.text.valid import shortened

    name = f'"{shortened(found.answer.target.text, 18)}"'
    wide = max(7, len(name))
    table = _table()
    table.add_column(first, no_wrap=True, min_width=11)
    table.add_column("guesses", no_wrap=True, overflow="ellipsis", max_width=max(20, console.width - wide - 26))
    table.add_column(name, justify="right", no_wrap=True, min_width=wide)
    table.add_column("place", justify="right", no_wrap=True, min_width=6)
    return table


def _guesses(guesses: "list[Guess]") -> "Text":
    from rich.text import Text

    from clozelm.report.explanation_words import percent

    line = Text()
    for number, guess in enumerate(guesses):
        line.append("  " if number else "").append(guess.text, "bold" if not number else "")
        line.append(f" {percent(guess.probability)}", "dim")
    return line


def _shaded(text: str, strength: float) -> "Text":
    """Return text on blue (above 0) or orange, the stronger the further from 0."""
    from rich.text import Text

    share = min(1.0, abs(strength))
    if share < 0.08:
        return Text(text)
    ground = _FOR if strength > 0 else _AGAINST
    red, green, blue = (round(255 - (255 - each) * share) for each in ground)
    ink = "white" if share > 0.55 else "black"
    return Text(text, f"{ink} on rgb({red},{green},{blue})")


def _spark(values: list[float], most: float) -> str:
    """Draw a curve in one line."""
    return "".join(_BLOCKS[min(8, max(1, round(8 * value / most)))] for value in values)
