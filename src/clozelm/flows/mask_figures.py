"""What masks hide, counted: shares by kind of token with intervals, fates, and how hidden tokens cling together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clozelm.data.rows import Rows
from clozelm.masking import IGNORED, Candidates, Masked, Selection
from clozelm.text.tokenizer import Tokenizer
from clozelm.vocab import ANNOTATED, Vocabulary

PLACES = 16
_Z = 1.959964  # two-sided 95% of the normal distribution
_LONG_WORD = 4


@dataclass(frozen=True)
class Hidden:
    """Hold rows, what masking made of them and what the strategy had to do with it; arrays are [rows, seq].

    ``piece`` numbers the document pieces from 0 and is -1 elsewhere. ``group`` is read where ``is_hidden`` only:
    tokens with the same number had one corruption draw. ``is_preferred`` is True where the strategy was to hide the
    token before others, None if it makes no such difference.
    """

    rows: Rows
    masked: Masked
    piece: NDArray[np.int64]
    may_mask: NDArray[np.bool_]
    word_starts: NDArray[np.bool_]
    group: NDArray[np.int64]
    is_preferred: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls,
        rows: Rows,
        masked: Masked,
        vocabulary: Vocabulary,
        given: Sequence[Candidates],
        answers: Sequence[Selection],
        *,
        prefers: Callable[[Candidates], NDArray[np.bool_]] | None = None,
    ) -> Hidden:
        """Put back into rows what the strategy was given and answered, document piece by document piece."""
        shape = rows.input_ids.shape
        may_mask = (rows.doc_ids > 0) & ~vocabulary.is_special[rows.input_ids]
        key = rows.doc_ids + np.arange(shape[0])[:, None] * (int(rows.doc_ids.max(initial=0)) + 1)
        is_useful = (rows.doc_ids > 0) & np.isin(key, key[may_mask])
        sizes = np.array([len(each.input_ids) for each in given], dtype=np.int64)
        piece = np.full(shape, -1, dtype=np.int64)
        piece[is_useful] = np.repeat(np.arange(len(sizes)), sizes)
        word_starts = np.zeros(shape, dtype=np.bool_)
        word_starts[is_useful] = np.concatenate([each.word_starts for each in given])
        group = np.full(shape, -1, dtype=np.int64)
        before = np.repeat(np.cumsum(sizes) - sizes, sizes)
        group[is_useful] = np.concatenate([each.group for each in answers]) + before
        is_preferred = None
        if prefers is not None:
            is_preferred = np.zeros(shape, dtype=np.bool_)
            is_preferred[is_useful] = np.concatenate([prefers(each) for each in given])
        return cls(rows, masked, piece, may_mask, word_starts, group, is_preferred)

    @property
    def is_hidden(self) -> NDArray[np.bool_]:
        """True where the token is to be predicted."""
        is_hidden: NDArray[np.bool_] = self.masked.labels != IGNORED
        return is_hidden

    @property
    def num_pieces(self) -> int:
        """Count the document pieces that have a maskable token."""
        return int(self.piece.max(initial=-1)) + 1

    @property
    def words(self) -> NDArray[np.int64]:
        """Number the words, no two alike in all rows; a special token counts to the word before."""
        is_first = np.ones(self.piece.shape, dtype=np.bool_)
        is_first[:, 1:] = self.piece[:, 1:] != self.piece[:, :-1]
        return (is_first | self.word_starts).reshape(-1).cumsum().reshape(self.piece.shape)


@dataclass(frozen=True)
class Share:
    """Say how many tokens of a kind there were, how many were hidden, and the 95% interval of their share."""

    name: str
    tokens: int
    hidden: int
    interval: tuple[float, float]
    note: str = ""

    @property
    def rate(self) -> float:
        """The share that was hidden."""
        return self.hidden / self.tokens

    def plain(self) -> dict[str, Any]:
        """Return the share as data for JSON."""
        return {
            "name": self.name,
            "note": self.note,
            "tokens": self.tokens,
            "hidden": self.hidden,
            "rate": self.rate,
            "interval": list(self.interval),
        }


def kinds(hidden: Hidden, tokenizer: Tokenizer, counts: NDArray[np.int64]) -> dict[str, list[Share]]:
    """Return the shares of kinds of tokens; ``counts`` says how frequent each piece is in the corpus.

    Kinds of a group are apart and together all tokens; one without a token is left out. Frequent, middle and rare
    are thirds of the corpus's tokens, by how frequent their piece is. A word is a piece with a letter, or with part
    of a character; a number one with a digit and no letter.
    """
    ids = hidden.rows.input_ids
    word_length = np.bincount(hidden.words[hidden.may_mask])[hidden.words.clip(max=_last_word(hidden))]
    thirds, notes = _thirds(counts, tokenizer.vocabulary)
    writing = _writing(tokenizer, ids[hidden.may_mask])
    columns = np.broadcast_to(np.arange(ids.shape[1]) * 3 // ids.shape[1], ids.shape)
    is_annotated = (hidden.rows.flags & ANNOTATED) != 0
    chosen = {}
    if hidden.is_preferred is not None:
        chosen["chosen"] = (["chosen", "not chosen"], np.where(hidden.is_preferred, 0, 1))
    groups = {
        "all": (["all tokens"], np.zeros_like(ids)),
        **chosen,
        "piece": (["first piece of a word", "later piece"], np.where(hidden.word_starts, 0, 1)),
        "word length": (_length_names(), np.minimum(word_length, _LONG_WORD) - 1),
        "writing": (["word", "number", "punctuation"], writing[ids]),
        "frequency": (["frequent", "middle", "rare"], thirds[ids]),
        "annotation": (["annotated", "not annotated"], np.where(is_annotated, 0, 1)),
        "place": (["first third of the row", "middle third", "last third"], columns),
    }
    if not (is_annotated & hidden.may_mask).any():
        del groups["annotation"]
    return {
        group: shares(hidden, names, number, notes if group == "frequency" else None)
        for group, (names, number) in groups.items()
    }


def places(hidden: Hidden) -> list[Share]:
    """Return the shares in equal parts of the row, from left to right, named by their first column."""
    seq = hidden.rows.input_ids.shape[1]
    number = np.arange(seq) * PLACES // seq
    firsts = [str(int(np.argmax(number == place))) for place in range(PLACES)]
    return shares(hidden, firsts, np.broadcast_to(number, hidden.rows.input_ids.shape))


def shares(
    hidden: Hidden, names: Sequence[str], number: NDArray[np.int64], notes: Sequence[str] | None = None
) -> list[Share]:
    """Return the share of every kind; ``number`` [rows, seq] says of a token which one of ``names`` it is."""
    tokens = np.zeros((len(names), hidden.num_pieces), dtype=np.int64)
    found = np.zeros_like(tokens)
    np.add.at(tokens, (number[hidden.may_mask], hidden.piece[hidden.may_mask]), 1)
    np.add.at(found, (number[hidden.is_hidden], hidden.piece[hidden.is_hidden]), 1)
    return [
        Share(name, int(below.sum()), int(above.sum()), interval(above, below), notes[index] if notes else "")
        for index, (name, above, below) in enumerate(zip(names, found, tokens, strict=True))
        if below.any()
    ]


def interval(hidden: NDArray[np.int64], tokens: NDArray[np.int64]) -> tuple[float, float]:
    """Return a 95% interval of sum(hidden) / sum(tokens), where each document piece was masked by itself.

    Wilson's interval (1927) with the number of tokens divided by the design effect (Kish 1965): tokens of one
    piece share its budget, which makes the rate of all tokens surer than so many coins, and that of a kind which
    comes in words less sure.
    """
    total = int(tokens.sum())
    rate = float(hidden.sum()) / total
    effect = 1.0
    if np.count_nonzero(tokens) > 1 and 0.0 < rate < 1.0:
        pieces = tokens > 0
        spread = float(((hidden - rate * tokens) ** 2).sum()) * pieces.sum() / (pieces.sum() - 1)
        effect = spread / (total * rate * (1.0 - rate))
    over = _Z**2 * effect / total
    middle = (rate + over / 2) / (1 + over)
    reach = math.sqrt(over * rate * (1 - rate) + over**2 / 4) / (1 + over)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def fates(hidden: Hidden, mask_id: int) -> dict[str, float]:
    """Return the shares of hidden tokens that were masked, replaced and kept.

    A random piece that is the original counts as kept: nobody can tell.
    """
    now, was = hidden.masked.input_ids[hidden.is_hidden], hidden.masked.labels[hidden.is_hidden]
    masked, kept = float((now == mask_id).mean()), float((now == was).mean())
    return {"mask": masked, "random": float(((now != mask_id) & (now != was)).mean()), "keep": kept}


def per_piece(hidden: Hidden) -> dict[int, int]:
    """Count document pieces by how many of their tokens are hidden."""
    return _histogram(np.bincount(hidden.piece[hidden.is_hidden], minlength=hidden.num_pieces))


def lengths(hidden: Hidden) -> dict[str, dict[int, int]]:
    """Count runs of hidden tokens by their tokens and by the words they touch, and groups by their tokens."""
    is_hidden = hidden.is_hidden
    begins = is_hidden.copy()
    begins[:, 1:] &= ~is_hidden[:, :-1] | (hidden.piece[:, 1:] != hidden.piece[:, :-1])
    run = begins.reshape(-1).cumsum()[is_hidden.reshape(-1)] - 1
    word = hidden.words[is_hidden]
    is_new_word = np.ones(len(run), dtype=np.int64)
    is_new_word[1:] = (run[1:] != run[:-1]) | (word[1:] != word[:-1])
    group = np.unique(hidden.group[is_hidden], return_inverse=True)[1]
    return {
        "run tokens": _histogram(np.bincount(run)),
        "run words": _histogram(np.bincount(run, weights=is_new_word).astype(np.int64)),
        "group tokens": _histogram(np.bincount(group)),
    }


def mean_of(histogram: dict[int, int]) -> float:
    """Return the mean of what a histogram counted."""
    return sum(value * count for value, count in histogram.items()) / sum(histogram.values())


def quantile_of(histogram: dict[int, int], share: float) -> int:
    """Return the smallest value that at least ``share`` of the counted do not exceed."""
    seen, total = 0, sum(histogram.values())
    for value, count in sorted(histogram.items()):
        seen += count
        if seen >= share * total:
            return value
    return max(histogram)


def _histogram(values: NDArray[np.int64]) -> dict[int, int]:
    counts = np.bincount(values)
    return {int(value): int(counts[value]) for value in counts.nonzero()[0]}


def _last_word(hidden: Hidden) -> int:
    return int(hidden.words[hidden.may_mask].max())


def _length_names() -> list[str]:
    return [
        "word of 1 piece",
        *(f"word of {n} pieces" for n in range(2, _LONG_WORD)),
        f"word of {_LONG_WORD} or more",
    ]


def _thirds(counts: NDArray[np.int64], vocabulary: Vocabulary) -> tuple[NDArray[np.int64], list[str]]:
    """Return for every piece the third of the corpus's tokens it falls into, the most frequent pieces first."""
    ordinary = np.where(vocabulary.is_special, 0, counts)
    order = np.argsort(-ordinary, kind="stable")
    before = ordinary[order].cumsum() - ordinary[order]
    thirds = np.empty(len(counts), dtype=np.int64)
    thirds[order] = np.minimum(before * 3 // max(1, int(ordinary.sum())), 2)
    seen = np.bincount(thirds[ordinary > 0], minlength=3).tolist()
    return thirds, [f"{number:,} pieces" if number != 1 else "1 piece" for number in seen]


def _writing(tokenizer: Tokenizer, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for every piece of the vocabulary that occurs in ``ids``: 0 a word, 1 a number, 2 punctuation."""
    writing = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    for token_id in np.unique(ids).tolist():
        text = tokenizer.piece_text(token_id)
        is_word = any(character.isalpha() or character == "�" for character in text)
        is_number = any(character.isnumeric() for character in text)
        writing[token_id] = 0 if is_word else 1 if is_number else 2
    return writing
