"""Find examples that are given twice, and hold out a share of them that keeps every class."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from clozelm.errors import DataError
from clozelm.text.examples import TaggedSentence, TextExample
from clozelm.text.label_checks import names_of

Example = TypeVar("Example", TextExample, TaggedSentence)


@dataclass(frozen=True)
class Overlap:
    """Examples given twice after folding of case and white space, each as (later, earlier) place.

    ``contradictions`` are those within a file whose labels differ.
    """

    within_train: list[tuple[str, str]]
    within_dev: list[tuple[str, str]]
    across: list[tuple[str, str]]
    contradictions: list[tuple[str, str]]

    def notes(self) -> list[str]:
        """Say each kind there is in a line."""
        said = (
            ("examples of dev that are also in train", self.across),
            ("examples given twice in train", self.within_train),
            ("examples given twice in dev", self.within_dev),
            ("examples given twice with different labels", self.contradictions),
        )
        return [f"{what}: {len(of):,}, first {of[0][0]} as {of[0][1]}" for what, of in said if of]


def find_overlap(train: Sequence[Example], dev: Sequence[Example] = ()) -> Overlap:
    """Find what is given twice within train, within dev, and in both; texts are compared, all of a pair."""
    contradictions: list[tuple[str, str]] = []
    within_train, seen = _twice(train, contradictions)
    within_dev, _ = _twice(dev, contradictions)
    keys = ((fold(example), example.source) for example in dev)
    across = [(source, seen[key].source) for key, source in keys if key in seen]
    return Overlap(within_train, within_dev, across, contradictions)


def fold(example: TextExample | TaggedSentence) -> tuple[str, ...]:
    """Return the texts of an example so that those that differ in case, white space or composition are equal."""
    parts = (" ".join(example.words),) if isinstance(example, TaggedSentence) else example.texts
    return tuple(" ".join(unicodedata.normalize("NFC", part).casefold().split()) for part in parts)


def hold_out(
    examples: Sequence[Example], *, share: float = 0.1, seed: int = 0
) -> tuple[list[Example], list[Example]]:
    """Divide examples into (train, dev), about ``share`` of every class held out; the order is kept.

    A function of the seed and of what the examples say: which file they come from does not matter. Every class
    of at least two keeps one on each side; a class of one is in train. Equal texts of a class stay together
    unless the class has nothing else. With several labels an example counts as of its rarest: then a label may
    be missing from dev, never from train.
    """
    if not 0 < share < 1:
        raise DataError(f"The share to hold out, {share}, must lie strictly between 0 and 1 (0.1 is usual).")
    if len(examples) < 2:
        raise DataError(f"{_file(examples)}has one example, which cannot be divided: give a file with --dev.")
    held: set[int] = set()
    for members in by_class(examples).values():
        held |= _held(members, examples, share, seed)
    in_train = {name for place, example in enumerate(examples) if place not in held for name in _names(example)}
    held = {place for place in held if in_train.issuperset(_names(examples[place]))}
    if not held:
        raise DataError(
            f"{_file(examples)}every label has one example, so none can be held out: give a file with --dev."
        )
    train = [example for place, example in enumerate(examples) if place not in held]
    return train, [example for place, example in enumerate(examples) if place in held]


def by_class(examples: Sequence[TextExample | TaggedSentence]) -> dict[str | None, list[int]]:
    """Group the places of examples by label, or by the rarest of several."""
    names = [_names(example) for example in examples]
    counts = Counter(name for each in names for name in each)
    classes: dict[str | None, list[int]] = defaultdict(list)
    for place, each in enumerate(names):
        classes[min(each, key=lambda name: (counts[name], name), default=None)].append(place)
    return classes


def _file(examples: Sequence[TextExample | TaggedSentence]) -> str:
    name = examples[0].source.rpartition(":")[0] if examples else ""
    return f"{name}: " if name else ""


def _names(example: TextExample | TaggedSentence) -> tuple[str, ...]:
    if isinstance(example, TextExample):
        return names_of(example)
    return tuple(dict.fromkeys(tag.partition("-")[2] for tag in example.tags or () if tag != "O"))


def _held(members: Sequence[int], examples: Sequence[Example], share: float, seed: int) -> set[int]:
    """Choose the places of one class that are held out, groups of equal texts by the hash of their text."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for place in members:
        groups[_hash(examples[place], seed)].append(place)
    order = [groups[key] for key in sorted(groups)]
    if len(order) == 1:
        order = [[place] for place in order[0]]
    wanted = min(len(members) - 1, max(1, math.floor(share * len(members) + 0.5)))
    held: set[int] = set()
    for group in order:
        size = len(held) + len(group)
        if len(held) < wanted and size <= 2 * wanted and size < len(members):
            held |= set(group)
    smallest = min(order, key=len)
    return held if held or not wanted else set(smallest)


def _hash(example: TextExample | TaggedSentence, seed: int) -> bytes:
    return hashlib.blake2b(repr((seed, fold(example))).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _twice(
    examples: Sequence[Example], contradictions: list[tuple[str, str]]
) -> tuple[list[tuple[str, str]], dict[tuple[str, ...], Example]]:
    """Return which examples repeat one before them, and the first of each text; collect those of other labels."""
    seen: dict[tuple[str, ...], Example] = {}
    twice = []
    for example in examples:
        first = seen.setdefault(fold(example), example)
        if first is example:
            continue
        places = (example.source, first.source)
        twice.append(places)
        if _answer(first) != _answer(example):
            contradictions.append(places)
    return twice, seen


def _answer(example: TextExample | TaggedSentence) -> object:
    if isinstance(example, TaggedSentence):
        return example.tags
    return frozenset(example.label) if isinstance(example.label, tuple) else example.label
