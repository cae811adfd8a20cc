"""The groups that errors are counted by: each puts every prediction into one of a few cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clozelm.data.rows import Rows
from clozelm.explain.error_corpus import Corpus
from clozelm.explain.error_words import SHAPES, WordCounts
from clozelm.masking.mask import Masked
from clozelm.vocab import WORD_START

NEAR = 5  # tokens on each side
_COUNTS = (1, 2, 10, 100, 1000, 10_000)
_LETTERS = (2, 4, 7, 10, 13)
_DOUBLING = tuple(1 << power for power in range(3, 14))
_SENTENCES = (6, 11, 21, 41)


@dataclass(frozen=True)
class Group:
    """One way to sort predictions; ``cells`` are the names of its classes, ``about`` says what is sorted."""

    name: str
    title: str
    cells: tuple[str, ...]
    about: str = ""


def _ranges(edges: Sequence[int], *, first: int | None = None) -> tuple[str, ...]:
    """Name the classes that edges cut numbers into: below the first, between them, from the last on."""
    inner = [f"{low:,}" if high == low + 1 else f"{low:,}–{high - 1:,}" for low, high in pairwise(edges)]
    below = [] if first is None else [f"{first:,}" if edges[0] == first + 1 else f"{first:,}–{edges[0] - 1:,}"]
    return (*below, *inner, f"{edges[-1]:,} or more")


GROUPS = (
    Group("all", "All predictions", ("all",)),
    Group("frequency", "Word frequency", ("never", "once", *_ranges(_COUNTS[1:])), "occurrences"),
    Group("piece", "Piece of its word", ("the only one", "the first of several", "a later one")),
    Group("shape", "Writing of the word", SHAPES),
    Group("length", "Word length", _ranges(_LETTERS, first=1), "characters"),
    Group("position", "Position", _ranges(_DOUBLING, first=1), "tokens before"),
    Group("sentence", "Sentence length", _ranges(_SENTENCES, first=1), "words"),
    Group("document", "Document length", _ranges(_DOUBLING, first=1), "tokens"),
    Group("masks", "Others hidden nearby", ("0", "1", "2", "3", "4 or more"), f"of {2 * NEAR}"),
    Group("place", "What the model sees there", ("the mask", "a random piece", "the piece itself")),
)
NUM_CELLS = sum(len(group.cells) for group in GROUPS)


def cells_of(
    rows: Rows, masked: Masked, where: NDArray[np.bool_], corpus: Corpus, counts: WordCounts, mask_id: int
) -> NDArray[np.int64]:
    """Return for every prediction its cell in each group, int64[groups, predictions], numbered over all groups.

    ``counts`` say how frequent words are; ``where`` [rows, seq] is true at the predictions.
    """
    token = rows.token_index[where]
    pieces, is_start = corpus.pieces[token], (rows.flags[where] & WORD_START) > 0
    document = rows.document_index[where]
    lengths = corpus.store.offsets[document + 1] - corpus.store.offsets[document]
    seen = masked.input_ids[where]
    classes = {
        "all": np.zeros(len(token), np.int64),
        "frequency": _class(counts[corpus.keys[token]], _COUNTS),
        "piece": np.where(pieces == 1, 0, np.where(is_start, 1, 2)),
        "shape": corpus.shapes[token].astype(np.int64),
        "length": _class(np.maximum(corpus.letters[token], 1), _LETTERS),
        "position": _class(rows.positions[where], _DOUBLING),
        "sentence": _class(corpus.sentences[token], _SENTENCES),
        "document": _class(lengths, _DOUBLING),
        "masks": np.minimum(hidden_nearby(rows, masked)[where], 4),
        "place": np.where(seen == mask_id, 0, np.where(seen == masked.labels[where], 2, 1)),
    }
    firsts = np.cumsum([0, *(len(group.cells) for group in GROUPS[:-1])])
    return np.stack([classes[group.name] + first for group, first in zip(GROUPS, firsts, strict=True)])


def hidden_nearby(rows: Rows, masked: Masked) -> NDArray[np.int64]:
    """Count for every token those within ``NEAR`` on each side, of its document, that are not what was there."""
    is_hidden = (masked.input_ids != rows.input_ids).astype(np.int64)
    total = np.zeros(is_hidden.shape, np.int64)
    for distance in range(1, NEAR + 1):
        same = rows.doc_ids[:, distance:] == rows.doc_ids[:, :-distance]
        total[:, distance:] += is_hidden[:, :-distance] * same
        total[:, :-distance] += is_hidden[:, distance:] * same
    return total


def _class(values: NDArray[np.integer], edges: Sequence[int]) -> NDArray[np.int64]:
    return np.searchsorted(np.asarray(edges), values, side="right").astype(np.int64)
