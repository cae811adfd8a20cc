"""Read the items of a JSON array one after another: memory is that of one, however many there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from clozelm.errors import DataError

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def array_items(pieces: Iterable[str], name: str, *, longest: int) -> Iterator[tuple[int, Any, str]]:
    """Yield the line that an item begins in, the item, and how it is written.

    ``pieces`` are the text of the file called ``name``, whose first character but white space is a bracket. An
    item of more than ``longest`` characters is refused, and what is no array, with file:line.
    """
    text = _Text(pieces)
    text.take()
    mark = "," if text.following() != "]" else text.take()
    while mark == ",":
        text.following()
        line = text.line
        try:
            item, written = text.take_value(longest)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(f"{name}:{line}: not an item of a JSON array ({reason}).") from None
        yield line, item, written
        text.following()
        line, mark = text.line, text.take()
        if mark not in (",", "]"):
            there = repr(mark) if mark else "the end of the file"
            raise DataError(f"{name}:{line}: not a JSON array (',' or ']' expected, not {there}).")
    if text.following():
        raise DataError(f"{name}:{text.line}: something follows the JSON array: give one array, or .jsonl.")


class _Text:
    """A text that is read on where it must be; what was taken is given up."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self._pieces = filter(None, pieces)
        self._text, self._place, self.line = "", 0, 1

    def following(self) -> str:
        """Skip white space and return the next character; nothing at the end."""
        while True:
            match = _SPACE.match(self._text, self._place)
            self._move(match.end() if match else self._place)
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._read_on():
                return ""

    def take(self) -> str:
        """Return the next character but white space and go beyond it."""
        character = self.following()
        self._move(self._place + len(character))
        return character

    def take_value(self, longest: int) -> tuple[Any, str]:
        """Return the value that begins here and how it is written, and go beyond it."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError:
                if len(self._text) - self._place > longest:
                    raise ValueError(f"no end of it in {longest:,} characters") from None
                if not self._read_on():
                    raise
                continue
            written = self._text[self._place : end]
            self._move(end)
            return value, written

    def _move(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def _read_on(self) -> bool:
        piece = next(self._pieces, "")
        self._text, self._place = self._text[self._place :] + piece, 0
        return bool(piece)
