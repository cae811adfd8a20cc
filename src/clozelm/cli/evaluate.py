"""`cloze evaluate`: held-out loss of a model on text."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from clozelm.train.evaluate import TextEvaluation


def evaluate(
    model: Annotated[Path, typer.Argument(help="A run, or a Hugging Face model directory.")],
    text: Annotated[list[str], typer.Argument(help="Files, directories or globs of text.")],
    documents: Annotated[str, typer.Option(help="auto, line, block, record or file.")] = "auto",
    field: Annotated[str, typer.Option(help="Text field of records; several are joined.")] = "text",
    rate: Annotated[float, typer.Option(help="Share of tokens, or words, hidden.")] = 0.15,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the fixed masks.")] = 0,
    max_documents: Annotated[int | None, typer.Option(help="Most documents read.", min=1)] = None,
    row_length: Annotated[int, typer.Option(help="Tokens of context.", min=16)] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Report loss, perplexity, accuracy and bits per byte of MODEL on TEXT, with fixed masks."""
    from clozelm.data.prepare import PrepareSettings
    from clozelm.flows.model import load
    from clozelm.masking.rates import checked_rate
    from clozelm.settings import load as load_settings

    checked_rate(rate, name="--rate")
    reading = load_settings(PrepareSettings, {"documents": documents, "field": field}).reading()
    result = load(model, device=device).evaluate(
        list(text), reading=reading, rate=rate, seed=seed, max_documents=max_documents, row_length=row_length
    )
    if as_json:
        typer.echo(json.dumps(to_json(result), allow_nan=False))
    else:
        _show(result)


def to_json(result: "TextEvaluation") -> dict[str, object]:
    """Return the figures as plain data; what cannot be said, such as the interval of one document, is null."""
    pieces = {**asdict(result.pieces), "perplexity": result.pieces.perplexity}
    return {"pieces": _without_nan(pieces), "words": _without_nan(asdict(result.words))}


def _without_nan(figures: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return [plain(each) for each in value] if isinstance(value, tuple) else None if value != value else value

    return {name: plain(value) for name, value in figures.items()}


def _show(result: "TextEvaluation") -> None:
    """Print the figures with their 95% intervals (bootstrap over documents)."""
    from rich.console import Console
    from rich.table import Table

    pieces, words = result.pieces, result.words
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("loss", f"{pieces.loss:.3f} nats a piece", _span(pieces.interval, 3))
    table.add_row("unigram", f"{pieces.unigram:.3f} nats", "frequencies of this text alone, no context")
    table.add_row("perplexity", f"{pieces.perplexity:.1f}", "")
    table.add_row("accuracy", f"{pieces.accuracy:.1%}", f"of {pieces.predictions:,} hidden pieces")
    table.add_row("bits per byte", f"{words.bits_per_byte:.3f}", _span(words.interval, 3))
    table.add_row("words right", f"{words.words_right:.1%}", f"of {words.words:,} hidden words")
    if words.words_unknown:
        table.add_row(
            "unknown words",
            f"{words.words_unknown:,}",
            "hidden words outside the vocabulary: bits per byte is too low",
        )
    if words.words_unread:
        table.add_row("unread words", f"{words.words_unread:,}", "beyond the model's positions, not scored")
    if words.words_dropped:
        table.add_row("dropped words", f"{words.words_dropped:,}", "nothing is left of them after normalisation")
    table.add_row("text", f"{pieces.tokens:,} tokens", f"in {pieces.documents:,} documents")
    Console(highlight=False).print(table)


def _span(interval: tuple[float, float], digits: int) -> str:
    low, high = interval
    return "" if low != low else f"95% interval {low:.{digits}f} to {high:.{digits}f}"
