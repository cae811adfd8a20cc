"""`cloze predict`: labels for texts, tags for words, by a fine-tuned model."""

import io
import sys
from pathlib import Path
from typing import IO, Annotated, Literal

import typer

from clozelm.cli.reading import (
    DelimiterOption,
    EncodingOption,
    HeaderOption,
    Quoting,
    QuotingOption,
    TextOption,
    WordOption,
    fields,
    table,
)

PRECISION_HELP = "bf16 is faster on some machines; what it changes is measured on the first records and said."


def predict(
    model: Annotated[Path, typer.Argument(help="What `cloze finetune` left, or a classifier's directory.")],
    file: Annotated[str, typer.Argument(help="csv, tsv, json, jsonl, parquet or CoNLL; - for standard input.")],
    out: Annotated[Path | None, typer.Option(help="Write here and not to standard output.")] = None,
    text: TextOption = None,
    word_column: WordOption = None,
    delimiter: DelimiterOption = None,
    quoting: QuotingOption = Quoting.auto,
    encoding: EncodingOption = None,
    header: HeaderOption = True,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Add the probability of every label.")
    ] = False,
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help=PRECISION_HELP)] = "fp32",
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Write FILE with the predictions of MODEL for every record."""
    from clozelm.flows.predict import check_kind, predict_tags, predict_texts
    from clozelm.infer.predict import Predictor
    from clozelm.tasks.tag import Tag
    from clozelm.text.atomic import write_whole
    from clozelm.text.conll import TaggedForm
    from clozelm.text.labelled import Wanted

    _check_out(out, file)
    predictor = Predictor.open(model, device=device)
    if precision == "bf16":
        predictor.round_weights()
    of_tables = {
        "text": text,
        "delimiter": delimiter,
        "quoting": None if quoting is Quoting.auto else quoting,
        "no-header": None if header else True,
    }
    check_kind(predictor, tag_options={"word-column": word_column}, text_options=of_tables)
    source = _standard_input(encoding) if file == "-" else file
    written = io.StringIO()
    if isinstance(predictor.task, Tag):
        form = TaggedForm(word=word_column, encoding=encoding)
        notes = predict_tags(predictor, source, written, form=form, with_probabilities=probabilities)
    else:
        wanted = Wanted(text=fields(text))
        form_ = table(delimiter, quoting, encoding, header)
        notes = predict_texts(
            predictor, source, written, wanted=wanted, form=form_, with_probabilities=probabilities
        )
    if out is None:
        sys.stdout.write(written.getvalue())
    else:
        write_whole(out, written.getvalue())
    for note in notes:
        print(note, file=sys.stderr)  # noqa: T201


def _check_out(out: Path | None, file: str) -> None:
    """Refuse a place for predictions before any is made: what is read must not be lost."""
    from clozelm.errors import DataError

    if out is None:
        return
    if out.is_dir():
        raise DataError(f"{out} is a directory: name a file with --out.")
    if not out.parent.is_dir():
        raise DataError(f"{out.parent} is no directory: make it, or name another file with --out.")
    if file != "-" and out.exists() and Path(file).exists() and out.samefile(file):
        raise DataError(f"{out} is the file that is read: name another with --out.")
    if out.suffix.lower() in (".parquet", ".arrow"):
        raise DataError(f"{out}: predictions are written as JSON lines or a table: name a .jsonl file with --out.")


def _standard_input(encoding: str | None) -> IO[str]:
    """Return standard input, read in an encoding if one is named."""
    from clozelm.errors import DataError

    if encoding is not None and isinstance(sys.stdin, io.TextIOWrapper):
        try:
            sys.stdin.reconfigure(encoding=encoding)
        except LookupError:
            raise DataError(
                f"--encoding {encoding!a} is unknown; usual are utf-8, cp1252, latin-1, utf-16."
            ) from None
    return sys.stdin
