"""`cloze fill`: what a model would write in place of each mask."""

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from clozelm.cli.default_model import MODEL_HELP, split_model
from clozelm.errors import ClozeError

if TYPE_CHECKING:
    from rich.console import Console

    from clozelm.infer.fill_mask import Candidate, Filled
    from clozelm.infer.fillings import Answer, FilledTogether
    from clozelm.text.readers import Document

TEXT_HELP = "Then sentences with [MASK], or [MASK*] for one or more pieces; - reads them from stdin."
LIST_HELP = "a file with one a line, or a list with commas"


def fill(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL TEXT", help=f"{MODEL_HELP} {TEXT_HELP}")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A file with a sentence a line, or of records.")] = None,
    field: Annotated[str, typer.Option(help="Text field of records; several are joined.")] = "text",
    top: Annotated[int | None, typer.Option(help="How many answers: 5, or all targets.", min=1)] = None,
    order: Annotated[
        Literal["best-first", "left-to-right", "each"] | None,
        typer.Option(
            help="Several masks together, the most certain first (the default) or as one reads; or each alone."
        ),
    ] = None,
    beam: Annotated[int, typer.Option(help="Texts kept after every mask.", min=1)] = 5,
    max_pieces: Annotated[int, typer.Option(help="Most pieces of a [MASK*].", min=1, max=32)] = 4,
    targets: Annotated[str | None, typer.Option(help=f"Words that are all scored: {LIST_HELP}.")] = None,
    only: Annotated[str | None, typer.Option(help=f"The only words that are allowed: {LIST_HELP}.")] = None,
    exclude: Annotated[str | None, typer.Option("--not", help=f"Words that are not wanted: {LIST_HELP}.")] = None,
    whole_words: Annotated[
        bool, typer.Option("--whole-words", help="Only words: no pieces that continue one, no marks.")
    ] = False,
    temperature: Annotated[float, typer.Option(help="Divide logits by it; more is less sure.")] = 1.0,
    calibrate: Annotated[Path | None, typer.Option(help="Fit the temperature on this text.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per text.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Show what MODEL would write in place of each [MASK]; several in a text are filled together."""
    from clozelm.flows.fill import StreamFill, calibrated, words_of
    from clozelm.flows.model import load
    from clozelm.infer.fillings import FillSettings

    model, text = split_model(arguments, "sentences")
    if not text and file is None:
        raise ClozeError("There is no text to fill: give sentences with [MASK], - for standard input, or --file.")
    settings = FillSettings(
        order=order,
        beam=beam,
        max_pieces=max_pieces,
        targets=None if targets is None else words_of(targets),
        only=None if only is None else words_of(only),
        exclude=() if exclude is None else words_of(exclude) or _no_word(),
        whole_words=whole_words,
        temperature=temperature,
    )
    opened = load(model, device=device)
    if calibrate is not None:
        settings, fitted = calibrated(opened, calibrate, settings)
        typer.echo(f"calibrated: {fitted.said}", err=True)
    _print(StreamFill(opened, settings)(_texts(text, file, field), top), file, as_json=as_json)


def _no_word() -> NoReturn:
    raise ClozeError("--not names no word.")


def _print(answers: "Iterable[tuple[Filled | FilledTogether, str]]", file: Path | None, *, as_json: bool) -> None:
    """Print every answer as it comes."""
    from rich.console import Console

    from clozelm.infer.fill_mask import Filled

    console, is_empty = Console(highlight=False), True
    for one, source in answers:
        is_empty = False
        if one.notice:
            typer.echo(f"notice: {source + ': ' if source else ''}{one.notice}", err=True)
        if as_json:
            plain = to_json(one) if isinstance(one, Filled) else together_to_json(one)
            typer.echo(json.dumps({"source": source, **plain} if source else plain, ensure_ascii=False))
        elif isinstance(one, Filled):
            _show(one, console)
        else:
            _show_together(one, console)
    if is_empty:
        where = "standard input was empty" if file is None else f"{file} holds none"
        raise ClozeError(f"There is no text to fill: {where}.")


def to_json(filled: "Filled") -> dict[str, object]:
    """Return the candidates of every mask as plain data."""
    masks = [
        {"entropy": entropy, "candidates": [_piece(one) for one in candidates]}
        for candidates, entropy in zip(filled.masks, filled.entropies, strict=True)
    ]
    return {"text": filled.text, "masks": masks}


def together_to_json(filled: "FilledTogether") -> dict[str, object]:
    """Return fillings, or the answers to each blank, as plain data."""
    found: dict[str, object] = {"text": filled.text, "order": filled.order}
    if filled.order == "each":
        return found | {"each": [[_answer(one) for one in answers] for answers in filled.each]}
    fillings = [
        {
            "text": one.text,
            "probability": one.probability,
            "log_probability": one.log_probability,
            "score": one.score,
            "answers": [_answer(answer) for answer in one.answers],
        }
        for one in filled.fillings
    ]
    return found | {"fillings": fillings}


def _answer(answer: "Answer") -> dict[str, object]:
    pieces = [
        _piece(piece) | {"entropy": entropy} for piece, entropy in zip(answer.pieces, answer.entropies, strict=True)
    ]
    return {
        "text": answer.text,
        "probability": answer.probability,
        "log_probability": answer.log_probability,
        "score": answer.score,
        "pieces": pieces,
    }


def _piece(one: "Candidate") -> dict[str, object]:
    return {
        "id": one.id,
        "token": one.token,
        "piece": one.piece,
        "probability": one.probability,
        "log_probability": one.log_probability,
        "rank": one.rank,
    }


def _texts(given: Iterable[str], file: Path | None, field: str) -> "Iterator[Document]":
    from clozelm.text.readers import Document

    for text in given:
        yield from map(Document, _standard_input() if text == "-" else [text], repeat(""))
    if file is not None:
        from clozelm.text.files import format_of
        from clozelm.text.readers import documents

        unit = "line" if format_of(file) == "text" else "auto"
        yield from documents([file], unit=unit, field=field, invalid_utf8="refuse")  # type: ignore[arg-type]


def _standard_input() -> Iterator[str]:
    try:
        lines = (one.strip().removeprefix("\ufeff") for one in sys.stdin or ())  # none: it was closed, as by <&-
        yield from (line for line in lines if line)
    except UnicodeDecodeError as error:
        raise ClozeError(f"Standard input is not UTF-8 text ({error.reason}): convert it first.") from None


def _show(filled: "Filled", console: "Console") -> None:
    """Print the text, then a line with a bar for every candidate."""
    from rich.text import Text

    console.print(Text(filled.text, style="bold"))
    for number, candidates in enumerate(filled.masks, start=1):
        if len(filled.masks) > 1:
            console.print(f"  mask {number}", style="dim")
        _bars(console, [(_shown(one), one.probability, one.rank) for one in candidates], with_rank=False)


def _show_together(filled: "FilledTogether", console: "Console") -> None:
    """Print the text, then a line for every filling: the answer to a single blank, or the text as filled."""
    from rich.text import Text

    console.print(Text(filled.text, style="bold"))
    for number, answers in enumerate(filled.each, start=1):
        console.print(f"  mask {number}", style="dim")
        _answers(console, answers)
    if filled.fillings and len(filled.fillings[0].answers) == 1:
        _answers(console, [one.answers[0] for one in filled.fillings])
        return
    is_scored = any(one.score != one.log_probability for one in filled.fillings)
    if is_scored:
        console.print(Text(f"  {'joint':>7}  {'score':>6}", style="dim"))
    for one in filled.fillings:
        line = Text(f"  {_percent(one.probability)}  " + (f"{one.score:6.2f}  " if is_scored else ""))
        for part in one.parts:
            line.append(part.text, style="bold green" if part.state == "new" else "dim")
        console.print(line, soft_wrap=True)


def _answers(console: "Console", answers: "list[Answer]") -> None:
    """Print answers; those of several pieces with the score that orders them, where that is not the probability."""
    from rich.text import Text

    if all(len(one.pieces) == 1 for one in answers):
        rows = [(_shown(one.pieces[0]), one.probability, one.pieces[0].rank) for one in answers]
        _bars(console, rows, with_rank=[rank for *_, rank in rows] != list(range(1, len(rows) + 1)))
        return
    width = max(len(one.text) for one in answers)
    is_scored = any(one.score != one.log_probability for one in answers)
    score = f"  {'score':>6}" if is_scored else ""
    console.print(Text(f"  {'joint':>7}{score}  {'':<{width}}  pieces", style="dim"))
    for one in answers:
        pieces = " ".join(piece.token for piece in one.pieces) if len(one.pieces) > 1 else ""
        score = f"  {one.score:6.2f}" if is_scored else ""
        line = Text(f"  {_percent(one.probability)}{score}  {one.text:<{width}}  {len(one.pieces)}  ")
        console.print(line + Text(pieces, style="dim"), overflow="ellipsis", no_wrap=True)


def _shown(one: "Candidate") -> str:
    """Write an answer; a dot says that a piece of WordPiece goes on with the word before it."""
    return f"·{one.token}" if one.piece == f"##{one.token}" else one.token


def _bars(console: "Console", rows: list[tuple[str, float, int]], *, with_rank: bool) -> None:
    from rich.text import Text

    width = max(len(text) for text, *_ in rows)
    for text, probability, rank in rows:
        line = Text(f"  {_percent(probability)}  {text:<{width}}  ")
        line.append(f"rank {rank:<6,}  " if with_rank else "", style="dim")
        line.append("█" * round(24 * probability), style="green")
        console.print(line, overflow="ellipsis", no_wrap=True)


def _percent(probability: float) -> str:
    """Write a probability in seven columns."""
    return f"{probability:7.1%}" if probability >= 0.0005 else f"{probability:7.0e}"
