"""A text with masks that is written step by step, and how it reads at each step."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import ClozeError
from clozelm.infer.fill_mask import encode_masks, mask_pattern
from clozelm.text.readable import Readable
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.valid import shortened

State = Literal["given", "masked", "filled", "new"]


@dataclass(frozen=True)
class Part:
    """A stretch of a page with the white space before it: given, still masked, filled before, or filled now."""

    text: str
    state: State


class Page:
    """The pieces of a page, which of them are masks, and the given text around them, which stays as it is.

    White space before a mask stays as written where the piece that fills it begins a word, and goes where it
    continues one or is a mark that follows its word closely.
    """

    def __init__(self, tokenizer: Tokenizer, text: str | None, length: int | None) -> None:
        """Lay out ``length`` masks, the masks of ``text``, or ``length`` masks after a text that has none."""
        vocabulary = tokenizer.vocabulary
        if length is not None and length < 1:
            raise ClozeError(f"length={length} must be at least 1.")
        if text is None and length is None:
            raise ClozeError("There is nothing to write: give a text with [MASK], or a length.")
        text = text or ""
        found = list(mask_pattern(tokenizer).finditer(text))
        if found and length is not None:
            raise ClozeError(f"{shortened(text)!r} has masks, and length={length} asks for more: give one of them.")
        if not found and length is None:
            raise ClozeError(
                f"{shortened(text)!r} has no [MASK]: write [MASK] for every piece that is wanted, or give a length "
                "to go on after the text."
            )
        if length is not None:
            gap = "" if not text or text[-1].isspace() else " "
            text += gap + " ".join([tokenizer.token(vocabulary.mask_id)] * length)
        self.ids: NDArray[np.int64] = encode_masks(tokenizer, text)
        self.masks: NDArray[np.int64] = np.flatnonzero(self.ids == vocabulary.mask_id)
        self._readable = Readable(tokenizer)
        self._text = text
        self._spans = [each.span() for each in mask_pattern(tokenizer).finditer(text)]

    def parts(self, ids: NDArray[np.int64], unfilled: Collection[int], new: Collection[int]) -> list[Part]:
        """Return the page with these pieces in stretches; columns ``unfilled`` are masks, ``new`` just filled."""
        parts: list[Part] = []
        for text, column in self._pieces(ids, at_once=False):
            state: State = "filled"
            if column is None:
                state = "given"
            elif column in unfilled:
                state = "masked"
            elif column in new:
                state = "new"
            parts.append(Part(text, state))
        return parts

    def text(self, ids: NDArray[np.int64]) -> str:
        """Return the page with these pieces as text; characters of several pieces are whole."""
        return "".join(text for text, _ in self._pieces(ids, at_once=True))

    def filled(self, ids: NDArray[np.int64]) -> list[Part]:
        """Return the page with all its masks filled by these pieces; masks side by side are one part."""
        return [
            Part(text, "given" if column is None else "new") for text, column in self._pieces(ids, at_once=True)
        ]

    def _pieces(self, ids: NDArray[np.int64], *, at_once: bool) -> Iterator[tuple[str, int | None]]:
        """Yield given text, with None, and pieces with their column, neighbours together if ``at_once``."""
        before, end, index = "", 0, 0
        while index < len(self._spans):
            start = self._spans[index][0]
            if given := self._text[end:start]:
                yield given, None
                before += given
            stop = index + 1
            while stop < len(self._spans) and self._spans[stop][0] == self._spans[stop - 1][1]:
                stop += 1
            columns = self.masks[index:stop].tolist()
            pieces = ids[columns].tolist()
            texts = self._readable.parts([pieces] if at_once else [[piece] for piece in pieces], before)
            texts[0] = self._spaced(texts[0], index, before)
            yield from zip(texts, columns, strict=False)
            before += "".join(texts)
            end, index = self._spans[stop - 1][1], stop
        if given := self._text[end:]:
            yield given, None

    def _spaced(self, text: str, index: int, before: str) -> str:
        """Put the white space written before a mask in place of the piece's own."""
        span = self._text[slice(*self._spans[index])]
        written = span[: len(span) - len(span.lstrip())]
        bare = text.lstrip()
        return (written if len(bare) < len(text) or not before else "") + bare
