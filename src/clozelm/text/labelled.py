"""Read labelled texts for classification and regression, and unlabelled ones for prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from clozelm.errors import DataError
from clozelm.text.examples import Label, Problem, TextExample
from clozelm.text.fields import is_usual, label_columns, label_field, listed, text_fields
from clozelm.text.files import named
from clozelm.text.label_checks import names_of
from clozelm.text.labels import kinds_seen, label_of, label_of_columns
from clozelm.text.record_files import STDIN, Records, Row, TableForm, parse_records, read_records, stream_text
from clozelm.text.repairs import Repairs
from clozelm.text.valid import is_valid


@dataclass(frozen=True)
class Examples:
    """What a file gave: examples, what there is to say about it, and how it was read.

    ``label_field`` is None where no labels were asked for.
    """

    examples: list[TextExample]
    notes: list[str]
    text_fields: tuple[str, ...]
    label_field: str | None
    format: str
    delimiter: str | None


@dataclass(frozen=True)
class Wanted:
    """Which fields hold text and label, and what labels are; None is to guess by the usual names.

    Of several labels ``label`` may list columns with commas, one for each, which hold 1 or 0.
    """

    text: Sequence[str] | None = None
    label: str | None = None
    problem: Problem = "single"
    labelled: bool = True
    separator: str | None = None


def read_examples(path: str | Path, wanted: Wanted, form: TableForm | None = None) -> Examples:
    """Read the examples of a file or a data set directory.

    A file of records is .csv, .tsv or .jsonl, plain or compressed, .parquet or .arrow; a directory is what
    ``Dataset.save_to_disk`` writes or one of Parquet shards. Texts may be empty, which is counted. Raises
    ``DataError`` with file:line for the first record that cannot be used.
    """
    repairs, form = Repairs(), form or TableForm()
    return _examples(read_records(named(path), form, repairs), wanted, form, repairs)


def stream_examples(
    stream: IO[str], wanted: Wanted, form: TableForm | None = None, *, name: str = STDIN
) -> Examples:
    """Read the examples of an open stream of text, as JSON lines or a table; messages call it ``name``."""
    repairs, form = Repairs(), form or TableForm()
    records = parse_records(stream_text(stream, name), name, form.format, form, repairs)
    return _examples(records, wanted, form, repairs)


def _examples(records: Records, wanted: Wanted, form: TableForm, repairs: Repairs) -> Examples:
    if wanted.separator == "":
        raise DataError("--separator must not be empty.")
    if wanted.separator is not None and wanted.problem != "multi":
        raise DataError(f"--separator divides several labels; --problem {wanted.problem} has one.")
    first = records.rows[0][0]
    texts = text_fields(records.names, wanted.text, first, hint=records.hint)
    asked = wanted.label if wanted.labelled else None
    columns = label_columns(records.names, asked, first, texts=texts, hint=records.hint)
    _check_columns(columns, wanted, first)
    label = wanted.label if columns else None
    if wanted.labelled and not columns:
        label = label_field(records.names, wanted.label, first, texts=texts, hint=records.hint)
    labels = columns or tuple(filter(None, [label]))
    if not form.header and all(is_usual(records.rows[0][1][each]) for each in (*texts, *labels)):
        raise DataError(f"{first}: looks like a header: leave out --no-header.")
    examples = [_example(row, texts, columns or label, wanted, repairs) for row in records.rows]
    given = {name for example in examples for name in names_of(example)}
    for column in columns:
        if column not in given:
            repairs.remark(f"{records.name}: label {column!r} is 0 in every record")
    if not any(each.strip() for example in examples for each in example.texts):
        raise DataError(f"{records.name}: every text is empty in field {listed(texts)}; name the text with --text.")
    return Examples(examples, kinds_seen(repairs.notes()), texts, label, records.format, records.delimiter)


def _check_columns(columns: Sequence[str], wanted: Wanted, where: str) -> None:
    if columns and wanted.problem != "multi":
        raise DataError(f"{where}: --label names {len(columns)} fields, one for each label: see --problem multi.")
    if columns and wanted.separator is not None:
        raise DataError("--separator has no use where each label has a field of its own: leave it out.")


def _example(
    row: Row, texts: Sequence[str], label: str | tuple[str, ...] | None, wanted: Wanted, repairs: Repairs
) -> TextExample:
    where, record = row
    read = tuple(_text(record, field, where, repairs) for field in texts)
    if not all(each.strip() for each in read):
        repairs.add("examples with an empty text, kept", where)
    if isinstance(label, tuple):
        found: Label | None = label_of_columns(record, label, where)
    else:
        found = _label(record, label, where, wanted, repairs)
    return TextExample(read, found, where, record)


def _label(record: dict[str, Any], field: str | None, where: str, wanted: Wanted, repairs: Repairs) -> Label | None:
    if field is None:
        return None
    value = _value(record, field, where)
    at = f"{where}: label {field!r}"
    return label_of(value, wanted.problem, at, separator=wanted.separator, repairs=repairs)


def _text(record: dict[str, Any], field: str, where: str, repairs: Repairs) -> str:
    """Return a text; what is missing is empty, numbers are written out."""
    value = _value(record, field, where)
    if value is None:
        return ""
    if isinstance(value, list | dict | bytes):
        raise DataError(f"{where}: field {field!r} is a {type(value).__name__}, not text.")
    if not isinstance(value, str):
        repairs.add(f"values of {field!r} that are no text, written out", where)
        return str(value)
    if not is_valid(value):
        repairs.add("texts with halves of surrogate pairs, replaced by U+FFFD", where)
        return "".join(each if is_valid(each) else "\ufffd" for each in value)
    if "\ufffd" in value:
        repairs.add("texts with U+FFFD, which a wrong decoding leaves", where)
    return value


def _value(record: dict[str, Any], field: str, where: str) -> Any:
    if field not in record:
        raise DataError(f"{where}: no field {field!r}; the record has {listed(record)}.")
    return record[field]
