"""What the sides of a mask are worth, and the smallest edits that change the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from clozelm.explain.probe import Guess, Probe, Variation
from clozelm.explain.question import Word

_ALTERNATIVES = 6
_LOOKED_AT = 30
_MOST_WORDS = 24


@dataclass(frozen=True)
class Side:
    """The answer where only one side is read, the words of the other hidden behind masks.

    ``probability`` is the target's, ``rank`` that of its first piece, ``moved`` the Kullback-Leibler divergence
    from the answer with both sides, in nats. A side is "both", "left", "right" or "none".
    """

    side: str
    words: int
    guesses: list[Guess]
    probability: float
    rank: int
    moved: float


@dataclass(frozen=True)
class Swap:
    """One word replaced by another that the model finds likely there, and the answer after it.

    ``likely`` is the probability the model gives the new word in its place. ``probability`` is what is left to the
    target, ``moved`` the Kullback-Leibler divergence of the whole answer in nats.
    """

    word: int
    old: str
    new: str
    likely: float
    answer: Guess
    changes_answer: bool
    probability: float
    moved: float


def sides(probe: Probe, *, top: int = 5) -> list[Side]:
    """Answer with both sides, the left one, the right one, and neither."""
    first, last = probe.question.columns[0], probe.question.columns[-1]
    numbers = range(len(probe.question.words))
    left = [number for number in numbers if probe.question.words[number].columns[0] < first]
    right = [number for number in numbers if probe.question.words[number].columns[0] > last]
    read = {"both": [*left, *right], "left": left, "right": right, "none": []}
    hidden = [[number for number in numbers if number not in kept] for kept in map(set, read.values())]
    asked = probe.ask([probe.without(each) for each in hidden], np.copy)
    return [
        Side(
            side,
            len(kept),
            probe.best(row, top),
            float(np.exp(log_probability)),
            probe.rank(row),
            probe.difference(row),
        )
        for (side, kept), row, log_probability in zip(read.items(), asked.seen, asked.log_probability, strict=True)
    ]


def swaps(probe: Probe, order: Sequence[int]) -> list[Swap]:
    """Replace one word at a time by what the model itself would put there, and see whether the answer changes.

    Words are tried in ``order``, at most 24, with the 6 most likely single pieces each, the mask asked about left
    masked. Those that change the first answer come first, the likeliest edit before others; then the rest, by
    how far they move the answer.
    """
    tried = [number for number in order if _is_word(probe.question.words[number].text)][:_MOST_WORDS]
    edits = list(_edits(probe, tried))
    if not edits:
        return []
    best = probe.best(probe.full, 1)[0].id

    def look(row: NDArray[np.float64]) -> tuple[Guess, float]:
        return probe.best(row, 1)[0], probe.difference(row)

    asked = probe.ask([variation for *_, variation in edits], look)
    found = [
        Swap(
            number,
            probe.question.words[number].text,
            guess.text,
            guess.probability,
            answer,
            answer.id != best,
            float(np.exp(log_probability)),
            moved,
        )
        for (number, guess, _), (answer, moved), log_probability in zip(
            edits, asked.seen, asked.log_probability, strict=True
        )
    ]
    return sorted(
        found, key=lambda swap: (not swap.changes_answer, -swap.likely if swap.changes_answer else -swap.moved)
    )


def _edits(probe: Probe, tried: Sequence[int]) -> Iterator[tuple[int, Guess, Variation]]:
    """Yield words with what could stand there, and the question after it."""
    mask_id = probe.tokenizer.vocabulary.mask_id
    words = [probe.question.words[number] for number in tried]
    places = [Variation(_spliced(probe, word, mask_id).ids, word.columns[:1]) for word in words]
    rows = probe.ask(places, np.copy).seen
    for number, word, row in zip(tried, words, rows, strict=True):
        likely = (guess for guess in probe.best(row, _LOOKED_AT) if _may_stand(probe, word, guess))
        for guess in islice(likely, _ALTERNATIVES):
            yield number, guess, _spliced(probe, word, guess.id)


def _is_word(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _may_stand(probe: Probe, word: Word, guess: Guess) -> bool:
    """Whether a piece is another word that a person could write there: the edited text has these very pieces."""
    if not _is_word(guess.text) or guess.text.casefold() == word.text.casefold():
        return False
    question = probe.question
    if guess.id in probe.tokenizer.vocabulary.special_ids:
        return False
    later = len(question.columns) - 1 if word.columns[0] > question.columns[0] else 0
    start, count = word.columns[0] - question.offset - later, len(word.columns)
    expected = np.concatenate((question.encoded[:start], [guess.id], question.encoded[start + count :]))
    text = question.text[: word.span[0]] + guess.text + question.text[word.span[1] :]
    return np.array_equal(probe.tokenizer.encode(text).ids, expected)


def _spliced(probe: Probe, word: Word, piece: int) -> Variation:
    """Return the question with one piece in place of a word."""
    ids, columns = probe.question.ids, probe.question.columns
    start, stop = word.columns[0], word.columns[-1] + 1
    shorter = stop - start - 1 if columns[0] > start else 0
    return Variation(
        np.concatenate((ids[:start], [piece], ids[stop:])), tuple(column - shorter for column in columns)
    )
