"""`cloze prepare`: turn a corpus into a token store."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer


def prepare(
    corpus: Annotated[list[str], typer.Argument(help="Files, directories or globs of text.")],
    tokenizer: Annotated[Path, typer.Option(help="Tokenizer directory.")],
    out: Annotated[Path, typer.Option(help="Directory of the token store to write.")],
    documents: Annotated[str | None, typer.Option(help="auto, line, block, record or file.")] = None,
    field: Annotated[
        str | None, typer.Option(help="Text field of records; several, as in title,text, are joined.")
    ] = None,
    annotations: Annotated[
        str | None, typer.Option(help="Field of records with annotated [start, end] spans of characters.")
    ] = None,
    invalid_utf8: Annotated[str | None, typer.Option(help="replace or refuse bytes that are not UTF-8.")] = None,
    hold_out: Annotated[
        float | None, typer.Option(help="Share of the documents, from the end, kept apart.")
    ] = None,
    dedup: Annotated[bool | None, typer.Option("--dedup", help="Drop exact duplicates.")] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(help="name=value, e.g. min_letter_share=0.5; see `cloze settings prepare`."),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any other setting, name=value.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the store that is there.")] = False,
) -> None:
    """Read, normalise, filter and encode a corpus into a token store."""
    import sys

    from clozelm.data.prepare import PrepareSettings
    from clozelm.data.prepare import prepare as run
    from clozelm.settings import load
    from clozelm.text.tokenizer import Tokenizer

    given = {
        "documents": documents,
        "field": field,
        "spans_field": annotations,
        "invalid_utf8": invalid_utf8,
        "hold_out": hold_out,
        "dedup": dedup,
    }
    settings = load(
        PrepareSettings,
        {name: value for name, value in given.items() if value is not None},
        _overrides(filters, set_),
    )
    show = _progress() if sys.stderr.isatty() else None
    manifest = run(corpus, Tokenizer.load(tokenizer), out, settings, workers=workers, replace=force, progress=show)
    if show:
        typer.echo("", err=True)
    typer.echo(_summary(out, manifest))
    if annotations is not None and not _has_annotations(out):
        typer.echo(f"notice: no record has a span in field {annotations!r}: no token is annotated.", err=True)


def _progress() -> Callable[[int, int], None]:
    """Make a line on standard error that follows the documents and tokens so far."""
    from time import perf_counter

    started = perf_counter()

    def show(num_documents: int, num_tokens: int) -> None:
        speed = num_tokens / (perf_counter() - started)
        line = f"\r{num_documents:,} documents, {num_tokens:,} tokens, {speed:,.0f} tokens/s "
        typer.echo(line, nl=False, err=True)

    return show


def _overrides(filters: list[str] | None, others: list[str] | None) -> list[str]:
    """Turn ``--filters a=1,b=2`` into settings of the section filters."""
    parts = [part for given in filters or [] for part in given.split(",")]
    return [f"filters.{part.strip()}" for part in parts] + list(others or [])


def _has_annotations(out: Path) -> bool:
    from clozelm.data.store import TokenStore
    from clozelm.train.masks import has_annotations

    return has_annotations(TokenStore.open(out))


def _summary(out: Path, manifest: dict[str, Any]) -> str:
    text = manifest["text"]
    lines = [
        f"{out}: {manifest['num_tokens']:,} tokens in {manifest['num_documents']:,} documents, "
        f"{text['bytes'] / manifest['num_tokens']:.2f} bytes of text a token, {manifest['seconds']:.1f} s"
    ]
    for title in ("dropped", "repaired"):
        if manifest[title]:
            lines.append(f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in manifest[title].items()))
    if "held_out" in manifest:
        held = manifest["held_out"]
        lines.append(
            f"held out: {held['num_tokens']:,} tokens in {held['num_documents']:,} documents, text in "
            f"{out / 'held_out.jsonl'}"
        )
    return "\n".join(lines)
