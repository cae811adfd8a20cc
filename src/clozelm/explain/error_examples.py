"""Which predictions to show: the most confident mistakes, what is taken for what, where two models differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CONTEXT = 24  # tokens shown on each side
_SPARE = 8
_MOST_PAIRS = 1 << 19


@dataclass(frozen=True)
class Example:
    """One prediction with what stood around it as the model saw it, and what each model said of it.

    ``truth`` and ``answers`` are ids; ``confidences`` the probability of each model's answer, ``probabilities``
    that of the truth.
    """

    document: int
    place: str
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    truth: int
    answers: tuple[int, ...]
    confidences: tuple[float, ...]
    probabilities: tuple[float, ...]


@dataclass
class Best:
    """The ``most`` examples of the highest score, at most one of every key."""

    most: int
    kept: dict[Any, tuple[float, Example]] = field(default_factory=dict)
    _least: float = float("-inf")

    def offer(self, scores: NDArray[np.float64], keys: NDArray[np.int64], make: Callable[[int], Example]) -> None:
        """Take in candidates; those with a score of ``-inf`` never count. ``make`` is asked for what is kept."""
        if not self.most:
            return
        for index in np.argsort(-scores, kind="stable").tolist():
            score, key = float(scores[index]), int(keys[index])
            if score <= self._least or score == float("-inf"):
                break
            if key not in self.kept or self.kept[key][0] < score:
                self.kept[key] = (score, make(index))
            if len(self.kept) > self.most * _SPARE:
                self._prune(self.most)
        if len(self.kept) >= self.most:
            self._prune(self.most)

    def best(self) -> list[Example]:
        """Return the examples, highest score first."""
        return [example for _, example in sorted(self.kept.values(), key=lambda one: -one[0])[: self.most]]

    def _prune(self, size: int) -> None:
        order = sorted(self.kept, key=lambda key: -self.kept[key][0])
        self.kept = {key: self.kept[key] for key in order[:size]}
        if len(self.kept) == self.most:
            self._least = self.kept[order[size - 1]][0]


class Confusions:
    """How often each piece was taken for another; in bounded memory.

    Beyond 524,288 different pairs those seen once are forgotten, and ``is_exact`` says so: what is frequent keeps
    its count but for a few.
    """

    def __init__(self, vocab_size: int) -> None:
        self._size, self._pairs = vocab_size, Counter[int]()
        self.is_exact = True

    def add(self, truth: NDArray[np.int64], answer: NDArray[np.int64]) -> None:
        """Count the wrong ones among some answers."""
        wrong = truth != answer
        keys, counts = np.unique(truth[wrong] * self._size + answer[wrong], return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            self._pairs[key] += count
        if len(self._pairs) > _MOST_PAIRS:
            self.is_exact = False
            least = min(self._pairs.values())
            self._pairs = Counter({key: count for key, count in self._pairs.items() if count > least})

    def most_common(self, most: int) -> list[tuple[int, int, int]]:
        """Return (truth, answer, count), most frequent first."""
        pairs = sorted(self._pairs.items(), key=lambda one: (-one[1], one[0]))[:most]
        return [(key // self._size, key % self._size, count) for key, count in pairs]


def around(
    seen: NDArray[np.int64], doc_ids: NDArray[np.int32], column: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tokens of a row before and after a column, of its document, [CLS] and [SEP] left out."""
    own = np.flatnonzero(doc_ids == doc_ids[column])
    first, last = int(own[0]) + 1, int(own[-1])
    return (
        seen[max(first, column - _CONTEXT) : column].copy(),
        seen[column + 1 : min(last, column + 1 + _CONTEXT)].copy(),
    )
