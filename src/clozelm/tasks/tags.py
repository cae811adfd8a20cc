"""Tags that mark entities word by word: schemes, legal sequences, the spans they stand for, the best legal tags.

A tag is ``O``, or a letter and the entity's type, ``B-PER``; a letter alone is an entity without a type. BIO is
also called IOB2; BILOU writes U for the S and L for the E of BIOES, and each is read where the other is expected.
In IOB1 an entity begins with B only where it touches another of its type (Tjong Kim Sang and Veenstra 1999).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import DataError, ModelError

Scheme = Literal["BIO", "IOB1", "BIOES", "BILOU", "IO"]

_LETTERS: dict[Scheme, str] = {"BIO": "OBI", "IOB1": "OBI", "BIOES": "OBIES", "BILOU": "OBIES", "IO": "OI"}
_SAME = {"U": "S", "L": "E"}
_TAG = re.compile(r"([BIESLU])(?:-(.+))?")
_ELSEWHERE = re.compile(r"([BIESLU])[_/:|.](.+)|(.+)[-_/:|.]([BIESLU])", re.IGNORECASE)
_CLEAR = 0.8  # of the beginnings that tell BIO from IOB1
_FLOOR = -1e9  # instead of the logarithm of 0, so that a legal sequence is found where all are impossible


class Span(NamedTuple):
    """An entity: its type, its first word, and the word after its last."""

    type: str
    start: int
    stop: int


class Legal(NamedTuple):
    """What may stand first, what may follow what ([from, to]), and what may stand last, by label."""

    start: NDArray[np.bool_]
    transition: NDArray[np.bool_]
    end: NDArray[np.bool_]

    def allows(self, ids: NDArray[np.int64]) -> bool:
        """Whether a sequence of labels is legal; the empty one is."""
        inside = self.transition[ids[:-1], ids[1:]].all()
        return not ids.size or bool(self.start[ids[0]] and inside and self.end[ids[-1]])


class _Tag(NamedTuple):
    letter: str  # O, B, I, E or S
    type: str


_OUTSIDE = _Tag("O", "")


def detect(
    sequences: Sequence[Sequence[str]], *, sources: Sequence[str] | None = None, like: Scheme | None = None
) -> Scheme:
    """Return the scheme of a file's tags; ``sources`` says where each sentence stands, for errors.

    Where every tag is legal in the scheme ``like``, it is that one, whatever else it could be.

    BIO and IOB1 are told apart by how entities begin that follow none of their type. Errors in the data are allowed
    for: four in five must agree. Without any B the spans of IOB1 and IO are the same, and IO is returned; without
    any entity, BIO.
    """
    letters: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    for number, tags in enumerate(sequences):
        place = sources[number] if sources is not None else f"Sentence {number + 1}"
        previous = _OUTSIDE
        for word, tag in enumerate(tags):
            if not _is_tag(tag):
                raise DataError(f"{place}, word {word + 1}: tag {_refusal(tag)}")
            current = _parsed(tag)
            letters[tag[0]] += 1
            if current.letter in "BI" and not _continues(previous, current):
                begun[current.letter] += 1
            previous = current
    if like is not None and "".join(letters).strip(_LETTERS[like]) == "" and not check(sequences, like):
        return like
    try:
        return _decided(letters, begun)
    except DataError as error:
        if not sources:
            raise
        raise DataError(f"{sources[0].rpartition(':')[0]}: {error}") from None


def check(sequences: Iterable[Sequence[str]], scheme: Scheme) -> dict[str, int]:
    """Count the illegal places of tag sequences by kind, most frequent first, as in ``{"I-PER after O": 3}``."""
    found: Counter[str] = Counter()
    for tags in sequences:
        parsed = _read(tags, scheme)
        for place, (previous, current) in enumerate(zip([_OUTSIDE, *parsed], [*parsed, _OUTSIDE], strict=True)):
            if not _may_follow(previous, current, scheme):
                before = tags[place - 1] if place else "the start"
                found[f"{tags[place] if place < len(parsed) else 'the end'} after {before}"] += 1
    return dict(found.most_common())


def repair(tags: Sequence[str], scheme: Scheme) -> tuple[list[str], int]:
    """Return the legal tags of the same spans and how many words changed, the other spelling of a tag not counted.

    One rule (``spans``): what cannot continue an entity begins one, as conlleval has it; what is not closed, is.
    Legal tags stay as they are.
    """
    legal_tags = mark(spans(tags, scheme), len(tags), scheme)
    changed = sum(_parsed(old) != _parsed(new) for old, new in zip(tags, legal_tags, strict=True))
    return legal_tags, changed


def convert(tags: Sequence[str], source: Scheme, target: Scheme) -> list[str]:
    """Return the tags of the same spans in another scheme; IO cannot keep neighbours of one type apart."""
    return mark(spans(tags, source), len(tags), target)


def spans(tags: Sequence[str], scheme: Scheme, *, strict: bool = False) -> list[Span]:
    """Return the entities in order.

    I or E continue an entity of their type and begin one elsewhere; any other tag ends it. ``strict`` leaves out
    what is not whole, as seqeval's mode of that name does: in BIO what does not begin with B, in BIOES also what
    does not end with E and is no S. IOB1 and IO have no such thing.
    """
    parsed = _read(tags, scheme)
    found: list[Span] = []
    start: int | None = None
    for place, tag in enumerate([*parsed, _OUTSIDE]):
        if start is not None and not (tag.letter in "IE" and tag.type == parsed[start].type):
            found.append(Span(parsed[start].type, start, place))
            start = None
        if tag.letter != "O" and start is None:
            start = place
        if tag.letter in "ES" and start is not None:
            found.append(Span(tag.type, start, place + 1))
            start = None
    return [span for span in found if not strict or _is_whole(span, parsed, scheme)]


def mark(entities: Iterable[Span], length: int, scheme: Scheme) -> list[str]:
    """Return the tags of ascending spans that share no word, for a sentence of ``length`` words."""
    tags, previous = ["O"] * length, Span("", -1, -1)
    for span in entities:
        inside = span.stop - span.start
        letters = ["I"] * inside
        if scheme in ("BIO", "BIOES", "BILOU") or (
            scheme == "IOB1" and (previous.type, previous.stop) == (span.type, span.start)
        ):
            letters[0] = "B"
        if scheme in ("BIOES", "BILOU"):
            last, single = "ES" if scheme == "BIOES" else "LU"
            letters[-1] = last if inside > 1 else single
        tags[span.start : span.stop] = [f"{letter}-{span.type}" if span.type else letter for letter in letters]
        previous = span
    return tags


def spelled(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Return the same tags in the scheme's own letters: E and S in BIOES, L and U in BILOU; legal or not."""
    other = {"BIOES": {"L": "E", "U": "S"}, "BILOU": {"E": "L", "S": "U"}}.get(scheme, {})
    return [other.get(tag[0], tag[0]) + tag[1:] for tag in tags]


