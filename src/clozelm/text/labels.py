"""Bring labels to one spelling, whatever type a file gave them."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from clozelm.errors import DataError
from clozelm.text.examples import Label, Problem
from clozelm.text.repairs import Repairs
from clozelm.text.valid import is_valid, shortened

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)\.0+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_KINDS = {str: "text", int: "whole number", bool: "true or false", float: "number", Decimal: "number"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def label_of(value: Any, problem: Problem, where: str, *, separator: str | None, repairs: Repairs) -> Label:
    """Return the label that a field holds; ``where`` is its place and its name, for messages.

    Whole numbers have one spelling ("1" for 1, 1.0 and "1.0"), truth values are "True" and "False", outer white
    space is dropped. ``separator`` divides a text into several labels. Raises ``DataError`` for what is missing
    and for what is no label of the problem.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise DataError(f"{where} is missing (null): every record to learn from needs one.")
    if problem == "regression":
        return _number(value, where)
    if problem == "multi":
        return _several(value, where, separator, repairs)
    if isinstance(value, list | tuple):
        raise DataError(f"{where} is a list of {len(value)}: --problem multi reads several labels a text.")
    return _name(value, where, repairs)


def label_of_columns(record: Mapping[str, Any], columns: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the labels whose column holds 1 or true; ``DataError`` for what is neither that nor 0 or false."""
    names = []
    for column in columns:
        value = record.get(column)
        said = _spelled(value).lower().removesuffix(".0")
        if said in ("1", "true"):
            names.append(column)
        elif said not in ("0", "false"):
            shown = shortened(repr(value))
            raise DataError(f"{where}: label {column!r} is {shown}: a column for each label has 1 or 0.")
    return tuple(names)


def _name(value: Any, where: str, repairs: Repairs) -> str:
    if isinstance(value, dict | list | tuple | bytes):
        raise DataError(f"{where} is a {type(value).__name__}, not a label.")
    name = _spelled(value)
    if not name:
        raise DataError(f"{where} is empty: every record to learn from needs a label.")
    if not is_valid(name) or _CONTROL.search(name):
        raise DataError(f"{where} is {shortened(name)!a}: a label has no line ends and no control characters.")
    if isinstance(value, str) and _WHOLE.fullmatch(name):
        repairs.add("labels written as 1.0, read as 1", where)
        return _without_zeros(name)
    repairs.add(f"labels of type {_KINDS.get(type(value), type(value).__name__)}", where)
    return name


def kinds_seen(notes: list[str]) -> list[str]:
    """Drop what is said of the types of labels unless there are several."""
    kinds = [note for note in notes if note.startswith("labels of type ")]
    return notes if len(kinds) > 1 else [note for note in notes if note not in kinds]


def _spelled(value: Any) -> str:
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value).strip()


def _without_zeros(name: str) -> str:
    whole = name.partition(".")[0]
    return "0" if whole == "-0" else whole


def _several(value: Any, where: str, separator: str | None, repairs: Repairs) -> tuple[str, ...]:
    """Return different labels in the order given; none is a label too."""
    if isinstance(value, str):
        value = _divided(value, where, separator)
    elif not isinstance(value, list | tuple):
        value = [value]
    elif separator is not None:
        repairs.add("lists of labels, which --separator does not divide", where)
    names: dict[str, None] = {}
    for each in value:
        if each is None or (isinstance(each, str) and not each.strip()):
            repairs.add("empty names in lists of labels, left out", where)
            continue
        name = _name(each, where, repairs)
        if name in names:
            repairs.add("labels given twice for one text, kept once", where)
        names[name] = None
    return tuple(names)


def _divided(value: str, where: str, separator: str | None) -> list[Any]:
    """Divide a text into labels: at the separator, or as the list that JSON or Python writes."""
    text = value.strip()
    if not text:
        return []
    if separator is not None:
        return text.split(separator)
    if text.startswith("[") and text.endswith("]"):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, list) and all(isinstance(each, str | int | float) for each in found):
                return found
    raise DataError(
        f"{where} is the text {shortened(text)!r}, not a list: name what divides its labels with --separator."
    )


def _number(value: Any, where: str) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        shown = shortened(repr(value))
        raise DataError(f"{where} is {shown}, not a number as regression needs (1, 2.5, -3e-2).")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DataError(f"{where} is not a finite number.")
    return number
