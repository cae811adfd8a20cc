"""Read labels as sentiment: which of two or five ways each spelling stands for, the most negative first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from clozelm.errors import DataError, SettingsError
from clozelm.text.examples import TextExample
from clozelm.text.label_checks import label_names
from clozelm.text.valid import shortened

Ways = Literal[2, 5]
SCALE_FACT = "sentiment"
"""The name under which a model keeps how the labels it was trained on were spelled."""

WAYS: dict[int, tuple[str, ...]] = {
    2: ("negative", "positive"),
    5: ("very negative", "negative", "neutral", "positive", "very positive"),
}
SPELLINGS: tuple[tuple[str, ...], ...] = (
    ("negative", "positive"),
    ("neg", "pos"),
    ("bad", "good"),
    ("0", "1"),
    ("-1", "1"),
    ("false", "true"),
    WAYS[5],
    ("1", "2", "3", "4", "5"),
    ("1 star", "2 star", "3 star", "4 star", "5 star"),
    ("0", "1", "2", "3", "4"),
    ("-2", "-1", "0", "1", "2"),
)
"""Read so where a file has all labels of a row and no others; where several rows hold what it has, see ``ways``."""

ONLY_IF_NAMED: tuple[tuple[str, ...], ...] = (("1", "2"),)
"""Read so with ``ways`` alone: these may as well be the first of more stars."""

_SHOWN = 6


@dataclass(frozen=True)
class Scale:
    """How the labels of a file are spelled, the most negative first; case and outer signs do not matter."""

    names: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that a model has, in the same order."""
        return WAYS[len(self.names)]

    def __str__(self) -> str:
        """Show what stands for what; of labels that mean themselves the labels."""
        if self.names == self.labels:
            return ", ".join(self.labels)
        return ", ".join(f"{name} = {label}" for name, label in zip(self.names, self.labels, strict=True))

    def relabelled(self, examples: Sequence[TextExample]) -> list[TextExample]:
        """Return the examples with the model's labels; one that is no label of the scale is a ``DataError``."""
        meaning = dict(zip(self.names, self.labels, strict=True))
        found = []
        for example in examples:
            label = meaning.get(folded(str(example.label)))
            if label is None:
                raise DataError(
                    f"{example.source}: label {shortened(str(example.label))!r} is not among {_listed(self.names)}"
                    ", as which sentiment is read here."
                )
            found.append(replace(example, label=label))
        return found

    def notes(self, examples: Sequence[TextExample]) -> list[str]:
        """Say how labels were read, and which of them the examples, relabelled, do not have."""
        notes = [f"labels are read as sentiment in {len(self.names)} ways: {self}"]
        seen = {example.label for example in examples}
        if missing := [label for label in self.labels if label not in seen]:
            notes.append(f"labels without an example to learn from: {', '.join(missing)}")
        return notes


def find_scale(examples: Sequence[TextExample], ways: Ways | None = None) -> Scale:
    """Return the scale that labels are spelled in.

    Of itself it is clear where all labels of one scale occur. With ``ways`` some may be missing; of several scales
    the first then counts, so that 1, 2, 3, 4 are stars. Raises ``DataError`` for labels that may mean several
    things, naming what to say, and for labels that are no sentiment.
    """
    seen = {folded(str(example.label)): str(example.label) for example in examples}
    source, shown = examples[0].source.rpartition(":")[0], _listed(label_names(examples))
    holding = [names for names in (*SPELLINGS, *ONLY_IF_NAMED) if seen.keys() <= set(names)]
    if not holding:
        raise DataError(f"{source}: labels {shown} {_unread(seen)}.")
    if ways is not None:
        fitting = [names for names in holding if len(names) == ways]
        if not fitting:
            raise DataError(
                f"{source}: labels {shown} are no sentiment in {ways} ways, but in "
                f"{len(holding[0])}: say --ways {len(holding[0])}."
            )
        return Scale(fitting[0])
    whole = [names for names in SPELLINGS if seen.keys() == set(names)]
    if len(seen) == 1:  # refused elsewhere, for there is nothing to learn
        return Scale(holding[0])
    if not whole:
        choices = {len(names): Scale(names) for names in reversed(holding)}
        said = " or ".join(f"--ways {number} ({choices[number]})" for number in sorted(choices))
        raise DataError(
            f"{source}: labels {shown} are no whole scale of sentiment: say {said}; "
            "`cloze finetune classify` takes labels as they are."
        )
    return Scale(whole[0])


def checked_ways(ways: int | None) -> Ways | None:
    """Return the number of ways that a person names; others than there are, are refused."""
    for known in get_args(Ways):
        if ways == known:
            return known  # type: ignore[no-any-return]
    if ways is not None:
        raise SettingsError(f"--ways={ways} must be 2 (negative, positive) or 5 (very negative to very positive).")
    return None


def folded(label: str) -> str:
    """Return a label in the spelling of the table."""
    text = re.sub(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])|(?<=\d)[\s_-]*(?=star)", " ", label.strip().casefold())
    return re.sub(r"^\+(?=\d)|(?<=star)s$", "", text)


def _unread(seen: dict[str, str]) -> str:
    """Say why labels are no sentiment: one that is on no scale, or that they do not go together."""
    known = {name for names in SPELLINGS for name in names}
    odd = next((label for key, label in seen.items() if key not in known), None)
    what = f"are no sentiment ({shortened(odd)!r} is on no scale)" if odd else "are on no one scale of sentiment"
    known_scales = ", ".join("/".join(names) for names in SPELLINGS)
    return f"{what}: known are {known_scales}; `cloze finetune classify` takes any labels"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shortened(name, 30) for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
