"""A text with blanks: ``[MASK]`` stands for one piece, ``[MASK*]`` for one or more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import ClozeError
from clozelm.infer.fill_mask import encode_masks
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.valid import shortened

Pieces = tuple[int, ...]


class Blank(NamedTuple):
    """Where a blank stands among the pieces, whether its length is open, and the character before it, if any."""

    place: int
    is_open: bool
    before: str


@dataclass(frozen=True)
class Template:
    """The pieces of a text, a mask for every blank, without special tokens around them."""

    text: str
    ids: NDArray[np.int64]
    blanks: tuple[Blank, ...]

    def around(self, growth: int, room: int, chosen: Sequence[int] | None = None) -> Template:
        """Return the part around its blanks, or ``chosen`` ones, that leaves room for ``growth`` more pieces."""
        blanks = self.blanks if chosen is None else tuple(self.blanks[number] for number in chosen)
        size = room - growth
        if len(self.ids) <= size:
            return replace(self, blanks=blanks)
        first, last = blanks[0].place, blanks[-1].place
        if last - first + 1 > size:
            raise ClozeError(
                f"The masks of {shortened(self.text)!r} need {last - first + 1 + growth} pieces together and the "
                f"model reads {room}: fill each by itself, with order 'each'."
            )
        start = max(0, min(first - (size - (last - first + 1)) // 2, len(self.ids) - size))
        moved = tuple(blank._replace(place=blank.place - start) for blank in blanks)
        return Template(self.text, self.ids[start : start + size], moved)

    def built(self, chosen: Sequence[Pieces], tokenizer: Tokenizer) -> tuple[NDArray[np.int64], list[int]]:
        """Return the row with these pieces in the blanks, special tokens around it, and each blank's column."""
        vocabulary = tokenizer.vocabulary
        row: list[int] = [vocabulary.cls_id]
        columns, before = [], 0
        for blank, pieces in zip(self.blanks, chosen, strict=True):
            row += self.ids[before : blank.place].tolist()
            columns.append(len(row))
            row += pieces
            before = blank.place + 1
        row += [*self.ids[before:].tolist(), vocabulary.sep_id]
        return np.array(row, dtype=np.int64), columns


def read_blanks(text: str, tokenizer: Tokenizer) -> Template:
    """Return the template of a text with at least one blank."""
    found = list(blank_pattern(tokenizer).finditer(text))
    if not found:
        raise ClozeError(f"{shortened(text)!r} has no [MASK]: write [MASK] where a word is to be filled in.")
    ids = encode_masks(tokenizer, with_masks(text, tokenizer, [1] * len(found)))
    places = np.flatnonzero(ids == tokenizer.vocabulary.mask_id).tolist()
    blanks = tuple(
        Blank(place, one.group().endswith(("*]", "*>")), text[: one.start("mask")][-1:])
        for place, one in zip(places, found, strict=True)
    )
    return Template(text, ids, blanks)


def with_masks(text: str, tokenizer: Tokenizer, lengths: Sequence[int]) -> str:
    """Write as many masks into each blank of a text as it has pieces."""
    mask, left = tokenizer.token(tokenizer.vocabulary.mask_id), iter(lengths)
    return blank_pattern(tokenizer).sub(lambda found: found["space"] + mask * next(left), text)


def blank_pattern(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Return what finds a blank as people write it; its groups are the ``space`` before it and the ``mask``."""
    own = re.escape(tokenizer.token(tokenizer.vocabulary.mask_id))
    return re.compile(rf"(?P<space>\s*)(?P<mask>{own}|\[mask\*?\]|<mask\*?>)", re.IGNORECASE)
