"""What a task learns from and is asked about: texts with labels, and sentences with a tag for every word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Problem = Literal["single", "multi", "regression"]
"""One label of several, any number of labels, or a number."""

Label = str | tuple[str, ...] | float
"""A name, several names, or a number, as the problem has it."""


@dataclass(frozen=True)
class TextExample:
    """One text, or a pair, with its label where it has one.

    ``source`` is where it stands (``file:line``); ``record`` is everything that stood there, by field.
    """

    texts: tuple[str, ...]
    label: Label | None = None
    source: str = ""
    record: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class TaggedSentence:
    """The words of a sentence with the tag of each, where they have some; ``document`` numbers those of a file."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    source: str = ""
    document: int = 0
