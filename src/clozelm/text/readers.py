"""Read documents from text and record files as a stream: memory does not grow with the corpus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as made_by
from pathlib import Path
from typing import Literal, NamedTuple

from clozelm.errors import DataError
from clozelm.text.files import check_text, find_files, format_of, open_bytes, suffix_of

Unit = Literal["auto", "line", "block", "record", "file"]
InvalidUtf8 = Literal["replace", "refuse"]
Spans = tuple[tuple[int, int], ...]

MAX_CHARACTERS = 1_000_000
_READ_BYTES = 2**20
_MAX_RECORD = 2**24
_SEPARATORS = {
    "line": re.compile(r"\n"),
    "block": re.compile(r"\n(?:[ \t]*\n)+"),
    "file": re.compile(r"(?!)"),
}
_AUTO = {".md": "file"}


class Document(NamedTuple):
    """One text, where it stands (``file:line``) and the character spans the user annotated in it."""

    text: str
    source: str
    annotated: Spans = ()


@dataclass(frozen=True)
class Reading:
    """How files become documents; ``counts`` collects what was repaired on the way."""

    unit: Unit = "auto"
    field: str = "text"
    spans_field: str = "spans"
    invalid_utf8: InvalidUtf8 = "refuse"
    max_characters: int = MAX_CHARACTERS
    counts: Counter[str] = made_by(default_factory=Counter)

    @property
    def fields(self) -> list[str]:
        """List the fields of a record that make its text, joined with newlines."""
        return [name.strip() for name in self.field.split(",")]


def documents(
    paths: Sequence[str | Path],
    *,
    unit: Unit = "auto",
    field: str = "text",
    invalid_utf8: InvalidUtf8 = "refuse",
    max_characters: int = MAX_CHARACTERS,
    counts: Counter[str] | None = None,
) -> Iterator[Document]:
    """Yield the documents of files, directories and globs in order, one at a time.

    ``auto`` reads records from .jsonl, .json, .csv, .tsv and .parquet, whole files from .md, and blocks between
    blank lines from other text. Empty documents are left out; text documents are stripped of outer white
    space. A longer document than ``max_characters`` is cut at white space where there is some. ``counts``
    receives ``invalid_utf8_lines`` and ``cut_documents``.
    """
    reading = Reading(unit, field, "spans", invalid_utf8, max_characters, Counter() if counts is None else counts)
    return read_all(find_files(paths), reading)


def read_all(files: Sequence[Path], reading: Reading) -> Iterator[Document]:
    """Yield the documents of files already found; a field named where none of them has any is refused."""
    if reading.field != Reading.field and all(format_of(path) == "text" for path in files):
        raise DataError(f"{files[0]}: plain text has no field {reading.field!r}: leave out --field.")
    for path in files:
        check_text(path)
        yield from _documents_of(path, reading)


def held_out_from(num_documents: int, share: float) -> int:
    """Find the first document of the last ``share`` of a corpus; at least one is held out when share > 0."""
    if share <= 0:
        return num_documents
    return num_documents - min(num_documents, max(1, round(num_documents * share)))


def text_units(path: Path, reading: Reading, separator: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of what stands between separators, decoded; line numbers count from 1.

    A unit longer than the limit comes in several pieces; nothing longer is ever held.
    """
    pattern, limit = _SEPARATORS[separator], reading.max_characters
    carry, line = "", 1
    for text in decoded_pieces(path, reading):
        carry += text
        start = 0
        for match in pattern.finditer(carry):
            yield line, carry[start : match.start()]
            line += 1 if separator == "line" else carry.count("\n", start, match.end())
            start = match.end()
        carry = carry[start:]
        if reading.unit == "record" and len(carry) > limit:
            raise DataError(f"{path}:{line}: a record of more than {limit:,} characters; split it first.")
        while len(carry) > 2 * limit:
            cut = cut_position(carry, limit)
            reading.counts["cut_documents"] += 1
            yield line, carry[:cut]
            line += carry.count("\n", 0, cut)
            carry = carry[cut:]
    yield line, carry


