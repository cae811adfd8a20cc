"""Look over labels before anything learns from them: counts, and what cannot be meant."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from clozelm.errors import DataError
from clozelm.text.examples import Problem, TaggedSentence, TextExample
from clozelm.text.valid import shortened

MANY = 20
"""Labels: more than these must come twice on average."""

WORDS_OF_A_SENTENCE = 6
_SHOWN = 3


@dataclass(frozen=True)
class Preview:
    """What a file holds at a glance; ``words`` are the least, middle, 95% and most of a text, at white space.

    ``labels`` counts examples by label (tags by type for sentences), most frequent first; it is empty for numbers.
    """

    first: list[TextExample | TaggedSentence]
    count: int
    labels: dict[str, int]
    words: tuple[int, int, int, int]
    characters: int


def preview(examples: Sequence[TextExample | TaggedSentence], count: int = 3) -> Preview:
    """Look at examples: the first ``count``, label counts and lengths; ``characters`` is the longest text."""
    words = sorted(_words(example) for example in examples)
    places = (0, len(words) // 2, int(0.95 * (len(words) - 1)), len(words) - 1)
    longest = max(sum(map(len, _parts(example))) for example in examples)
    least, middle, most_of, most = (words[place] for place in places)
    return Preview(
        list(examples[:count]), len(examples), label_counts(examples), (least, middle, most_of, most), longest
    )


def label_counts(examples: Sequence[TextExample | TaggedSentence]) -> dict[str, int]:
    """Count examples by label, most frequent first; of tagged sentences, words by tag."""
    counts: Counter[str] = Counter()
    for example in examples:
        if isinstance(example, TaggedSentence):
            counts.update(example.tags or ())
        else:
            counts.update(names_of(example))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def names_of(example: TextExample) -> tuple[str, ...]:
    """Return the labels of an example as names: none for a number or where there is none."""
    if isinstance(example.label, str):
        return (example.label,)
    return example.label if isinstance(example.label, tuple) else ()


def label_names(examples: Sequence[TextExample]) -> tuple[str, ...]:
    """Return the labels there are in the order of their ids: as numbers if all are whole ones, else as text."""
    names = {name for example in examples for name in names_of(example)}
    if all(name.removeprefix("-").isdecimal() and name.isascii() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def check_labels(
    train: Sequence[TextExample],
    dev: Sequence[TextExample] | None,
    problem: Problem,
    *,
    field: str | None = None,
    labels: Sequence[str] | None = None,
) -> list[str]:
    """Refuse labels that nothing can be learned from, and those of ``dev`` that are unknown; return what is odd.

    ``field`` is what messages call the field of the labels; ``labels`` are those that are known, else those of
    ``train``.
    """
    called = f"field {field!r}" if field else "the labels"
    source = train[0].source.rpartition(":")[0]
    if problem == "regression":
        numbers = {example.label for example in train}
        if len(numbers) < 2:
            raise DataError(f"{source}: {called} is {numbers.pop()} in every record: there is nothing to learn.")
        return []
    counts = label_counts(train)
    if len(counts) < 2 - (problem == "multi"):
        only = f"the one label {next(iter(counts))!r}" if counts else "no label at all"
        raise DataError(f"{source}: {called} has {only} in {len(train)} records: learning needs two.")
    if problem == "single":
        _check_repeats(train, counts, source, field)
    known = list(labels) if labels is not None else list(counts)
    notes = [*_alike(known), *_rare(counts, source), *_measured(known)]
    if dev is not None:
        check_known(dev, known)
        if unseen := [name for name in known if name not in label_counts(dev)]:
            shown = ", ".join(map(repr, unseen[:_SHOWN])) + (", ..." if len(unseen) > _SHOWN else "")
            notes.append(
                f"labels without an example in {dev[0].source.rpartition(':')[0]}: {len(unseen)} ({shown})"
            )
    return notes


def check_known(examples: Sequence[TextExample], known: Sequence[str]) -> None:
    """Refuse labels that are not among those known, with the first few places."""
    allowed = set(known)
    unknown: dict[str, str] = {}
    for example in examples:
        for name in names_of(example):
            if name not in allowed:
                unknown.setdefault(name, example.source)
    if not unknown:
        return
    (name, where), *others = unknown.items()
    among = ", ".join(sorted(allowed)[:MANY]) + (", ..." if len(allowed) > MANY else "")
    more = "; neither are " * bool(others) + ", ".join(f"{other!r} ({place})" for other, place in others[:_SHOWN])
    more += f" and {len(others) - _SHOWN} more" * (len(others) > _SHOWN)
    raise DataError(f"{where}: label {name!r} is not among {among}{more}.")


def _check_repeats(train: Sequence[TextExample], counts: dict[str, int], source: str, field: str | None) -> None:
    """Refuse a field that cannot be of labels, for nearly every record has its own."""
    is_many = 2 * len(counts) > len(train)
    is_text = statistics.median(len(name.split()) for name in counts) >= WORDS_OF_A_SENTENCE
    if not is_many or (len(counts) <= MANY and not is_text):
        return
    what = f"field {field!r}" if field else "the label"
    said = f"{source}: {what} has {len(counts):,} different values in {len(train):,} records: no labels"
    if all(_is_number(name) for name in counts):
        raise DataError(f"{said}, but numbers? See --problem regression.")
    others = _fields_like_labels(train, field)
    advice = "name one that repeats with --label" + (f": {', '.join(others)}" if others else "")
    raise DataError(f"{said}; {advice}.")


def _fields_like_labels(train: Sequence[TextExample], field: str | None) -> list[str]:
    """List fields with few different values, the fewest first."""
    found = []
    for name in train[0].record:
        values = {str(example.record.get(name)) for example in train}
        if name != field and 2 <= len(values) <= max(2, len(train) // 5):
            found.append((len(values), f"{name!r} has {len(values)}"))
    return [said for _, said in sorted(found)[:_SHOWN]]


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _measured(names: Sequence[str]) -> list[str]:
    """Say that labels are numbers with fractions, which are seldom names."""
    if not all(map(_is_number, names)) or not any("." in name for name in names):
        return []
    return [f"labels are the numbers {', '.join(names[:_SHOWN])}, ... taken as names; see --problem regression"]


def _alike(names: Sequence[str]) -> list[str]:
    """Say which labels differ in case, white space or invisible characters alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        folded = "".join(each for each in name.casefold() if each.isprintable() and each not in " _-")
        folded = str(float(name)) if _is_number(name) else folded
        groups.setdefault(folded, []).append(name)
    alike = [sorted(group) for group in groups.values() if len(group) > 1]
    return [
        f"labels that differ in case, spacing or zeros alone: {', '.join(map(ascii, group))}" for group in alike
    ]


def _rare(counts: dict[str, int], source: str) -> list[str]:
    once = [name for name, count in counts.items() if count == 1]
    if not once:
        return []
    shown = ", ".join(shortened(repr(name), 40) for name in once[:_SHOWN]) + (", ..." if len(once) > _SHOWN else "")
    return [f"labels with one example in {source}: {len(once)} ({shown})"]


def _parts(example: TextExample | TaggedSentence) -> Sequence[str]:
    return example.words if isinstance(example, TaggedSentence) else example.texts


def _words(example: TextExample | TaggedSentence) -> int:
    if isinstance(example, TaggedSentence):
        return len(example.words)
    return sum(len(text.split()) for text in example.texts)
