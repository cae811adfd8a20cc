"""Read every record of a file, a directory or a stream, whatever wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from clozelm.errors import DataError
from clozelm.text.arrow_files import arrow_records, is_arrow
from clozelm.text.decoding import read_text, unified_lines
from clozelm.text.fields import listed
from clozelm.text.files import FORMATS, suffix_of
from clozelm.text.folders import shards
from clozelm.text.repairs import Repairs
from clozelm.text.tables import (
    DELIMITERS,
    Quoting,
    checked_delimiter,
    looks_like_data,
    read_table,
)
from clozelm.text.valid import is_valid

Format = Literal["csv", "tsv", "jsonl", "arrow"]
Row = tuple[str, dict[str, Any]]
STDIN = "stdin"
ONE_COLUMN = ("text", "sentence")
"""What the first line of a file that is a single column of texts says."""


@dataclass(frozen=True)
class TableForm:
    """What a file does not say about itself; None is to find it out.

    ``header`` is False where the first row is a record: the fields are then called "1", "2", ...
    """

    delimiter: str | None = None
    encoding: str | None = None
    quoting: Quoting = "auto"
    header: bool = True
    format: Format | None = None


@dataclass(frozen=True)
class Records:
    """Records with where each stands (``file:line``); ``hint`` is what could be wrong where a field is missing."""

    name: str
    format: Format
    rows: list[Row]
    names: list[str]
    delimiter: str | None = None
    hint: str = ""


def read_records(path: Path, form: TableForm, repairs: Repairs) -> Records:
    """Read .csv, .tsv, .jsonl, .json (all also compressed), .parquet, .arrow and directories of them.

    The tables or JSON files of a directory are shards of one set, and the fields of tables must be the
    same. A file of another name is looked into. Raises ``DataError`` for what cannot be read, with file:line.
    """
    if form.format is None and (files := shards(path)):
        return _joined([read_records(each, form, repairs) for each in files], path)
    if form.format == "arrow" or (form.format is None and is_arrow(path)):
        _refuse_options(form, ("delimiter", "encoding", "quoting", "header"), f"{path}: is no text")
        return _of_rows(str(path), "arrow", arrow_records(path))
    if not path.is_file():
        raise DataError(f"{path}: no such file or directory.")
    decoded = read_text(path, form.encoding)
    repairs.remark(*decoded.notes)
    known = FORMATS.get(suffix_of(path), "text")
    kind = form.format or (None if known in ("text", "json") else known)
    return parse_records(decoded.text, str(path), kind, form, repairs)


def _joined(parts: Sequence[Records], path: Path) -> Records:
    """Put the shards of a directory together."""
    first = parts[0]
    for part in parts[1:]:
        if sorted(part.names) != sorted(first.names) and first.format != "jsonl":
            raise DataError(
                f"{part.name}: has the fields {listed(part.names)}, but {first.name} has {listed(first.names)}: "
                "name one file."
            )
    rows = [row for part in parts for row in part.rows]
    return Records(str(path), first.format, rows, first.names, first.delimiter, first.hint)


def stream_text(stream: IO[str], name: str) -> str:
    """Read an open stream of text to its end; bytes that are not UTF-8 are refused with their line."""
    try:
        text = unified_lines(stream.read())
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: is not {error.encoding} (byte {error.start}).") from None
    if not is_valid(text):
        place = next(place for place, character in enumerate(text) if not is_valid(character))
        line = text.count("\n", 0, place) + 1
        raise DataError(f"{name}:{line}: has bytes that are not UTF-8: convert it first.")
    if "\0" in text:
        raise DataError(f"{name}: has NUL characters: no text, or UTF-16; convert it first.")
    if not text:
        raise DataError(f"{name}: there is nothing in it.")
    return text


def parse_records(text: str, name: str, kind: str | None, form: TableForm, repairs: Repairs) -> Records:
    """Read the records of a text of one kind, jsonl, csv or tsv; None is to look at its first lines."""
    if kind is None:
        kind = "csv" if form.delimiter else _sniffed(text, name)
    if kind == "jsonl":
        _refuse_options(form, ("delimiter", "quoting", "header"), f"{name}: is JSON lines")
        rows = _array_rows(text, name) if text.lstrip().startswith("[") else _json_rows(text, name)
        return _of_rows(name, "jsonl", rows)
    expected = ("\t" if kind == "tsv" else ",") if form.delimiter is None else checked_delimiter(form.delimiter)
    table = read_table(
        text,
        name,
        delimiter=expected,
        is_sure=form.delimiter is not None,
        quoting=form.quoting,
        header=form.header,
        repairs=repairs,
    )
    rows = [(f"{name}:{row.line}", dict(zip(table.names, row.fields, strict=True))) for row in table.rows]
    if not rows:
        raise DataError(f"{name}: there is a header and no record.")
    hint = ""
    if form.header and looks_like_data(table.first, table.rows):
        hint = " The first row looks like a record: --no-header calls the fields 1, 2, ..."
    return Records(name, "tsv" if table.delimiter == "\t" else "csv", rows, table.names, table.delimiter, hint)


def _refuse_options(form: TableForm, names: Sequence[str], why: str) -> None:
    """Refuse what is said of a file that it cannot be true of."""
    for name in names:
        if getattr(form, name) != getattr(TableForm, name):
            option = "no-header" if name == "header" else name
            raise DataError(f"{why}, so --{option} means nothing for it.")


def _sniffed(text: str, name: str) -> str:
    """Guess what a file of an unknown name holds from its first lines."""
    lines = [line for line in text.split("\n", 50)[:50] if line.strip()]
    if lines and lines[0].lstrip()[0] in "{[":
        return "jsonl"
    for delimiter in ("\t", ",", ";", "|"):
        counts = {line.count(delimiter) for line in lines}
        if len(counts) == 1 and 0 not in counts:
            return "tsv" if delimiter == "\t" else "csv"
    if lines and lines[0].strip().lower() in ONE_COLUMN:
        return "csv"
    raise DataError(
        f"{name}: neither JSON lines nor a table divided by {', '.join(DELIMITERS.values())}: a table has a first "
        'row of names, a JSON line is as {"text": "..."}; columns of words and tags are for taggers.'
    )


def _of_rows(name: str, kind: Format, found: Iterable[Row]) -> Records:
    rows = list(found)
    if not rows:
        raise DataError(f"{name}: there are no records in it.")
    return Records(name, kind, rows, list(map(str, rows[0][1])))


def _json_rows(text: str, name: str) -> Iterable[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.isspace():
            continue
        where = f"{name}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not a JSON record ({_shown(error)}).{_hint(line, number)}") from None
        if not isinstance(record, dict):
            kind = type(record).__name__
            raise DataError(f"{where}: a JSON record must be an object, not {kind}.")
        yield where, record


def _array_rows(text: str, name: str) -> Iterable[Row]:
    """Yield the objects of a JSON array, each with its number."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{name}:{error.lineno}: not a JSON array ({error.msg}).") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not a JSON array ({error}).") from None
    for number, record in enumerate(found, 1):
        if not isinstance(record, dict):
            kind = type(record).__name__
            raise DataError(f"{name}:{number}: a record in a JSON array must be an object, not {kind}.")
        yield f"{name}:{number}", record


def _shown(error: Exception) -> str:
    """Drop "line 1" from what `json` says of a line."""
    return str(error).partition(": line 1 ")[0]


def _hint(line: str, number: int) -> str:
    if number == 1 and line.strip() == "{":
        return " Write one object a line, or an array of them."
    return ""
