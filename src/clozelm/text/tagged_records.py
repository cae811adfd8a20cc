"""Read tagged sentences from records that hold a list of words and a list of tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clozelm.errors import DataError
from clozelm.text.conll_columns import bare_types, is_tag, not_a_tag, tag_of
from clozelm.text.examples import TaggedSentence
from clozelm.text.fields import listed
from clozelm.text.record_files import Records
from clozelm.text.repairs import Repairs
from clozelm.text.valid import shortened

_WORDS = ("tokens", "words")
_TAGS = ("ner_tags", "tags", "labels", "ner", "label")


def tagged_records(
    records: Records, word: str | None, tag: str | None, *, labelled: bool, repairs: Repairs
) -> list[TaggedSentence]:
    """Return the sentence of every record; records without words are left out and counted."""
    first = records.rows[0][0]
    words = _field(records.names, word, _WORDS, first, "--word-column")
    tags = _field(records.names, tag, _TAGS, first, "--tag-column") if labelled else None
    found = []
    for where, record in records.rows:
        listed_words = tuple(_item(each, where, words) for each in _list(record, words, where))
        if not listed_words:
            repairs.add(f"records without words, {'left out' if labelled else 'nothing to tag'}", where)
            continue
        given = None if tags is None else tuple(_tags(record, tags, where, len(listed_words)))
        found.append(TaggedSentence(listed_words, given, where))
    if tags is None:
        return found
    return _checked(found, repairs)


def _checked(sentences: Sequence[TaggedSentence], repairs: Repairs) -> list[TaggedSentence]:
    has_bare_types = bare_types([tag for sentence in sentences for tag in sentence.tags or ()])
    checked = []
    for sentence in sentences:
        tags = sentence.tags or ()
        bad = next((tag for tag in tags if not is_tag(tag)), None)
        if bad is not None and not has_bare_types:
            raise not_a_tag(bad, sentence.source)
        read = (tag_of(tag, sentence.source, has_bare_types=has_bare_types, repairs=repairs) for tag in tags)
        checked.append(TaggedSentence(sentence.words, tuple(read), sentence.source))
    return checked


def _field(names: Sequence[str], wanted: str | None, usual: Sequence[str], where: str, option: str) -> str:
    name = wanted or next((each for each in usual if each in names), None)
    if name is None or name not in names:
        sought = repr(name) if name else " or ".join(usual)
        raise DataError(f"{where}: no field {sought}; the record has {listed(names)}. Name it with {option}.")
    return name


def _list(record: Mapping[str, Any], field: str, where: str) -> Sequence[Any]:
    if field not in record:
        raise DataError(f"{where}: no field {field!r}; the record has {listed(record)}.")
    value = record[field]
    if not isinstance(value, list):
        raise DataError(f"{where}: field {field!r} is a {type(value).__name__}, not a list.")
    return value


def _item(value: Any, where: str, field: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}: field {field!r} holds {type(value).__name__}, not text.")
    return str(value)


def _tags(record: Mapping[str, Any], field: str, where: str, count: int) -> list[str]:
    tags = _list(record, field, where)
    if len(tags) != count:
        raise DataError(f"{where}: {count} words and {len(tags)} tags in field {field!r}.")
    for tag in tags:
        if not isinstance(tag, str):
            raise DataError(f"{where}: field {field!r} holds {shortened(repr(tag))}: a tag is a name, not an id.")
    return [tag.strip() for tag in tags]
