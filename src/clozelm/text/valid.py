"""Text that can be encoded, and how messages name it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clozelm.errors import ClozeError


def is_valid(text: str) -> bool:
    """Whether a text has no lone surrogates, which is how bytes that are not UTF-8 come in."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def require_valid(text: str) -> None:
    """Refuse text that cannot be encoded."""
    if not is_valid(text):
        raise ClozeError(f"{shortened(text)!r} is not valid text: it has bytes that are not UTF-8.")


def checked_text(text: Any, name: str = "the text") -> str:
    """Return what should be a string; anything else is refused."""
    if not isinstance(text, str):
        raise ClozeError(f"{name[0].upper()}{name[1:]} is {described(text)}, not a string.")
    return text


def checked_texts(texts: Any) -> str | list[str]:
    """Return a string, or the strings of a list or another iterable; anything else is refused, with its place."""
    if isinstance(texts, str):
        return texts
    if isinstance(texts, bytes | bytearray) or not isinstance(texts, Iterable):
        raise ClozeError(f"The text is {described(texts)}, not a string or a list of strings.")
    return [checked_text(text, f"text {number}") for number, text in enumerate(texts, start=1)]


def check_whole(**numbers: Any) -> None:
    """Refuse a number by its name that is neither whole nor None, which stands for a default."""
    for name, number in numbers.items():
        if number is not None and (isinstance(number, bool) or not hasattr(number, "__index__")):
            raise ClozeError(f"{name}={number!r} must be a whole number.")


def shortened(text: str, limit: int = 60) -> str:
    """Return the beginning of a text, to name it in a message."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def described(value: object) -> str:
    """Name what was given in place of something else: its type and how it is written, or None."""
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind} ({shortened(repr(value))})"
