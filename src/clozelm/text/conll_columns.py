"""Divide text into sentences of rows of columns, and find out which column holds words and which tags."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from clozelm.errors import DataError
from clozelm.text.repairs import Repairs
from clozelm.text.valid import shortened

MARK = "-DOCSTART-"
_COMMENT = re.compile(r"#(\s|begin document|end document)")
_NEW_DOCUMENT = re.compile(r"#\s*(newdoc\b|begin document)")
_ID = re.compile(r"[0-9]+([-.][0-9]+)?")
_LIKE_PREFIX = re.compile(r"^[BIESLUM]?[-_:/.|]|^[biesluo0]$|^[BIESLUMbieslum][-_:/.|]|[-_:/.|][BIESLUM]$")
_TAG = re.compile(r"O|[BIESLUM]-.+")
_BLANKS = re.compile(r"[ \t]+")
_PREFIXES = {"L": "E", "U": "S", "M": "I"}


class Row(NamedTuple):
    """The columns of a word and the line it stands in, counted from 1."""

    line: int
    cells: list[str]


@dataclass
class Sentence:
    """The rows of a sentence, and which document of its file it is of."""

    document: int
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Columns:
    """Where words and tags stand, counted from 0; ``has_bare_types`` is of tags without B- or I-."""

    word: int
    tag: int | None
    has_bare_types: bool = False


def read_sentences(text: str, name: str) -> list[Sentence]:
    """Divide columns at tabs, or at tabs and spaces where most rows have no tab; comments and marks left out.

    A blank line ends a sentence; ``-DOCSTART-`` and ``# newdoc`` begin a document. A row that begins with "# "
    is a comment unless it has as many columns as the others and a tag among them. Raises ``DataError`` with
    file:line for a row of another number of columns than the first.
    """
    lines = text.split("\n")
    plain = [line for line in lines if line.strip() and not _COMMENT.match(line) and not line.startswith(MARK)]
    divide = _at_tabs if 2 * sum("\t" in line for line in plain) > len(plain) else _at_white_space
    first = next((number for number, line in enumerate(lines, 1) if plain and line is plain[0]), 0)
    width = len(divide(plain[0])) if plain else 0
    sentences, document, has_mark = [Sentence(0)], 0, False
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith(MARK) and not _is_comment(line, divide, width):
            cells = divide(line)
            if len(cells) != width:
                columns = f"{len(cells)} column{'s' * (len(cells) != 1)}"
                raise DataError(f"{name}:{number}: has {columns} where line {first} has {width}.")
            sentences[-1].rows.append(Row(number, cells))
            continue
        if line.startswith(MARK) or _NEW_DOCUMENT.match(line):
            document += has_mark or len(sentences) > 1 or bool(sentences[0].rows)
            has_mark = True
        elif line.strip():
            continue
        if sentences[-1].rows:
            sentences.append(Sentence(document))
        sentences[-1].document = document
    return [sentence for sentence in sentences if sentence.rows]


def without_ranges(sentences: Sequence[Sentence], name: str, repairs: Repairs) -> list[Sentence]:
    """Leave out rows that stand for several words or for none, as 3-4 and 5.1 in the first column of CoNLL-U."""
    kept = []
    for sentence in sentences:
        rows = [row for row in sentence.rows if row.cells[0].isdecimal()]
        for row in sentence.rows:
            if not row.cells[0].isdecimal():
                repairs.add("rows of several words or of none (as 3-4 or 5.1), left out", f"{name}:{row.line}")
        if rows:
            kept.append(Sentence(sentence.document, rows))
    return kept


def has_ids(sentences: Sequence[Sentence], name: str, *, labelled: bool) -> bool:
    """Whether the first column counts the words of every sentence; one that does so with gaps is refused."""
    if len(sentences[0].rows[0].cells) < 2 + labelled:
        return False
    if not all(_ID.fullmatch(row.cells[0]) for sentence in sentences for row in sentence.rows):
        return False
    if any(sentence.rows[0].cells[0].partition("-")[0] not in ("0", "1") for sentence in sentences):
        return False
    for sentence in sentences:
        plain = [row for row in sentence.rows if row.cells[0].isdecimal()]
        for before, after in pairwise(plain):
            if int(after.cells[0]) != int(before.cells[0]) + 1:
                ids = f"{before.cells[0]} to {after.cells[0]}"
                raise DataError(
                    f"{name}:{after.line}: the number of the word goes from {ids}: is a blank line missing?"
                )
    return True


def choose_columns(
    sentences: Sequence[Sentence], name: str, *, first: int, word: int | None, tag: int | None, labelled: bool
) -> Columns:
    """Choose the columns of words and tags; the caller's, counted from 1 or from the end if negative, are kept.

    By themselves: words are in column ``first``, counted from 0, and tags in the last that holds nothing else.
    """
    width = len(sentences[0].rows[0].cells)
    words = first if word is None else _place(word, width, "--word-column")
    if not labelled:
        return Columns(words, None)
    if width < 2:
        where = f"{name}:{sentences[0].rows[0].line}"
        raise DataError(f"{where}: has one column, so no tags; columns are divided by tabs or spaces.")
    if tag is not None:
        tags = _place(tag, width, "--tag-column")
        if tags == words:
            raise DataError(f"--word-column and --tag-column both name column {words + 1}.")
    else:
        tags = tag_column(sentences, [column for column in range(width) if column != words])
    return Columns(words, tags, has_bare_types=_check_tags(sentences, tags, name))


def tag_column(sentences: Sequence[Sentence], columns: Sequence[int]) -> int:
    """Return the last column that holds nothing but tags, else the one that holds the most."""
    shares = {}
    for column in columns:
        values = Counter(row.cells[column] for sentence in sentences for row in sentence.rows)
        shares[column] = sum(count for value, count in values.items() if is_tag(value)) / values.total()
    best = max(columns, key=lambda column: (shares[column], column))
    return best if shares[best] > 0.5 else max(columns)


def is_tag(value: str) -> bool:
    """Whether a value is O, or a type after B-, I-, E-, S- or a synonym of these."""
    return _TAG.fullmatch(value) is not None


def bare_types(values: Collection[str]) -> bool:
    """Whether tags are types alone: O is among them, and none has a prefix or what could be meant as one."""
    found = set(values) - {"O"}
    return "O" in values and all(value and not _LIKE_PREFIX.search(value) for value in found) and bool(found)


def tag_of(value: str, where: str, *, has_bare_types: bool, repairs: Repairs) -> str:
    """Return a tag with the prefixes B, I, E and S: those of BILOU and BMES are renamed, a bare type is I-."""
    if has_bare_types:
        if value == "O":
            return value
        repairs.add("tags without B- or I-, read as I-", where)
        return f"I-{value}"
    if value[0] in _PREFIXES:
        repairs.add("tags with the prefixes L, U or M, read as E, S and I", where)
        return _PREFIXES[value[0]] + value[1:]
    return value


def not_a_tag(value: str, where: str) -> DataError:
    """Return the error of a tag that is of no scheme."""
    what = "a tag is missing" if not value else f"{shortened(value)!r} is no tag"
    return DataError(f"{where}: {what}: O, B-TYPE, I-TYPE, E-TYPE or S-TYPE. See also --tag-column.")


def _at_tabs(line: str) -> list[str]:
    return [cell.strip(" ") for cell in line.split("\t")]


def _at_white_space(line: str) -> list[str]:
    return _BLANKS.split(line.strip(" \t"))


def _is_comment(line: str, divide: Callable[[str], list[str]], width: int) -> bool:
    if not _COMMENT.match(line):
        return False
    cells = divide(line)
    return len(cells) != width or width == 1 or not (line.startswith("#\t") or any(map(is_tag, cells)))


def _place(column: int, width: int, option: str) -> int:
    place = column - 1 if column > 0 else column + width
    if column == 0 or not 0 <= place < width:
        raise DataError(f"{option} {column}: there are {width} columns, counted from 1 (or -1 from the last).")
    return place


def _check_tags(sentences: Sequence[Sentence], column: int, name: str) -> bool:
    """Refuse a column of what is no tags; return whether they are types without prefixes."""
    bad = next((row for s in sentences for row in s.rows if not is_tag(row.cells[column])), None)
    if bad is None:
        return False
    if bare_types([row.cells[column] for sentence in sentences for row in sentence.rows]):
        return True
    raise not_a_tag(bad.cells[column], f"{name}:{bad.line}")
