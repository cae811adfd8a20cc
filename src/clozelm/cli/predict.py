"""`cloze predict`: labels for texts, tags for words, by a fine-tuned model."""

import io
import sys
from pathlib import Path
from typing import Annotated

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


def predict(
    model: Annotated[Path, typer.Argument(help="What `cloze finetune` left, or a classifier's directory.")],
    file: Annotated[str, typer.Argument(help="csv, tsv, jsonl, parquet or CoNLL; - for standard input.")],
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
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Write FILE with the predictions of MODEL for every record."""
    from clozelm.flows.predict import check_kind, predict_tags, predict_texts
    from clozelm.infer.predict import Predictor
    from clozelm.tasks.tag import Tag
    from clozelm.text.atomic import disk_errors
    from clozelm.text.conll import TaggedForm
    from clozelm.text.labelled import Wanted

    predictor = Predictor.open(model, device=device)
    check_kind(
        predictor, tag_options={"word-column": word_column}, text_options={"text": text, "delimiter": delimiter}
    )
    source = sys.stdin if file == "-" else file
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
        with disk_errors(out):
            out.write_text(written.getvalue(), encoding="utf-8", newline="")
    for note in notes:
        print(note, file=sys.stderr)  # noqa: T201
