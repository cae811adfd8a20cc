"""`cloze evaluate`: held-out loss of a model on text, or figures of the task it was fine-tuned for."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clozelm.cli.reading import (
    DelimiterOption,
    EncodingOption,
    HeaderOption,
    Quoting,
    QuotingOption,
    TagOption,
    WordOption,
    fields,
    table,
)

if TYPE_CHECKING:
    from clozelm.text.conll import TaggedForm
    from clozelm.text.labelled import Wanted
    from clozelm.text.record_files import TableForm
    from clozelm.train.evaluate import TextEvaluation

_OF_MASKS = ("documents", "field", "rate", "seed", "max_documents", "row_length")
_OF_TEXTS = ("text_field", "label", "separator", "delimiter", "quoting", "header")
_OF_WORDS = ("word_column", "tag_column")


def evaluate(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="A run, a Hugging Face model directory, or a fine-tuned model.")],
    text: Annotated[list[str], typer.Argument(help="Text; for a fine-tuned model one file of examples.")],
    documents: Annotated[str, typer.Option(help="auto, line, block, record or file.")] = "auto",
    field: Annotated[str | None, typer.Option(help="Field of the text; several are joined.")] = None,
    rate: Annotated[float, typer.Option(help="Share of tokens, or words, hidden.")] = 0.15,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the fixed masks.")] = 0,
    max_documents: Annotated[int | None, typer.Option(help="Most documents read.", min=1)] = None,
    row_length: Annotated[int, typer.Option(help="Tokens of context.", min=16)] = 128,
    text_field: Annotated[
        str | None, typer.Option("--text", help="Of a classifier: field of the text; two, with a comma, for pairs.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Of a classifier: field of the label, or of several.")] = None,
    separator: Annotated[str | None, typer.Option(help="What separates several labels in one field.")] = None,
    delimiter: DelimiterOption = None,
    quoting: QuotingOption = Quoting.auto,
    header: HeaderOption = True,
    encoding: EncodingOption = None,
    word_column: WordOption = None,
    tag_column: TagOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Report how good MODEL is on TEXT: loss and bits per byte, or figures of the task it was fine-tuned for."""
    from clozelm.hub.load import model_directory
    from clozelm.hub.prompt import has_task
    from clozelm.text.conll import TaggedForm
    from clozelm.text.labelled import Wanted

    if has_task(model_directory(model)):
        _refuse(context, _OF_MASKS, "this model was fine-tuned for a task")
        wanted = Wanted(text=fields(text_field), label=label, separator=separator)
        form = table(delimiter, quoting, encoding, header)
        words = TaggedForm(word=word_column, tag=tag_column, encoding=encoding)
        _evaluate_task(context, model, text, wanted, form, words, device, as_json=as_json)
        return
    _refuse(context, (*_OF_TEXTS, *_OF_WORDS, "encoding"), "this model fills masks")
    from clozelm.data.prepare import PrepareSettings
    from clozelm.flows.model import load
    from clozelm.masking.rates import checked_rate
    from clozelm.settings import load as load_settings

    checked_rate(rate, name="--rate")
    given = {"documents": documents, "field": field or "text", "invalid_utf8": "refuse"}
    reading = load_settings(PrepareSettings, given).reading()
    result = load(model, device=device).evaluate(
        list(text), reading=reading, rate=rate, seed=seed, max_documents=max_documents, row_length=row_length
    )
    if as_json:
        typer.echo(json.dumps(to_json(result), allow_nan=False))
    else:
        _show(result)


def _refuse(context: typer.Context, names: Sequence[str], why: str) -> None:
    """Refuse options that were given and have no use."""
    from clozelm.errors import SettingsError

    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = {"text_field": "text", "header": "no-header"}.get(name, name.replace("_", "-"))
            raise SettingsError(f"--{option} has no use here: {why}.")


def _evaluate_task(
    context: typer.Context,
    model: Path,
    files: list[str],
    wanted: "Wanted",
    form: "TableForm",
    words: "TaggedForm",
    device: str,
    *,
    as_json: bool,
) -> None:
    """Show the figures of a classifier or a tagger on a file of examples."""
    from clozelm.errors import DataError
    from clozelm.flows.predict import evaluate_tags, evaluate_texts
    from clozelm.infer.predict import Predictor
    from clozelm.report.finetune_table import lines
    from clozelm.tasks.tag import Tag

    if len(files) > 1:
        raise DataError(f"A fine-tuned model is measured on one file of examples, not on {len(files)}.")
    predictor = Predictor.open(model, device=device)
    if isinstance(predictor.task, Tag):
        _refuse(context, _OF_TEXTS, "this model tags words")
        results = evaluate_tags(predictor, files[0], form=words)
    else:
        _refuse(context, _OF_WORDS, "this model classifies texts")
        results = evaluate_texts(predictor, files[0], wanted=wanted, form=form)
    results |= {"model": str(model)}
    if as_json:
        typer.echo(json.dumps(results, ensure_ascii=False))
        return
    for line in lines(results):
        typer.echo(line)


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
