"""The rows a model reads to score sentences: masked copies of each, or windows of it as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clozelm.text.tokenizer import Encoded
from clozelm.vocab import Vocabulary

_COPIES_AT_ONCE = 256


@dataclass(frozen=True)
class Rows:
    """Token rows of one length, special tokens included, and what is to be scored in them.

    ``row`` and ``column`` say where each piece stands, ``target`` which piece it is; ascending in (row, column).
    """

    ids: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    target: NDArray[np.int64]


def scorable(encoded: Encoded, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return the places of the pieces that have a score: all but special tokens written in the text.

    The unknown piece has one, since leaving it out would reward text that the tokenizer cannot read.
    """
    is_special = vocabulary.is_special[encoded.ids]
    if vocabulary.unk_id is not None:
        is_special &= encoded.ids != vocabulary.unk_id
    return np.flatnonzero(~is_special)


def masked_copies(
    encoded: Encoded, places: NDArray[np.int64], vocabulary: Vocabulary, *, room: int, within_word: bool
) -> Iterator[Rows]:
    """Yield one copy of the text for every place, the piece there masked (Salazar et al. 2020, 2.1).

    With ``within_word`` the later pieces of its word are masked too (Kauf & Ivanova 2023), so that a word is not
    given away by its own ending; special tokens stay. Of a text longer than ``room`` pieces, a copy holds the
    ``room`` pieces around its place, fewer on the side where the text ends.
    """
    ids = encoded.ids.astype(np.int64)
    word = np.cumsum(encoded.word_starts)
    may_hide = np.zeros(len(ids), dtype=np.bool_)
    may_hide[places] = True
    size = min(len(ids), room)
    for first in range(0, len(places), _COPIES_AT_ONCE):
        place = places[first : first + _COPIES_AT_ONCE]
        start = np.clip(place - room // 2, 0, len(ids) - size)
        index = start[:, None] + np.arange(size)
        hidden = index == place[:, None]
        if within_word:
            hidden |= (word[index] == word[place, None]) & (index > place[:, None]) & may_hide[index]
        inner = np.where(hidden, vocabulary.mask_id, ids[index])
        yield Rows(_between(inner, vocabulary), np.arange(len(place)), place - start + 1, ids[place])


def plain_windows(
    encoded: Encoded, places: NDArray[np.int64], vocabulary: Vocabulary, *, room: int
) -> Iterator[Rows]:
    """Yield the text as it is, each place scored once, for models that score every piece in one pass.

    A text longer than ``room`` pieces is read in windows that overlap by half; what two windows hold is scored
    in the first.
    """
    ids = encoded.ids.astype(np.int64)
    size, done = min(len(ids), room), 0
    step = max(1, room // 2)
    for start in range(0, max(len(ids) - size, 0) + step, step):
        first = min(start, len(ids) - size)
        place = places[(places >= done) & (places < first + size)]
        done = first + size
        if len(place):
            inner = ids[None, first : first + size]
            row = np.zeros(len(place), dtype=np.int64)
            yield Rows(_between(inner, vocabulary), row, place - first + 1, ids[place])


def _between(inner: NDArray[np.int64], vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Put the special tokens of a sequence around every row."""
    out = np.empty((len(inner), inner.shape[1] + 2), dtype=np.int64)
    out[:, 0], out[:, 1:-1], out[:, -1] = vocabulary.cls_id, inner, vocabulary.sep_id
    return out