def legal(labels: Sequence[str], scheme: Scheme) -> Legal:
    """Return which labels may stand first, follow each other and stand last; the arrays are read-only."""
    return _legal(tuple(labels), scheme)


def decode(log_probs: NDArray[np.floating], labels: Sequence[str], scheme: Scheme) -> NDArray[np.int64]:
    """Return the most probable legal sequence of labels, given log-probabilities [words, labels].

    Exact, by Viterbi's recursion; where the best label of every word makes a legal sequence, it is that one.
    """
    scores = np.maximum(log_probs.astype(np.float64), _FLOOR)
    if np.isnan(scores).any():
        raise ModelError("The model's log-probabilities are not numbers: there are no best tags.")
    rules = legal(labels, scheme)
    best: NDArray[np.int64] = scores.argmax(axis=1)
    if rules.allows(best):
        return best
    reached, origins = np.where(rules.start, scores[0], -np.inf), []
    for row in scores[1:]:
        paths = np.where(rules.transition, reached[:, None], -np.inf)
        origins.append(paths.argmax(axis=0))
        reached = paths.max(axis=0) + row
    reached = np.where(rules.end, reached, -np.inf)
    if np.isneginf(reached.max()):
        raise DataError(f"No {scheme} sequence of {len(scores)} words has the labels {', '.join(labels)} alone.")
    path = [int(reached.argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return np.array(path[::-1], dtype=np.int64)


@lru_cache(maxsize=16)
def _legal(labels: tuple[str, ...], scheme: Scheme) -> Legal:
    tags = _read(labels, scheme)
    found = Legal(
        np.array([_may_follow(_OUTSIDE, tag, scheme) for tag in tags], dtype=np.bool_),
        np.array([[_may_follow(one, other, scheme) for other in tags] for one in tags], dtype=np.bool_),
        np.array([_may_follow(tag, _OUTSIDE, scheme) for tag in tags], dtype=np.bool_),
    )
    for array in found:
        array.setflags(write=False)
    return found


def _may_follow(previous: _Tag, current: _Tag, scheme: Scheme) -> bool:
    """Whether two tags may be neighbours; a sentence begins after O and ends before O."""
    if scheme == "IO":
        return True
    if scheme == "BIO":
        return current.letter != "I" or _continues(previous, current)
    if scheme == "IOB1":
        return current.letter != "B" or _continues(previous, current)
    if previous.letter in "BI":
        return current.letter in "IE" and _continues(previous, current)
    return current.letter in "OBS"


def _continues(previous: _Tag, current: _Tag) -> bool:
    return previous.letter in "BI" and previous.type == current.type


def _is_whole(span: Span, parsed: Sequence[_Tag], scheme: Scheme) -> bool:
    first, last = parsed[span.start].letter, parsed[span.stop - 1].letter
    if scheme == "BIO":
        return first == "B"
    return scheme in ("IOB1", "IO") or first + last in ("BE", "SS")


def _read(tags: Sequence[str], scheme: Scheme) -> list[_Tag]:
    parsed = [_parsed(tag) for tag in tags]
    wrong = [tag for tag, (letter, _) in zip(tags, parsed, strict=True) if letter not in _LETTERS[scheme]]
    if wrong:
        raise DataError(f"Tag {wrong[0]!r} is none of {scheme}, whose letters are {', '.join(_LETTERS[scheme])}.")
    return parsed


@lru_cache(maxsize=4096)
def _parsed(tag: str) -> _Tag:
    if tag == "O":
        return _OUTSIDE
    match = _TAG.fullmatch(tag)
    if match is None:
        raise DataError(f"Tag {_refusal(tag)}")
    return _Tag(_SAME.get(match[1], match[1]), match[2] or "")


def _is_tag(tag: str) -> bool:
    return tag == "O" or _TAG.fullmatch(tag) is not None


def _refusal(tag: str) -> str:
    return f"{tag!r} is of no scheme (BIO, IOB1, BIOES, BILOU, IO): {_hint(tag)}."


def _hint(tag: str) -> str:
    """Say how a tag that is none should be written."""
    if tag in ("o", "0"):
        return "a word outside of entities has the capital letter O"
    if _is_tag(tag[:1].upper() + tag[1:]):
        return f"the letter is a capital, as in {tag[:1].upper() + tag[1:]!r}"
    match = _ELSEWHERE.fullmatch(tag)
    if match is not None:
        letter, name = (match[1], match[2]) if match[1] else (match[4], match[3])
        return f"the letter stands first, before a hyphen, as in '{letter.upper()}-{name}'"
    return "a tag is O, or B, I, E, S, L or U with a hyphen and a type, as in 'B-PER'"


def _decided(letters: Counter[str], begun: Counter[str]) -> Scheme:
    if letters["E"] + letters["S"] + letters["L"] + letters["U"]:
        if letters["E"] + letters["S"] and letters["L"] + letters["U"]:
            raise DataError(
                "The tags use the letters of BIOES (E, S) and of BILOU (L, U): write them in one scheme."
            )
        if not letters["B"] and letters["E"] + letters["L"] + letters["I"]:
            raise DataError(
                "The tags end entities with E but begin none with B: IOE is not read, write them in BIO."
            )
        return "BILOU" if letters["L"] + letters["U"] else "BIOES"
    if not letters["B"]:
        return "IO" if letters["I"] else "BIO"
    share = begun["I"] / begun.total()
    if 1 - _CLEAR < share < _CLEAR:
        raise DataError(
            f"{begun['B']} entities begin with B and {begun['I']} with I where none of their type is before them: "
            "neither BIO nor IOB1; name it with --scheme, or repair the file."
        )
    return "IOB1" if share >= _CLEAR else "BIO"
