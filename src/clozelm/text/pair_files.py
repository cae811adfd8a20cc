"""Read minimal pairs: an acceptable sentence beside one that differs from it in what makes it unacceptable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from clozelm.errors import DataError
from clozelm.text.files import find_files, suffix_of
from clozelm.text.records import records
from clozelm.text.valid import is_valid

# The columns of a good sentence, a bad one and the group, by who writes them so: BLiMP, or a plain table.
_USUAL = (("sentence_good", "sentence_bad", "UID"), ("good", "bad", "group"))


class Pair(NamedTuple):
    """A good and a bad sentence, the paradigm they belong to, and where they stand (``file:line``)."""

    good: str
    bad: str
    group: str = ""
    source: str = ""


def read_pairs(
    paths: Sequence[str | Path],
    *,
    good: str | None = None,
    bad: str | None = None,
    group: str | None = None,
    limit: int | None = None,
) -> Iterator[Pair]:
    """Yield the pairs of .jsonl, .json, .csv and .tsv files, at most the first ``limit`` of each file.

    The columns are those of BLiMP (Warstadt et al. 2020: sentence_good, sentence_bad, UID) or good, bad and group,
    unless they are named. Without a column of groups a file is one, called as the file. Raises ``DataError`` with
    file:line for a record that lacks a sentence.
    """
    if good is not None and good == bad:
        raise DataError(f"--good and --bad both name the field '{good}': every pair would be a tie.")
    for path in find_files(paths):
        count = 0
        for pair in islice(_pairs(path, (good, bad, group)), limit):
            count += 1
            yield pair
        if not count:
            raise DataError(f"{path}: there are no pairs in it.")


def _pairs(path: Path, named: tuple[str | None, str | None, str | None]) -> Iterator[Pair]:
    for where, record in records(path):
        usual = next((columns for columns in _USUAL if columns[0] in record or columns[1] in record), _USUAL[1])
        good, bad, group = (name or default for name, default in zip(named, usual, strict=True))
        if named[2] is not None or group in record:
            name = _group(record, group, where)
        else:
            name = path.name[: path.name.lower().rindex(suffix_of(path))]
        yield Pair(_value(record, good, where, "--good"), _value(record, bad, where, "--bad"), name, where)


def _group(record: Mapping[str, Any], column: str, where: str) -> str:
    """Return the name of a group, which a number may be; what is missing or no name is refused."""
    value = _column(record, column, where, "--group")
    if not isinstance(value, str | int) or not is_valid(str(value)):
        shown = "empty" if value is None else f"{value!a}, which is no name of a group"
        raise DataError(f"{where}: field '{column}' is {shown}.")
    return str(value)


def _value(record: Mapping[str, Any], column: str, where: str, option: str) -> str:
    """Return the text of a column; what is missing, empty or no text is refused."""
    value = _column(record, column, where, option)
    if not isinstance(value, str) or not value.strip():
        shown = "empty" if value is None or isinstance(value, str) else f"a {type(value).__name__}, not text"
        raise DataError(f"{where}: field '{column}' is {shown}.")
    if not is_valid(value):
        raise DataError(f"{where}: field '{column}' holds half a surrogate pair, which is no character.")
    return value


def _column(record: Mapping[str, Any], column: str, where: str, option: str) -> Any:
    if column not in record:
        there = ", ".join(map(str, record)) or "no fields"
        raise DataError(f"{where}: no field '{column}'; the record has {there}. Name it with {option}.")
    return record[column]
