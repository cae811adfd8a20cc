"""How blanks are to be filled, and what filled them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from clozelm.errors import ClozeError
from clozelm.infer.blank_answers import fair_score
from clozelm.infer.fill_mask import Candidate
from clozelm.infer.page import Part

Order = Literal["best-first", "left-to-right", "each"]
ORDERS: tuple[Order, ...] = get_args(Order)


MOST_BEAM = 200
COLDEST, HOTTEST = 0.01, 100.0


@dataclass(frozen=True)
class FillSettings:
    """Say how blanks are filled.

    ``order``: ``best-first`` fills the blank whose best answer is the most certain, then asks again (the default);
    ``left-to-right`` goes as one reads (the default of models that see the left side alone); ``each`` answers
    every blank while the others stay masked. ``beam`` texts are kept after every blank. ``[MASK*]`` takes 1 to
    ``max_pieces`` pieces.

    ``targets`` are words that are all scored, ``only`` words of which the best are given; both may be of several
    pieces, in any blank. ``exclude`` are answers never given, whatever their case. ``whole_words`` leaves out
    pieces that continue a word, and marks. Probabilities are those of logits over ``temperature``.
    """

    order: Order | None = None
    beam: int = 5
    max_pieces: int = 4
    targets: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    whole_words: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name, number in (("beam", self.beam), ("max_pieces", self.max_pieces)):
            if number < 1:
                raise ClozeError(f"{name}={number} must be at least 1.")
        if self.beam > MOST_BEAM:
            raise ClozeError(f"beam={self.beam} must be at most {MOST_BEAM} (5 is usual): every text is read anew.")
        if self.order is not None and self.order not in ORDERS:
            raise ClozeError(f"order={self.order!r} is not one of {', '.join(ORDERS)}.")
        if not COLDEST <= self.temperature <= HOTTEST:
            raise ClozeError(
                f"temperature={self.temperature:g} must be between {COLDEST:g} and {HOTTEST:g} (1 changes nothing)."
            )
        for name, words in (("targets", self.targets), ("only", self.only)):
            if words is not None and not any(word.strip() for word in words):
                raise ClozeError(f"--{name} names no word.")
        if self.targets is not None and self.only is not None:
            raise ClozeError("targets and only contradict each other: targets are all scored, only gives the best.")
        both = _names(self.targets or ()) & self.excluded
        if both:
            raise ClozeError(f"{min(both)!r} is both asked for and excluded.")
        if self.only is not None and not _names(self.only) - self.excluded:
            raise ClozeError("Nothing is left that may fill a mask: --not has every word of --only.")

    @property
    def excluded(self) -> frozenset[str]:
        """What ``exclude`` names, by how it reads in lower case."""
        return _names(self.exclude)


def _names(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word.strip().casefold() for word in words if word.strip())


@dataclass(frozen=True)
class Answer:
    """What fills one blank: a word or piece as a reader would write it, and its pieces.

    A piece's probability, rank and entropy (nats, of all pieces in its place) are those at the time it was
    written: given the text, the blanks filled before and the pieces of the answer to its left. ``is_given`` tells
    a word of a list from one that was found.
    """

    text: str
    pieces: tuple[Candidate, ...]
    entropies: tuple[float, ...]
    is_given: bool = False

    @property
    def log_probability(self) -> float:
        """The joint log-probability of its pieces in nats."""
        return math.fsum(piece.log_probability for piece in self.pieces)

    @property
    def probability(self) -> float:
        """The joint probability of its pieces, among the answers of as many pieces."""
        return math.exp(self.log_probability)

    @property
    def score(self) -> float:
        """What orders answers: the log-probability of words that were given, of others ``fair_score``."""
        return self.log_probability if self.is_given else fair_score(self.log_probability, len(self.pieces))


@dataclass(frozen=True)
class Filling:
    """One way to fill all blanks of a text: the answers in their order, and the text they make, in parts."""

    answers: tuple[Answer, ...]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text with its blanks filled."""
        return "".join(part.text for part in self.parts)

    @property
    def log_probability(self) -> float:
        """The joint log-probability of all answers in nats, by the chain rule in the order of filling."""
        return math.fsum(answer.log_probability for answer in self.answers)

    @property
    def probability(self) -> float:
        """The joint probability of all answers."""
        return math.exp(self.log_probability)

    @property
    def score(self) -> float:
        """The sum of the answers' scores; fillings are ordered by it."""
        return math.fsum(answer.score for answer in self.answers)


@dataclass(frozen=True)
class FilledTogether:
    """The fillings of a text, best first; with order ``each`` instead the answers to every blank by itself."""

    text: str
    order: Order
    fillings: list[Filling]
    each: list[list[Answer]]
    notice: str | None = None
