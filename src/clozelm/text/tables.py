"""Read tables of delimited text: what divides the fields, and whether quotes quote, is found out from the whole."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from clozelm.errors import DataError
from clozelm.text.repairs import Repairs
from clozelm.text.valid import shortened

Quoting = Literal["auto", "csv", "none"]

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "|"}
_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_EXCEL = re.compile(r"sep=(.)\n")
_RETURN = "\0"  # stands in for a carriage return, which `csv` takes for the end of a row; no text has it
_ESCAPED = re.compile(r"\\(.)")


class Row(NamedTuple):
    """The fields of one row and the line it begins in, counted from 1."""

    line: int
    fields: list[str]


class Table(NamedTuple):
    """Rows of one width, the header not among them, and how they were told apart."""

    names: list[str]
    rows: list[Row]
    delimiter: str
    first: list[str]


@dataclass(frozen=True)
class _Parsed:
    """What one way of reading gave: rows of one width, or the line at which it failed and why."""

    rows: list[Row]
    how: str = ""
    failed: tuple[int, str] | None = None

    @property
    def width(self) -> int:
        return next((len(row.fields) for row in self.rows if row.fields), 0)


def read_table(
    text: str,
    name: str,
    *,
    delimiter: str,
    is_sure: bool = False,
    quoting: Quoting = "auto",
    header: bool = True,
    repairs: Repairs,
) -> Table:
    """Divide text into the rows of a table; ``name`` is what messages call the file.

    Unless ``is_sure``, another delimiter is taken where it alone makes a table of several columns. Quotes quote
    where the whole file can be read so and, in a table of tabs, where no quote says otherwise: writers of such
    tables often write quotes as they are. Without a header the fields are called "1", "2", ... Raises
    ``DataError`` with file:line for rows of another width than the first.
    """
    line = 1
    if header and (excel := _EXCEL.match(text)):
        delimiter, is_sure, text, line = excel[1], True, text[excel.end() :], 2
    parse = partial(_parsed, text.removesuffix("\n"), line, quoting=quoting)
    delimiter, parsed = _divided(parse, delimiter, is_sure=is_sure, header=header, name=name, repairs=repairs)
    if parsed.failed:
        at, why = parsed.failed
        raise DataError(f"{name}:{at}: {why}")
    rows = [row for row in parsed.rows if not _is_blank(row)]
    for blank in filter(_is_blank, parsed.rows):
        repairs.add("rows without any value, left out", f"{name}:{blank.line}")
    if not rows:
        raise DataError(f"{name}: there are no records in it.")
    if parsed.how:
        repairs.remark(f"{name}: is read {parsed.how}")
    if not header:
        return Table([str(place + 1) for place in range(parsed.width)], rows, delimiter, rows[0].fields)
    return Table(_names(rows[0], rows[1:], name), rows[1:], delimiter, rows[0].fields)


def checked_delimiter(delimiter: str) -> str:
    """Return the character that --delimiter names: itself, or tab, comma, semicolon, pipe, space."""
    character = _NAMES.get(delimiter.lower(), delimiter)
    if len(character) != 1 or character in '"\n\r\0\ufeff':
        raise DataError(
            f"--delimiter {delimiter!a} must be one character, or tab, comma, semicolon, pipe or space."
        )
    return character


def looks_like_data(first: Sequence[str], rows: Sequence[Row]) -> bool:
    """Whether the first row of a table has what only data have: a sentence, a number, a value that comes again."""
    later = [{row.fields[column] for row in rows[:1000]} for column in range(len(first))]
    return any(
        len(value) > 40 or len(value.split()) > 2 or bool(re.fullmatch(r"-?\d+(\.\d+)?", value)) or value in values
        for value, values in zip(first, later, strict=True)
        if value
    )


def _names(row: Row, rows: Sequence[Row], name: str) -> list[str]:
    """Return the fields that a header names; one without a name is called by its place."""
    names = [field.strip() or str(place + 1) for place, field in enumerate(row.fields)]
    twice = next((each for each, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        advice = (
            "the row looks like a record: see --no-header" if looks_like_data(row.fields, rows) else "rename one"
        )
        raise DataError(f"{name}:{row.line}: two columns are called {shortened(twice)!r}; {advice}.")
    return names


def _divided(
    parse: Callable[[str], _Parsed], delimiter: str, *, is_sure: bool, header: bool, name: str, repairs: Repairs
) -> tuple[str, _Parsed]:
    """Choose the delimiter: the one expected if that makes a table, else the only one that does."""
    expected = parse(delimiter)
    is_table = expected.failed is None and expected.width > 1
    if is_sure or (is_table and (header or delimiter == "\t")):
        return delimiter, expected
    others = {each: parse(each) for each in DELIMITERS if each != delimiter}
    tables = {each: parsed for each, parsed in others.items() if parsed.failed is None and parsed.width > 1}
    if is_table and not tables:
        return delimiter, expected
    if len(tables) == 1 and not is_table:
        ((found, parsed),) = tables.items()
        repairs.remark(f"{name}: fields are divided by {DELIMITERS[found]}, not {DELIMITERS[delimiter]}")
        return found, parsed
    if tables:
        every = [DELIMITERS[each] for each in ([delimiter] if is_table else []) + list(tables)]
        raise DataError(f"{name}: fields could be divided by {' or '.join(every)}; say which with --delimiter.")
    if expected.width == 1 and (expected.failed or header):
        expected = _better_failure(expected, others)
    return delimiter, expected


def _better_failure(expected: _Parsed, others: dict[str, _Parsed]) -> _Parsed:
    """Return the failure of a delimiter that the first row has, where the expected one is not in it."""
    wide = {each: parsed for each, parsed in others.items() if parsed.width > 1}
    if len(wide) != 1:
        return expected
    ((found, parsed),) = wide.items()
    line, why = parsed.failed or (1, "")
    return _Parsed(parsed.rows, failed=(line, f"read with {DELIMITERS[found]} between fields, {why}"))


def _parsed(text: str, line: int, delimiter: str, *, quoting: Quoting) -> _Parsed:
    """Read rows with one delimiter, quotes as quoting or as characters: as told, or as the whole file has it."""
    if quoting == "none" or (quoting == "auto" and '"' not in text):
        return _plain(text, line, delimiter)
    quoted = _quoted(text, line, delimiter)
    if quoting == "csv":
        return quoted
    plain = _plain(text, line, delimiter)
    if plain.failed or plain.width < 2:
        return plain if quoted.failed and delimiter == "\t" else quoted
    as_characters = _Parsed(plain.rows, how="with quotes as characters of the text")
    if quoted.failed:
        return as_characters
    if delimiter == "\t" and not _is_quoted(plain.rows, quoted.rows):
        return as_characters
    if len(plain.rows) == len(quoted.rows):
        return quoted
    joined = next(row.line for row in quoted.rows if any("\n" in field for field in row.fields))
    why = "has quotes that would join it with the next lines, each of which is a row of as many fields by itself"
    return _Parsed(plain.rows, failed=(joined, f"{why}; say which is meant with --quoting csv or --quoting none."))


def _plain(text: str, line: int, delimiter: str) -> _Parsed:
    """Read rows whose quotes are characters like others."""
    rows: list[Row] = []
    for number, raw in enumerate(text.split("\n"), line):
        is_blank = not raw or (raw.isspace() and delimiter not in raw)
        rows.append(Row(number, [] if is_blank else raw.split(delimiter)))
    return _of_one_width(rows)


def _quoted(text: str, line: int, delimiter: str) -> _Parsed:
    """Read rows as RFC 4180 has it, or as the usual writers deviate from it; the failure is that of the RFC."""
    csv.field_size_limit(max(csv.field_size_limit(), min(len(text), 2**31 - 1)))
    parsed = _strictly_quoted(text, line, delimiter)
    if delimiter != "\t" and re.search(f'{re.escape(delimiter)} +"', text):
        spaced = _strictly_quoted(text, line, delimiter, skips_spaces=True)
        if spaced.failed is None and (parsed.failed or _has_quotes_after_spaces(parsed.rows, spaced.rows)):
            return spaced
    if parsed.failed and '\\"' in text:
        unescaped = _strictly_quoted(_ESCAPED.sub(_doubled, text), line, delimiter)
        if unescaped.failed is None:
            return _Parsed(unescaped.rows, how="with backslashes before inner quotes")
    return parsed


def _has_quotes_after_spaces(kept: list[Row], skipped: list[Row]) -> bool:
    """Whether skipping spaces changed more than that they are gone: what was a character became quoting."""
    if len(kept) != len(skipped):
        return False
    rows = zip(kept, skipped, strict=True)
    pairs = ((a, b) for before, after in rows for a, b in zip(before.fields, after.fields, strict=True))
    return any(after not in (before, before.lstrip(" ")) for before, after in pairs)


def _doubled(match: re.Match[str]) -> str:
    """Write what follows a backslash as RFC 4180 has it."""
    return {'"': '""', "\\": "\\"}.get(match[1], match[0])


def _strictly_quoted(text: str, line: int, delimiter: str, *, skips_spaces: bool = False) -> _Parsed:
    rows: list[Row] = []
    lines = (each + "\n" for each in text.replace("\r", _RETURN).split("\n"))
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=skips_spaces)
    start = line
    try:
        for fields in reader:
            is_blank = len(fields) == 1 and fields[0].isspace()
            rows.append(Row(start, [] if is_blank else [each.replace(_RETURN, "\r") for each in fields]))
            start = line + reader.line_num
    except csv.Error as error:
        sound = _of_one_width(rows)
        why = f"the quotes of this row are wrong ({error}); see also --quoting none."
        return sound if sound.failed else _Parsed(rows, failed=(start, why))
    return _of_one_width(rows)


def _is_blank(row: Row) -> bool:
    return not row.fields or (len(row.fields) > 1 and not any(row.fields))


def _of_one_width(rows: list[Row]) -> _Parsed:
    first = next((row for row in rows if row.fields), None)
    for row in rows:
        if first and row.fields and len(row.fields) != len(first.fields):
            fields = f"{len(row.fields)} field{'s' * (len(row.fields) != 1)}"
            why = f"has {fields} where line {first.line} has {len(first.fields)}"
            return _Parsed(rows, failed=(row.line, f"{why}; see also --delimiter and --quoting."))
    return _Parsed(rows)


def _same_rows(plain: Sequence[Row], quoted: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Pair the rows that stand in one line both ways, the header left out."""
    lines = {row.line: row for row in plain if row.fields}
    for row in [row for row in quoted if row.fields][1:]:
        if not any("\n" in each for each in row.fields):
            yield lines[row.line], row


def _is_quoted(plain: list[Row], quoted: list[Row]) -> bool:
    """Whether quotes are those of a writer: only on fields that need them, or on all of a column.

    ``plain`` and ``quoted`` are the same text read both ways. A quote inside a field that is not quoted is
    never a writer's; some writers quote every field with a comma.
    """
    needless: set[int] = set()
    has_commas: set[int] = set()
    bare: set[int] = set()
    is_comma_bare = False
    for raw, read in _same_rows(plain, quoted):
        for column, (before, after) in enumerate(zip(raw.fields, read.fields, strict=True)):
            if before == after:
                if '"' in before:
                    return False
                is_comma_bare = is_comma_bare or "," in before
                if before:
                    bare.add(column)
            elif '"' not in after and "\r" not in after:
                (has_commas if "," in after else needless).add(column)
    return not (needless | (has_commas if is_comma_bare else set())) & bare
