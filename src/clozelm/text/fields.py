"""Find out which fields of a record hold its text and its label."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from clozelm.errors import DataError
from clozelm.text.tables import DELIMITERS
from clozelm.text.valid import shortened

_PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("#1 string", "#2 string"),
)
_TEXTS = (
    *("text", "sentence", "content", "review", "document", "tweet", "comment", "message", "body"),
    *("utterance", "question", "query"),
)
_LABELS = (
    *("label", "labels", "category", "categories", "class", "target", "sentiment", "intent", "topic"),
    *("score", "similarity_score", "rating", "stars", "gold_label", "quality"),
)
_SHOWN = 12


def text_fields(
    names: Sequence[str], wanted: Sequence[str] | None, where: str, *, hint: str = ""
) -> tuple[str, ...]:
    """Return the one or two fields of the text: those wanted, or the only usual ones there are."""
    if wanted is not None:
        fields = tuple(each.strip() for each in wanted)
        if not 1 <= len(fields) <= 2 or len(set(fields)) < len(fields):
            raise DataError(
                f"--text names {', '.join(fields) or 'no field'}: one field, or two different ones for pairs."
            )
        for field in fields:
            _check(field, names, "--text", where, hint)
        return fields
    usual = {each.lower(): each for each in reversed(names)}
    pairs = [pair for pair in _PAIRS if all(each in usual for each in pair)]
    found: list[tuple[str, ...]] = [tuple(usual[each] for each in pair) for pair in pairs]
    of_pairs = {field for pair in found for field in pair}
    found += [(usual[each],) for each in _TEXTS if each in usual and usual[each] not in of_pairs]
    return _only(found, names, "text", where, hint)


def label_field(
    names: Sequence[str], wanted: str | None, where: str, *, texts: Sequence[str], hint: str = ""
) -> str:
    """Return the field of the label: the one wanted, or the only usual one there is."""
    if wanted is not None:
        if wanted in texts:
            raise DataError(f"--text and --label both name the field {wanted!r}.")
        _check(wanted, names, "--label", where, hint)
        return wanted
    usual = {each.lower(): each for each in reversed(names)}
    found = [usual[each] for each in _LABELS if each in usual and usual[each] not in texts]
    return _only([(each,) for each in found], names, "label", where, hint)[0]


def label_columns(
    names: Sequence[str], wanted: str | None, where: str, *, texts: Sequence[str], hint: str = ""
) -> tuple[str, ...]:
    """Return the columns that ``wanted`` lists with commas, one for each label; none where it is no such list."""
    if wanted is None or "," not in wanted or wanted in names:
        return ()
    columns = tuple(each.strip() for each in wanted.split(","))
    if twice := next((each for each in columns if columns.count(each) > 1), None):
        raise DataError(f"--label names the field {twice!r} twice.")
    for column in columns:
        label_field(names, column, where, texts=texts, hint=hint)
    return columns


def is_usual(value: object) -> bool:
    """Whether a value is what a field of texts or labels is usually called, as in a header."""
    usual = (*_TEXTS, *_LABELS, *(each for pair in _PAIRS for each in pair))
    return isinstance(value, str) and value.strip().lower() in usual


def _only(found: list[tuple[str, ...]], names: Sequence[str], what: str, where: str, hint: str) -> tuple[str, ...]:
    if len(found) == 1:
        return found[0]
    if found:
        several = " or ".join(",".join(each) for each in found)
        raise DataError(f"{where}: the {what} could be {several}: name it with --{what}.")
    raise DataError(
        f"{where}: no field is called as a {what} usually is; the record has {listed(names)}. "
        f"Name it with --{what}.{hint or _joined_hint(names)}"
    )


def _check(field: str, names: Sequence[str], option: str, where: str, hint: str) -> None:
    if field in names:
        return
    close = difflib.get_close_matches(field, names, 1)
    meant = f" Did you mean {close[0]!r}?" if close else hint or _joined_hint(names)
    raise DataError(f"{where}: no field {field!r}; the record has {listed(names)}. Name it with {option}.{meant}")


def listed(names: Iterable[str]) -> str:
    """List fields for a message, the first of many."""
    shown = [repr(shortened(str(each), 30)) for each in names]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return (", ".join(shown[:_SHOWN]) + more) or "none"


def _joined_hint(names: Sequence[str]) -> str:
    """Say that what is called a field looks like several."""
    for delimiter, called in DELIMITERS.items():
        if any(delimiter in name for name in names):
            return f" Are its fields divided by {called}? See --delimiter."
    return ""
