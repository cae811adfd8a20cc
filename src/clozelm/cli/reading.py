"""The options that say how examples are written, the same for every command that reads some."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clozelm.text.record_files import TableForm


class Quoting(StrEnum):
    """What quotes in a table mean."""

    auto = "auto"
    csv = "csv"
    none = "none"


class Problem(StrEnum):
    """What a label is."""

    single = "single"
    multi = "multi"
    regression = "regression"


TextOption = Annotated[str | None, typer.Option(help="Field of the text; two, with a comma, for pairs.")]
LabelOption = Annotated[str | None, typer.Option(help="Field of the label; several with commas that hold 1 or 0.")]
DelimiterOption = Annotated[str | None, typer.Option(help="What separates the fields of a table; else found out.")]
QuotingOption = Annotated[Quoting, typer.Option(help="Quotes in a table: csv's, or letters as others.")]
EncodingOption = Annotated[str | None, typer.Option(help="Encoding of the files; else found out.")]
HeaderOption = Annotated[
    bool, typer.Option("--header/--no-header", help="Whether the first row of a table names the fields.")
]
WordOption = Annotated[
    str | None, typer.Option("--word-column", help="Column of the word, from 1, or its field; else found out.")
]
TagOption = Annotated[
    str | None, typer.Option("--tag-column", help="Column of the tag, from 1, or its field; else found out.")
]


def fields(text: str | None) -> tuple[str, ...] | None:
    """Return the fields that --text names."""
    return None if text is None else tuple(part.strip() for part in text.split(","))


def table(delimiter: str | None, quoting: Quoting, encoding: str | None, header: bool) -> "TableForm":
    """Return how a table is written."""
    from clozelm.text.record_files import TableForm

    named = {"tab": "\t", "\\t": "\t"}.get(delimiter or "", delimiter)
    return TableForm(delimiter=named, encoding=encoding, quoting=quoting.value, header=header)