def decoded_pieces(path: Path, reading: Reading) -> Iterator[str]:
    """Yield a file's text in pieces of about a mebibyte, cut after a line end or, if need be, inside a line."""
    with open_bytes(path) as stream:
        carry, line, is_first = b"", 1, True
        while block := stream.read(_READ_BYTES):
            raw = carry + block
            cut = raw.rfind(b"\n") + 1 or _character_end(raw)
            raw, carry = raw[:cut], raw[cut:]
            yield _clean(_decode(raw, path, line, reading), is_first=is_first)
            line += raw.count(b"\n")
            is_first = False
        if carry:
            yield _clean(_decode(carry, path, line, reading), is_first=is_first)


def cut_position(text: str, limit: int) -> int:
    """Find where to cut a text to ``limit`` characters: after white space in its second half, if any."""
    cut = max(text.rfind(" ", limit // 2, limit), text.rfind("\n", limit // 2, limit)) + 1
    return cut or limit


def _documents_of(path: Path, reading: Reading) -> Iterator[Document]:
    kind = format_of(path)
    if kind == "text":
        unit = _text_unit(path, reading.unit)
        for line, text in text_units(path, reading, unit):
            if stripped := text.strip():
                yield from _cut(Document(stripped, f"{path}:{line}"), reading)
        return
    if reading.unit not in ("auto", "record"):
        raise DataError(f"{path}: holds records; read it with --documents record or auto, not {reading.unit}.")
    from clozelm.text import records

    whole_records = replace(reading, unit="record", max_characters=_MAX_RECORD)
    for document in records.READERS[kind](path, whole_records):
        if document.text and not document.text.isspace():
            yield from _cut(document, reading)


def _text_unit(path: Path, unit: Unit) -> str:
    if unit == "record":
        raise DataError(f"{path}: plain text has no records; use --documents line, block or file.")
    return _AUTO.get(suffix_of(path), "block") if unit == "auto" else unit


def _cut(document: Document, reading: Reading) -> Iterator[Document]:
    """Yield a document in pieces of at most the longest length, its spans with them."""
    text, source, spans = document
    while len(text) > reading.max_characters:
        cut = cut_position(text, reading.max_characters)
        reading.counts["cut_documents"] += 1
        yield Document(text[:cut].rstrip(), source, _clipped(spans, 0, cut))
        text, spans = text[cut:], _clipped(spans, cut, len(text))
    yield Document(text, source, spans) if len(text) < len(document.text) else document


def _clipped(spans: Spans, start: int, stop: int) -> Spans:
    moved = ((max(a, start) - start, min(b, stop) - start) for a, b in spans)
    return tuple((a, b) for a, b in moved if a < b)


def _character_end(raw: bytes) -> int:
    """Find the end of the last whole UTF-8 character."""
    for back in range(1, min(4, len(raw)) + 1):
        byte = raw[-back]
        if byte >= 0xC0:
            return len(raw) - back
        if byte < 0x80:
            break
    return len(raw)


def _decode(raw: bytes, path: Path, line: int, reading: Reading) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _decode_lines(raw, path, line, reading)


def _decode_lines(raw: bytes, path: Path, line: int, reading: Reading) -> str:
    decoded = []
    for number, each in enumerate(raw.split(b"\n"), line):
        try:
            decoded.append(each.decode("utf-8"))
        except UnicodeDecodeError as error:
            if reading.invalid_utf8 == "refuse":
                raise DataError(
                    f"{path}:{number}: invalid UTF-8, byte 0x{each[error.start]:02x} at {error.start + 1} in "
                    "the line: convert the file to UTF-8."
                ) from None
            reading.counts["invalid_utf8_lines"] += 1
            decoded.append(each.decode("utf-8", "replace"))
    return "\n".join(decoded)


def _clean(text: str, *, is_first: bool) -> str:
    if is_first:
        text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n") if "\r" in text else text
