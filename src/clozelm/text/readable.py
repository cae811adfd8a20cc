"""Pieces written as a person would write them, for looking at: the white space of the text is guessed back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from clozelm.text.tokenizer import Tokenizer

_OPENING = "([{“‘«¿¡#@$"
_CLOSING = ")]}”’»%.,;:!?…"
_JOINING = "-/'_"
_DIGITS = 24
_NUMBER = re.compile(r"\d[.,]\d+$")  # its point or comma is no punctuation


class Readable:
    """Write pieces of one tokenizer as text.

    Byte-level BPE and Unigram keep the white space of a text in their pieces. WordPiece does not: there words
    stand apart, but for punctuation and the scripts that know no spaces, as in ordinary print. A special piece
    is written by its name and stands apart.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Write pieces of ``tokenizer``."""
        self.tokenizer = tokenizer
        self._special = tokenizer.vocabulary.special_ids
        prefix = tokenizer.definition["model"].get("continuing_subword_prefix")
        self._continues = (prefix or "##") if tokenizer.kind == "wordpiece" else ""

    def text(self, ids: Iterable[int]) -> str:
        """Return the text of pieces, without white space around it."""
        return self.parts([list(ids)])[0].strip()

    def parts(self, blocks: Sequence[Sequence[int]], before: str = "") -> list[str]:
        """Return the text of each of several consecutive blocks after ``before``, with the white space before it.

        Joined they are the text, unless a block ends inside a character of byte-level pieces, which shows as
        U+FFFD on both sides.
        """
        parts: list[str] = []
        for block in blocks:
            part = ""
            for run in self._runs(block):
                part += self._written(run, before + part)
            parts.append(part)
            before += part
        return parts

    def _runs(self, ids: Sequence[int]) -> Iterable[list[int]]:
        """Cut pieces where spacing is decided: at every piece of WordPiece, elsewhere around special ones."""
        run: list[int] = []
        for token_id in ids:
            is_alone = bool(self._continues) or token_id in self._special
            if is_alone and run:
                yield run
                run = []
            run.append(token_id)
            if is_alone:
                yield run
                run = []
        if run:
            yield run

    def _written(self, run: list[int], before: str) -> str:
        """Return the text of a run with what parts it from the text ``before``."""
        token = self.tokenizer.token(run[0])
        if run[0] in self._special:
            return token if not before or before[-1].isspace() else f" {token}"
        if self._continues:
            rest = token.removeprefix(self._continues)
            return rest if rest != token else _gap(before, token) + token
        if self.tokenizer.kind == "bpe":
            text = self.tokenizer.backend.decode(run)
            is_apart = token.startswith(("Ġ", "▁")) and not text[:1].isspace()
            return f" {text}" if is_apart else text
        return "".join(map(self.tokenizer.token, run)).replace("▁", " ")


def _gap(before: str, token: str) -> str:
    """Return the white space between a text and the word or punctuation mark that follows it in print."""
    if not before or before[-1].isspace():
        return ""
    last, first = before[-1], token[0]
    if first in _CLOSING + _JOINING or last in _OPENING + _JOINING:
        return ""
    if '"' in (last, first):  # an odd number before: `last` opens a quotation, or `first` closes one
        return "" if before.count('"') % 2 else " "
    if _NUMBER.search(before[-_DIGITS:] + token):
        return ""
    is_wide = _is_wide(last), _is_wide(first)
    return "" if all(is_wide) else " "


def _is_wide(character: str) -> bool:
    """Tell whether a character belongs to a script written without spaces, or to its punctuation."""
    return unicodedata.east_asian_width(character) in "WF" and not "가" <= character <= "힣"
