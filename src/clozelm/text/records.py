"""Read records: JSON lines and arrays, CSV, TSV and Parquet, one document a record."""

from __future__ import annotations

import csv
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from clozelm.errors import DataError
from clozelm.text.files import COMPRESSIONS, check_text, format_of, open_bytes
from clozelm.text.json_arrays import array_items
from clozelm.text.readers import Document, Reading, Spans, decoded_pieces, text_units
from clozelm.text.valid import shortened

_PARQUET_ROWS = 1024
_HEAD_BYTES = 8192


def read_json(path: Path, reading: Reading) -> Iterator[Document]:
    """Yield one document per line, or per object of an array in a .json file.

    ``spans_field`` may hold [[start, end], ...] in characters of the text. A span may have a third item, a label,
    which is not read.
    """
    for where, record, raw in _json_records(path, reading):
        text = _text(record, where, reading)
        if "\\u" in raw:
            text = _without_lone_surrogates(text, where, reading)
        yield Document(text, where, _spans(record.get(reading.spans_field), len(text), where, reading))


def read_csv(path: Path, reading: Reading, *, delimiter: str) -> Iterator[Document]:
    """Yield one document per row; the first row names the fields, and quoted fields may hold line ends.

    A field of spans holds them as JSON.
    """
    for where, record in _csv_records(path, reading, delimiter):
        text = _text(record, where, reading)
        yield Document(text, where, _spans(record.get(reading.spans_field), len(text), where, reading))


def read_parquet(path: Path, reading: Reading) -> Iterator[Document]:
    """Yield one document per row, a batch of rows in memory at a time."""
    if path.suffix.lower() in COMPRESSIONS:
        raise DataError(f"{path}: Parquet is compressed inside; unpack the outer {path.suffix} first.")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{path}: reading .parquet needs the package pyarrow: `pip install pyarrow`.") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            wanted = [name for name in (*reading.fields, reading.spans_field) if name in names]
            _check_fields(dict.fromkeys(names), f"{path}:1", reading)
            row = 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=wanted):
                for record in batch.to_pylist():
                    row += 1
                    where = f"{path}:{row}"
                    text = _text(record, where, reading)
                    yield Document(text, where, _spans(record.get(reading.spans_field), len(text), where, reading))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error}).") from None


READERS: dict[str, Callable[[Path, Reading], Iterator[Document]]] = {
    "jsonl": read_json,
    "json": read_json,
    "csv": partial(read_csv, delimiter=","),
    "tsv": partial(read_csv, delimiter="\t"),
    "parquet": read_parquet,
}


def records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every record of a .jsonl, .json, .csv or .tsv file with where it stands (``file:line``)."""
    kind, reading = format_of(path), Reading(unit="record", invalid_utf8="refuse")
    check_text(path)
    if kind in ("jsonl", "json"):
        yield from ((where, record) for where, record, _ in _json_records(path, reading))
    elif kind in ("csv", "tsv"):
        yield from _csv_records(path, reading, "," if kind == "csv" else "\t")
    else:
        raise DataError(f"{path}: holds no records: give a .jsonl, .json, .csv or .tsv file.")


def _json_records(path: Path, reading: Reading) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield where a record stands, the record, and how it is written."""
    is_array = format_of(path) == "json" and _begins_with_bracket(path)
    if is_array:
        items = array_items(decoded_pieces(path, reading), str(path), longest=reading.max_characters)
    else:
        items = _json_lines(path, reading)
    for line, record, raw in items:
        if not isinstance(record, dict):
            raise DataError(f"{path}:{line}: a JSON record must be an object, not {type(record).__name__}.")
        yield f"{path}:{line}", record, raw


def _json_lines(path: Path, reading: Reading) -> Iterator[tuple[int, Any, str]]:
    for line, raw in text_units(path, reading, "line"):
        if not raw or raw.isspace():
            continue
        try:
            yield line, json.loads(raw), raw
        except (ValueError, RecursionError) as error:
            hint = " Write one record a line, or an array in a .json file." if raw.strip() == "{" else ""
            raise DataError(f"{path}:{line}: not a JSON record ({error}).{hint}") from None


def _begins_with_bracket(path: Path) -> bool:
    with open_bytes(path) as stream:
        return stream.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _csv_records(path: Path, reading: Reading, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where a record stands, and the record; every row has as many fields as the first, which names them."""
    names: list[str] = []
    head = 0
    for line, fields in _csv_rows(path, reading, delimiter):
        if not names:
            names, head = _names(fields, f"{path}:{line}"), line
        elif len(fields) != len(names):
            count = f"{len(fields)} field{'s' * (len(fields) != 1)}"
            raise DataError(f"{path}:{line}: has {count} where line {head} has {len(names)}.")
        else:
            yield f"{path}:{line}", dict(zip(names, fields, strict=True))


def _csv_rows(path: Path, reading: Reading, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that a row begins in, and its fields; blank lines are left out."""
    csv.field_size_limit(max(csv.field_size_limit(), reading.max_characters))
    lines = (text + "\n" for _, text in text_units(path, reading, "line"))
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    try:
        for fields in rows:
            if fields and not (len(fields) == 1 and fields[0].isspace()):
                yield line, fields
            line = rows.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: not a {path.suffix} record ({error}).") from None


def _names(fields: list[str], where: str) -> list[str]:
    """Return the fields that a header names; one without a name is called by its place."""
    names = [field.strip() or str(place) for place, field in enumerate(fields, start=1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: two columns are called {shortened(twice)!r}; rename one.")
    return names


def _text(record: Mapping[str, Any], where: str, reading: Reading) -> str:
    """Join the text fields of a record; a null is an empty text."""
    _check_fields(record, where, reading)
    values = [record[name] for name in reading.fields]
    for name, value in zip(reading.fields, values, strict=True):
        if isinstance(value, dict | list):
            raise DataError(f"{where}: field '{name}' is a {type(value).__name__}, not text.")
    return "\n".join("" if value is None else str(value) for value in values)


def _check_fields(record: Mapping[str, Any], where: str, reading: Reading) -> None:
    missing = [name for name in reading.fields if name not in record]
    if missing:
        there = ", ".join(map(str, record)) or "no fields"
        raise DataError(f"{where}: no field '{missing[0]}'; the record has {there}. Name the text with --field.")


def _spans(value: Any, length: int, where: str, reading: Reading) -> Spans:
    if value is None or value == "":
        return ()
    try:
        items = [tuple(item) for item in (json.loads(value) if isinstance(value, str) else value)]
        spans = tuple((operator.index(item[0]), operator.index(item[1])) for item in items)
        if any(len(item) > 3 for item in items):
            raise ValueError
    except (TypeError, ValueError, IndexError, RecursionError):
        raise DataError(f"{where}: '{reading.spans_field}' must be a list of [start, end] in characters.") from None
    for start, stop in spans:
        if not 0 <= start <= stop <= length:
            raise DataError(f"{where}: span [{start}, {stop}] lies outside the text of {length} characters.")
    return spans


def _without_lone_surrogates(text: str, where: str, reading: Reading) -> str:
    """Replace or refuse halves of surrogate pairs, which JSON can write and UTF-8 cannot; counted as invalid."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        if reading.invalid_utf8 == "refuse":
            raise DataError(f"{where}: the text holds half a surrogate pair, which is no character.") from None
        reading.counts["invalid_utf8_lines"] += 1
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    return text
