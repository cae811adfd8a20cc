"""Filters: the reason for which a document is dropped, or none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field

_LETTERS = re.compile(r"[^\W\d_]+")


class FilterSettings(BaseModel):
    """Which documents to drop; every filter but emptiness is off until set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_characters: int = Field(default=1, ge=1, description="Shortest document, in characters.")
    max_characters: int | None = Field(default=None, ge=1, description="Longest document, in characters.")
    min_letter_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Smallest share of letters among characters that are not white space.",
    )
    max_repeated_line_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest share of lines that repeat an earlier one; 0.3 is usual.",
        json_schema_extra={"source": "Rae et al. 2021, A1.1"},
    )
    max_top_bigram_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest share of characters in the most frequent pair of words; 0.2 is usual.",
        json_schema_extra={"source": "Rae et al. 2021, A1.1"},
    )


def drop_reason(text: str, settings: FilterSettings) -> str | None:
    """Name the first filter that a document fails; None keeps it."""
    if not text or text.isspace():
        return "empty"
    if len(text) < settings.min_characters:
        return "min_characters"
    for name, (measure, is_minimum) in _MEASURES.items():
        limit = getattr(settings, name)
        if limit is not None:
            value = measure(text)
            if value < limit if is_minimum else value > limit:
                return name
    return None


def letter_share(text: str) -> float:
    """Measure the share of letters among the characters that are not white space."""
    written = len("".join(text.split()))
    return sum(map(len, _LETTERS.findall(text))) / written if written else 0.0


def repeated_line_share(text: str) -> float:
    """Measure the share of lines, empty ones left out, that repeat an earlier line of the document."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def top_bigram_share(text: str) -> float:
    """Measure the share of characters in words that lie in the most frequent pair of neighbouring words."""
    words = text.lower().split()
    if len(words) < 2:
        return 0.0
    (first, second), count = Counter(pairwise(words)).most_common(1)[0]
    if count == 1:
        return 0.0
    return min(1.0, count * (len(first) + len(second)) / sum(map(len, words)))


_MEASURES: dict[str, tuple[Callable[[str], float], bool]] = {
    "max_characters": (len, False),
    "min_letter_share": (letter_share, True),
    "max_repeated_line_share": (repeated_line_share, False),
    "max_top_bigram_share": (top_bigram_share, False),
}
