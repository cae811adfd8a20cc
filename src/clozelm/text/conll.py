"""Sentences with a tag for every word: columns as the CoNLL tasks have them, or lists in records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from clozelm.errors import DataError
from clozelm.text.arrow_files import is_arrow
from clozelm.text.conll_columns import (
    MARK,
    Columns,
    Sentence,
    choose_columns,
    has_ids,
    read_sentences,
    tag_of,
    without_ranges,
)
from clozelm.text.decoding import read_text
from clozelm.text.examples import TaggedSentence
from clozelm.text.files import named
from clozelm.text.record_files import STDIN, TableForm, parse_records, read_records, stream_text
from clozelm.text.repairs import Repairs
from clozelm.text.tagged_records import tagged_records

NOTHING = "_"
"""What stands for a word of which nothing is left."""

LONG = 1000
"""Words: a longer sentence is worth a note, for blank lines may be missing."""

Record = tuple[str, Mapping[str, Any]]
_BLANK = re.compile(r"[ \t]")
_PREFIX = re.compile(r"([a-z]{2,3}(?:-[a-z]+)*):")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class TaggedForm:
    """What a file does not say about itself; None is to find it out.

    ``word`` and ``tag`` are numbers of columns from 1 (or -1 from the last), or fields of records.
    """

    word: str | None = None
    tag: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Tagged:
    """The sentences of a file and what there is to say about it; ``format`` is "conll", "jsonl" or "arrow".

    What they were read from is there too: ``records`` with their places, or ``text``, and for every sentence the
    ``lines`` of its words, counted from 1.
    """

    sentences: list[TaggedSentence]
    notes: list[str]
    format: str
    records: Sequence[Record] = ()
    text: str = ""
    lines: Sequence[Sequence[int]] = ()


def read_tagged(path: str | Path, form: TaggedForm | None = None, *, labelled: bool = True) -> Tagged:
    """Read the sentences of a file of columns, of JSON lines, of Parquet or Arrow, or of a data set directory.

    Without ``labelled`` tags are not looked at, and one column is enough. Raises ``DataError`` with file:line for
    rows of different width, for missing tags and for tags of no scheme; what is repaired is counted in the notes.
    """
    path, form, repairs = named(path), form or TaggedForm(), Repairs()
    if is_arrow(path):
        records = read_records(path, TableForm(encoding=form.encoding), repairs)
        found = tagged_records(records, form.word, form.tag, labelled=labelled, repairs=repairs)
        return replace(_tagged(found, str(path), "arrow", repairs), records=records.rows)
    if not path.is_file():
        raise DataError(f"{path}: no such file or directory.")
    decoded = read_text(path, form.encoding)
    repairs.remark(*decoded.notes)
    return _of_text(decoded.text, str(path), form, repairs, labelled=labelled)


def stream_tagged(
    stream: IO[str], form: TaggedForm | None = None, *, labelled: bool = True, name: str = STDIN
) -> Tagged:
    """Read the sentences of an open stream of text: columns, or JSON lines."""
    return _of_text(stream_text(stream, name), name, form or TaggedForm(), Repairs(), labelled=labelled)


def with_columns(found: Tagged, added: Sequence[Sequence[Sequence[str]]]) -> str:
    """Return the columns that were read with more behind them: for every word of every sentence its new cells.

    All else stays, comments and marks too; a row that is no word has "O" there, or "_" if it stands for several.
    """
    cells = {
        line: row
        for lines, rows in zip(found.lines, added, strict=True)
        for line, row in zip(lines, rows, strict=True)
    }
    width = max((len(row) for row in cells.values()), default=0)
    rows = []
    for number, line in enumerate(found.text.split("\n"), 1):
        divider = "\t" if "\t" in line or not _BLANK.search(line.strip()) else " "
        kept = line if divider == "\t" else line.rstrip()
        if number in cells:
            rows.append(divider.join([kept, *cells[number]]))
        elif line.startswith(MARK):
            rows.append(divider.join([kept, *["O"] * width]) if len(line.split()) > 1 else line)
        else:
            is_row = line.strip() and not line.startswith("#")
            rows.append(divider.join([kept, *[NOTHING] * width]) if is_row else line)
    return "\n".join(rows).rstrip("\n") + "\n\n"


def _of_text(text: str, name: str, form: TaggedForm, repairs: Repairs, *, labelled: bool) -> Tagged:
    if _is_json(text):
        records = parse_records(text, name, "jsonl", TableForm(), repairs)
        found = tagged_records(records, form.word, form.tag, labelled=labelled, repairs=repairs)
        return replace(_tagged(found, name, "jsonl", repairs), records=records.rows)
    sentences = read_sentences(text, name)
    if not sentences:
        raise DataError(f"{name}: there are no words in it.")
    word, tag = _column(form.word, "--word-column"), _column(form.tag, "--tag-column")
    counts_words = word in (None, 2) and has_ids(sentences, name, labelled=labelled)
    if counts_words:
        sentences = without_ranges(sentences, name, repairs)
    columns = choose_columns(sentences, name, first=int(counts_words), word=word, tag=tag, labelled=labelled)
    width = len(sentences[0].rows[0].cells)
    if columns.tag not in (None, width - 1) and tag is None:
        repairs.remark(f"{name}: tags are read from column {(columns.tag or 0) + 1} of {width}")
    if not labelled and word is None and width > 1 + counts_words:
        repairs.remark(f"{name}: words are read from column {columns.word + 1} of {width}")
    tagged = _tagged([_sentence(each, columns, name, repairs) for each in sentences], name, "conll", repairs)
    return replace(tagged, text=text, lines=[[row.line for row in each.rows] for each in sentences])


def _is_json(text: str) -> bool:
    first = next((line for line in text.split("\n") if line.strip()), "")
    if not first.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _column(value: str | None, option: str) -> int | None:
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise DataError(
            f"{option} {value!a} must be the number of a column, from 1 (or -1 from the last)."
        ) from None


def _sentence(sentence: Sentence, columns: Columns, name: str, repairs: Repairs) -> TaggedSentence:
    words, tags = [], []
    for line, cells in sentence.rows:
        words.append(cells[columns.word])
        if columns.tag is not None:
            tag = cells[columns.tag]
            tags.append(tag_of(tag, f"{name}:{line}", has_bare_types=columns.has_bare_types, repairs=repairs))
    source = f"{name}:{sentence.rows[0].line}"
    return TaggedSentence(tuple(words), None if columns.tag is None else tuple(tags), source, sentence.document)


def _tagged(sentences: list[TaggedSentence], name: str, kind: str, repairs: Repairs) -> Tagged:
    """Clean the words of sentences, and say what is odd about them."""
    if not sentences:
        raise DataError(f"{name}: there are no sentences in it.")
    sentences = _without_prefix(sentences, repairs)
    cleaned = [
        replace(each, words=tuple(_cleaned(w, each.source, repairs) for w in each.words)) for each in sentences
    ]
    for sentence in cleaned:
        if len(sentence.words) > LONG:
            repairs.add(f"sentences of more than {LONG:,} words (are blank lines missing?)", sentence.source)
    return Tagged(cleaned, repairs.notes(), kind)


def _without_prefix(sentences: list[TaggedSentence], repairs: Repairs) -> list[TaggedSentence]:
    """Drop a language before every word of a file ("en:the"), as WikiANN has it, if not a single one lacks it."""
    match = _PREFIX.match(sentences[0].words[0])
    count = sum(len(sentence.words) for sentence in sentences)
    if match is None or count < 2 or not all(w.startswith(match[0]) for each in sentences for w in each.words):
        return sentences
    repairs.add(f"words after {match[0]!r}, read without it", sentences[0].source, count)
    return [replace(each, words=tuple(w.removeprefix(match[0]) for w in each.words)) for each in sentences]


def _cleaned(word: str, source: str, repairs: Repairs) -> str:
    """Return a word without control characters, its white space single spaces; never an empty one."""
    if word.isalnum():
        return word
    cleaned = _UNSEEN.sub("", " ".join(word.split()))
    if not cleaned:
        repairs.add(f"empty words, read as {NOTHING!r}", f"the sentence at {source}")
        return NOTHING
    if cleaned != word:
        repairs.add("words with control characters or odd white space, cleaned", f"the sentence at {source}")
    elif " " in word:
        repairs.add("words with a space in them, kept", f"the sentence at {source}")
    return cleaned
