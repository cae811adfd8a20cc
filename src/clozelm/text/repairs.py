"""Count what a reader repaired or found odd, so that it can be said."""

from __future__ import annotations


class Repairs:
    """Counts of what was found, each with the first place it was found at; and plain remarks."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}
        self._remarks: dict[str, None] = {}

    def add(self, what: str, where: str, count: int = 1) -> None:
        """Count one thing found; ``what`` is a plural, as in "empty texts"."""
        before, first = self._found.get(what, (0, where))
        self._found[what] = (before + count, first)

    def remark(self, *remarks: str) -> None:
        """Keep what has no count."""
        self._remarks |= dict.fromkeys(remarks)

    def notes(self) -> list[str]:
        """Return the remarks, then a line for each count, as in "empty texts: 3, first reviews.csv:12"."""
        counts = [f"{what}: {count:,}, first {first}" for what, (count, first) in self._found.items()]
        return [*self._remarks, *counts]
