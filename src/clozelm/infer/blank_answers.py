"""What could fill one blank of a text: pieces, answers of open length, listed words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from clozelm.infer.asking import Ask, Reply, Search, together
from clozelm.infer.blanks import Blank, Pieces, Template
from clozelm.infer.written import Word
from clozelm.text.tokenizer import Tokenizer

_WORDS_AT_ONCE = 256
_A_PIECE_MORE = math.log(5.0)


def fair_score(log_probability: float, pieces: int) -> float:
    """Return the log-probability less ln 5 for every piece after the first, in nats.

    What a model says of two masks cannot be compared with what it says of one: that there are two is given. About
    one English word in five has a piece more than the others, so the score is, but for a constant, the
    log-probability among answers of every length. Of one piece it is the log-probability. Relations: dividing by
    the length instead, as is usual in translation, favours long answers, the ends of words being easy to tell from
    their beginnings; it was measured to be worse (docs/LOG.md).
    """
    return log_probability - _A_PIECE_MORE * (pieces - 1)


class Chosen(NamedTuple):
    """A piece that was written, with what the model said of it given all that stood there before."""

    id: int
    log_probability: float
    rank: int
    entropy: float


@dataclass(frozen=True)
class Found:
    """Pieces for one blank, and the word they stand for where it was given."""

    chosen: tuple[Chosen, ...]
    word: str | None = None

    @property
    def ids(self) -> Pieces:
        """The pieces."""
        return tuple(one.id for one in self.chosen)

    @property
    def log_probability(self) -> float:
        """The sum over the pieces, in nats: the chain rule from left to right, the later ones masked."""
        return sum(one.log_probability for one in self.chosen)

    @property
    def score(self) -> float:
        """What answers of different lengths are compared by; of a word that was given, its log-probability."""
        if self.word is not None:
            return self.log_probability
        return fair_score(self.log_probability, len(self.chosen))


@dataclass(frozen=True)
class Allowed:
    """What may fill a blank: a piece ``alone``, or a ``first`` piece and ``later`` ones; or the listed ``words``.

    ``banned`` names answers that are left out, by how they read in lower case.
    """

    alone: Bool[Tensor, "vocab"]
    first: Bool[Tensor, "vocab"]
    later: Bool[Tensor, "vocab"]
    most_pieces: int
    words: tuple[Word, ...] | None = None
    banned: frozenset[str] = frozenset()

    def longest(self, blank: Blank) -> int:
        """Return how many pieces an answer to a blank may have."""
        if self.words is not None:
            return max(len(word.ids) for word in self.words)
        return self.most_pieces if blank.is_open else 1


class OneBlank:
    """Searches for the answers to one blank of a template, ``keep`` of them, best first."""

    def __init__(self, template: Template, tokenizer: Tokenizer, allowed: Sequence[Allowed], keep: int) -> None:
        """Answer within ``template``; ``allowed`` has an entry for each of its blanks."""
        self.template = template
        self.tokenizer = tokenizer
        self.allowed = allowed
        self.keep = keep
        self._mask = tokenizer.vocabulary.mask_id

    @property
    def mask(self) -> Pieces:
        """What stands in a blank that is not filled."""
        return (self._mask,)

    def answers(self, state: Sequence[Pieces], numbers: Sequence[int]) -> Search[dict[int, list[Found]]]:
        """Find the answers to several blanks, each by itself while the others are as ``state`` has them."""
        plain = [number for number in numbers if self._is_plain(number)]
        searches = [self._other(state, number) for number in numbers if number not in plain]
        found = yield from together([self._plain(state, plain), *searches] if plain else searches)
        return {number: each for part in found for number, each in part.items()}

    def _is_plain(self, number: int) -> bool:
        """Whether a blank takes exactly one piece of the vocabulary."""
        return self.allowed[number].words is None and not self.template.blanks[number].is_open

    def _plain(self, state: Sequence[Pieces], numbers: Sequence[int]) -> Search[dict[int, list[Found]]]:
        """Find the best pieces of several blanks, each by itself, from one reading of the text."""
        ids, columns = self.template.built(state, self.tokenizer)
        kinds: dict[int, list[int]] = {}  # blanks that allow the same pieces are one question
        for number in numbers:
            kinds.setdefault(id(self.allowed[number]), []).append(number)
        replies = yield [
            Ask(ids, [columns[number] for number in same], self.keep, self.allowed[same[0]].alone)
            for same in kinds.values()
        ]
        return {
            number: [Found((one,)) for one in _chosen(reply)]
            for same, each in zip(kinds.values(), replies, strict=True)
            for number, reply in zip(same, each, strict=True)
        }

    def _other(self, state: Sequence[Pieces], number: int) -> Search[dict[int, list[Found]]]:
        """Find the answers to a blank of open length, or the best of its listed words."""
        words = self.allowed[number].words
        found = yield from (self._open(state, number) if words is None else self._listed(state, number, words))
        found.sort(key=lambda one: -one.score)
        return {number: found[: self.keep]}

    def _open(self, state: Sequence[Pieces], number: int) -> Search[list[Found]]:
        """Search every length by itself, from left to right with a beam, all lengths side by side.

        No piece is written twice in a row: small models do that for ever.
        """
        allowed = self.allowed[number]
        width = self.keep + len(allowed.banned)
        beams: dict[int, list[Found]] = {length: [Found(())] for length in range(1, allowed.most_pieces + 1)}
        for step in range(allowed.most_pieces):
            asks, grown = [], []
            for length in range(step + 1, allowed.most_pieces + 1):
                may = allowed.later if step else allowed.first if length > 1 else allowed.alone
                for beam in beams[length]:
                    asks.append(self._ask(state, number, beam.ids, length)._replace(allowed=may, top=width + 1))
                    grown.append((length, beam))
            replies = yield asks
            for length in range(step + 1, allowed.most_pieces + 1):
                beams[length] = []
            for (length, beam), (reply,) in zip(grown, replies, strict=True):
                beams[length] += [
                    Found((*beam.chosen, one)) for one in _chosen(reply) if one.id not in beam.ids[-1:]
                ]
            for length in range(step + 1, allowed.most_pieces + 1):
                beams[length].sort(key=lambda one: -one.log_probability)
                del beams[length][width:]
        return [one for beam in beams.values() for one in beam if not self._is_banned(one, allowed)]

    def _listed(self, state: Sequence[Pieces], number: int, words: Sequence[Word]) -> Search[list[Found]]:
        """Score words through as many masks as they have pieces.

        Of long lists those are left out whose first piece already makes them worse than enough others: a score
        only falls with every further piece.
        """
        begun = yield from self._begun(state, number, words)
        done = [found for found, word in begun if len(word.ids) == 1]
        rest = [(found, word) for found, word in begun if len(word.ids) > 1]
        rest.sort(key=lambda one: -one[0].score)
        size = len(rest) if self.keep >= len(words) else _WORDS_AT_ONCE
        for start in range(0, len(rest), max(1, size)):
            part = rest[start : start + size]
            done.sort(key=lambda one: -one.score)
            if len(done) >= self.keep and part[0][0].score < done[self.keep - 1].score:
                break
            done += yield from self._finished(state, number, part)
        return done

    def _begun(
        self, state: Sequence[Pieces], number: int, words: Sequence[Word]
    ) -> Search[list[tuple[Found, Word]]]:
        """Score the first piece of every word: one reading of the text for every length."""
        asks, groups = [], []
        by_length = sorted(words, key=lambda word: len(word.ids))
        for length, group in groupby(by_length, key=lambda word: len(word.ids)):
            members = list(group)
            first = np.unique(np.array([word.ids[0] for word in members], dtype=np.int64))
            asks.append(self._ask(state, number, (), length)._replace(pieces=first))
            groups.append(members)
        replies = yield asks
        begun = []
        for members, (reply,) in zip(groups, replies, strict=True):
            said = {one.id: one for one in _chosen(reply)}
            begun += [(Found((said[word.ids[0]],), word.text), word) for word in members]
        return begun

    def _finished(
        self, state: Sequence[Pieces], number: int, begun: Sequence[tuple[Found, Word]]
    ) -> Search[list[Found]]:
        """Score the later pieces of words, those that begin alike together."""
        active, done = list(begun), []
        step = 1
        while active:
            beginnings: dict[tuple[Pieces, int], list[tuple[Found, Word]]] = {}
            for found, word in active:
                beginnings.setdefault((word.ids[:step], len(word.ids)), []).append((found, word))
            replies = yield [
                self._ask(state, number, pieces, length)._replace(
                    pieces=np.unique(np.array([word.ids[step] for _, word in members], dtype=np.int64))
                )
                for (pieces, length), members in beginnings.items()
            ]
            active = []
            step += 1
            for members, (reply,) in zip(beginnings.values(), replies, strict=True):
                said = {one.id: one for one in _chosen(reply)}
                for found, word in members:
                    longer = Found((*found.chosen, said[word.ids[step - 1]]), word.text)
                    if len(word.ids) == step:
                        done.append(longer)
                    else:
                        active.append((longer, word))
        return done

    def _ask(self, state: Sequence[Pieces], number: int, begun: Pieces, length: int) -> Ask:
        """Ask for the piece after ``begun`` in an answer of ``length`` pieces, the rest masked."""
        answer = (*begun, *[self._mask] * (length - len(begun)))
        ids, columns = self.template.built([*state[:number], answer, *state[number + 1 :]], self.tokenizer)
        return Ask(ids, [columns[number] + len(begun)])

    def _is_banned(self, found: Found, allowed: Allowed) -> bool:
        return bool(allowed.banned) and self.tokenizer.decode(found.ids).strip().casefold() in allowed.banned


def _chosen(reply: Reply) -> Iterator[Chosen]:
    for token_id, log_probability, rank in zip(*reply[:3], strict=True):
        yield Chosen(token_id, log_probability, rank, reply.entropy)
