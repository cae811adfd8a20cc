"""`cloze score`: how probable a model finds sentences."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clozelm.cli.default_model import MODEL_HELP, split_model
from clozelm.errors import ClozeError

if TYPE_CHECKING:
    from clozelm.infer.score import Score

TEXT_HELP = "Then sentences; - reads one per line from stdin."
METHOD_HELP = (
    "within_word or original (masked models), causal, replaced (discriminators), sentinel (encoder-decoders); "
    "none: what suits the model."
)
PRECISION_HELP = "bf16 is faster on some machines; what it changes is measured on the first sentences and said."


def score(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL TEXT", help=f"{MODEL_HELP} {TEXT_HELP}")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A file with a sentence a line, or of records.")] = None,
    field: Annotated[str, typer.Option(help="Text field of records; several are joined.")] = "text",
    method: Annotated[str | None, typer.Option(help=METHOD_HELP)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per text, with its pieces.")
    ] = False,
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help=PRECISION_HELP)] = "fp32",
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Report log-probability, pieces, nats per piece and bits per byte of each text under MODEL."""
    from clozelm.flows.scoring import open_scorer
    from clozelm.infer.precision import in_bf16

    model, text = split_model(arguments, "sentences", may_be_word=file is None)
    if not text and file is None:
        raise ClozeError("There is no text to score: give sentences, - for standard input, or --file.")
    scorer = open_scorer(model, method=method, device=device)
    is_first, texts = True, _texts(text, file, field)
    if precision == "bf16":
        texts, said = in_bf16(scorer, texts)
        typer.echo(f"precision: {said}", err=True)
    for one in scorer(texts):
        if one.notice:
            typer.echo(f"notice: {one.notice}", err=True)
        if as_json:
            typer.echo(json.dumps(to_json(one), ensure_ascii=False, allow_nan=False))
        else:
            _show(one, with_head=is_first)
        is_first = False
    if is_first:
        where = "standard input was empty" if file is None else f"{file} holds none"
        raise ClozeError(f"There is no text to score: {where}.")


def to_json(one: "Score") -> dict[str, object]:
    """Return a score as plain data; a figure per piece or byte of a text without pieces is null."""
    has_pieces = bool(one.pieces)
    return {
        "text": one.text,
        "method": one.method,
        "log_probability": one.log_probability,
        "num_pieces": len(one.pieces),
        "num_bytes": one.num_bytes,
        "nats_per_piece": one.nats_per_piece if has_pieces else None,
        "nats_per_byte": one.nats_per_byte if has_pieces else None,
        "bits_per_byte": one.bits_per_byte if has_pieces else None,
        "pieces": [{"id": p.id, "token": p.token, "log_probability": p.log_probability} for p in one.pieces],
        "notice": one.notice,
    }


def _texts(given: Iterable[str], file: Path | None, field: str) -> Iterator[str]:
    for text in given:
        if text == "-":
            yield from _standard_input()
        else:
            yield text
    if file is not None:
        from clozelm.text.files import format_of
        from clozelm.text.readers import documents

        unit = "line" if format_of(file) == "text" else "auto"
        yield from (document.text for document in documents([file], unit=unit, field=field))  # type: ignore[arg-type]


def _standard_input() -> Iterator[str]:
    lines = (one.strip().removeprefix("\ufeff") for one in sys.stdin or ())  # none: it was closed, as by <&-
    try:
        yield from (line for line in lines if line)
    except UnicodeDecodeError as error:
        raise ClozeError(f"Standard input is not UTF-8 text ({error.reason}): convert it first.") from None


def _show(one: "Score", *, with_head: bool) -> None:
    """Print a line of figures and the text, which is on one line whatever it holds."""
    if with_head:
        typer.echo(f"{'nats':>10}  {'pieces':>6}  {'per piece':>9}  {'bits/byte':>9}  text")
    figures = f"{one.nats_per_piece:9.3f}  {one.bits_per_byte:9.3f}" if one.pieces else f"{'-':>9}  {'-':>9}"
    typer.echo(f"{one.log_probability:10.3f}  {len(one.pieces):6}  {figures}  {' '.join(one.text.split())}")
