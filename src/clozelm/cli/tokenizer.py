"""`cloze tokenizer`: train a tokenizer on a corpus."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train tokenizers.")


class KindOption(StrEnum):
    """The kinds of tokenizers."""

    wordpiece = "wordpiece"
    bpe = "bpe"
    unigram = "unigram"


@app.callback()
def _tokenizer() -> None:
    """Train tokenizers."""


@app.command()
def train(
    corpus: Annotated[list[str], typer.Argument(help="Files, directories or globs of text.")],
    out: Annotated[Path, typer.Option(help="Directory to write, a Hugging Face tokenizer directory.")],
    kind: Annotated[KindOption, typer.Option(help="Kind of pieces.")] = KindOption.wordpiece,
    vocab_size: Annotated[int, typer.Option(min=8, help="Pieces, special tokens included.")] = 30_522,
    lowercase: Annotated[bool, typer.Option(help="Lowercase the text (wordpiece and unigram).")] = True,
    documents: Annotated[str, typer.Option(help="auto, line, block, record or file.")] = "auto",
    field: Annotated[
        str, typer.Option(help="Text field of records; several, as in title,text, are joined.")
    ] = "text",
    invalid_utf8: Annotated[str, typer.Option(help="replace or refuse bytes that are not UTF-8.")] = "replace",
    unicode_form: Annotated[str, typer.Option(help="NFC, NFKC or keep: what `cloze prepare` will use.")] = "NFC",
    hold_out: Annotated[float, typer.Option(help="Share of the documents, from the end, not to learn from.")] = 0.0,
    sample_megabytes: Annotated[
        float | None, typer.Option(min=0.01, help="Text to hold at most; longer corpora are sampled.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the tokenizer that is there.")] = False,
) -> None:
    """Train a tokenizer and report how it fares."""
    from clozelm.data.prepare import PrepareSettings, training_documents
    from clozelm.settings import load
    from clozelm.text.atomic import check_free
    from clozelm.text.tokenizer import is_tokenizer
    from clozelm.text.train_tokenizer import train as train_tokenizer

    given = {
        "documents": documents,
        "field": field,
        "invalid_utf8": invalid_utf8,
        "unicode_form": unicode_form,
        "hold_out": hold_out,
    }
    settings = load(PrepareSettings, given)
    check_free(out, replace=force, is_ours=is_tokenizer)
    tokenizer, report = train_tokenizer(
        training_documents(corpus, settings),
        kind=kind.value,
        vocab_size=vocab_size,
        sample_bytes=None if sample_megabytes is None else int(sample_megabytes * 1e6),
        seed=seed,
        is_lowercase=lowercase,
    )
    tokenizer.save(out, replace=force)
    typer.echo(
        f"{out}: {report.kind}, {report.vocab_size:,} pieces from {report.sampled_bytes / 1e6:.1f} MB "
        f"({report.sampled_documents:,} documents)\n"
        f"fertility {report.fertility:.3f} tokens a word, unknown {report.unknown_rate:.4%}, "
        f"coverage {report.coverage:.4%} of characters"
    )
