"""Masked document pieces as a person reads them: stretches of text, each with what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clozelm.flows.mask_figures import Hidden
from clozelm.text.readable import Readable
from clozelm.text.tokenizer import Tokenizer

Fate = Literal["seen", "mask", "random", "keep"]

MOST_TOKENS = 120  # of an example; the rest is left out
_FEW_TOKENS = 8
_SPACE = "␣"


@dataclass(frozen=True)
class Stretch:
    """Consecutive tokens with one fate, of one group where hidden, as text with the white space before it.

    A hidden stretch that is nothing else is written ␣.
    ``replacement`` is what stands there instead, for the fate random.
    """

    text: str
    fate: Fate
    tokens: int
    replacement: str | None = None


@dataclass(frozen=True)
class Example:
    """The beginning of a document piece; ``tokens`` and ``hidden`` count all of it."""

    document: int
    tokens: int
    hidden: int
    stretches: list[Stretch]
    is_cut: bool


def examples(hidden: Hidden, tokenizer: Tokenizer, begins: NDArray[np.int64], number: int) -> list[Example]:
    """Return the first document pieces of some length; those that begin a document come before others.

    ``begins`` holds the first token of every document.
    """
    size = np.bincount(hidden.piece[hidden.may_mask], minlength=hidden.num_pieces)
    first = np.unique(hidden.piece, return_index=True)[1][-hidden.num_pieces :]
    documents = hidden.rows.document_index.reshape(-1)[first]
    token = hidden.rows.token_index.reshape(-1)[first + 1]
    place = np.where(size < _FEW_TOKENS, 2, token > begins[documents])
    chosen = np.argsort(place, kind="stable")[:number]
    readable = Readable(tokenizer)
    return [_example(hidden, tokenizer, readable, int(piece), int(size[piece])) for piece in chosen]


def _example(hidden: Hidden, tokenizer: Tokenizer, readable: Readable, piece: int, size: int) -> Example:
    cells = np.flatnonzero(hidden.piece.reshape(-1) == piece)[1:-1]  # without [CLS] and [SEP]
    num_hidden = int(hidden.is_hidden.reshape(-1)[cells].sum())
    document = int(hidden.rows.document_index.reshape(-1)[cells[0]])
    stop = len(cells)
    if stop > MOST_TOKENS:
        starts = np.flatnonzero(hidden.word_starts.reshape(-1)[cells[: MOST_TOKENS + 1]])
        stop = int(starts[-1]) or MOST_TOKENS
    shown = list(_cut(hidden, cells[:stop], tokenizer.vocabulary.mask_id))
    texts = readable.parts([ids for ids, _, _ in shown])
    texts[0] = texts[0].lstrip()
    texts = [
        text if fate == "seen" or text.strip() else _SPACE for text, (_, fate, _) in zip(texts, shown, strict=True)
    ]
    stretches = [
        Stretch(text, fate, len(ids), (readable.text(now) or _SPACE) if fate == "random" else None)
        for text, (ids, fate, now) in zip(texts, shown, strict=True)
    ]
    return Example(document, size, num_hidden, stretches, stop < len(cells))


def _cut(hidden: Hidden, cells: NDArray[np.int64], mask_id: int) -> Iterator[tuple[list[int], Fate, list[int]]]:
    """Cut tokens where fate or group changes; yield the original ids, the fate and the ids that stand there."""
    original = hidden.rows.input_ids.reshape(-1)[cells].tolist()
    now = hidden.masked.input_ids.reshape(-1)[cells].tolist()
    is_hidden = hidden.is_hidden.reshape(-1)[cells].tolist()
    group = hidden.group.reshape(-1)[cells].tolist()
    keys = [
        (_fate(old, new, mask_id) if found else "seen", number if found else -1)
        for old, new, found, number in zip(original, now, is_hidden, group, strict=True)
    ]
    start = 0
    for stop in range(1, len(keys) + 1):
        if stop == len(keys) or keys[stop] != keys[start]:
            yield original[start:stop], keys[start][0], now[start:stop]
            start = stop


def _fate(original: int, now: int, mask_id: int) -> Fate:
    return "mask" if now == mask_id else "keep" if now == original else "random"
