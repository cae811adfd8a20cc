"""Draw a few examples of every class, as if there were no more labels."""

from __future__ import annotations

from collections.abc import Sequence

from clozelm.errors import SettingsError
from clozelm.rng import generator
from clozelm.text.overlap import Example, by_class


def draw_few(examples: Sequence[Example], count: int, *, seed: int = 0) -> tuple[list[Example], list[str]]:
    """Return ``count`` examples of every class in the order of the file, and what should be said of them.

    The draw of a class depends on the seed, its name and its size alone; a smaller ``count`` draws a part of what
    a larger one does. With several labels an example counts as of its rarest, as a sentence does of its rarest type
    of entity; those without any are a class. A class with no more than ``count`` is taken whole.
    """
    if count < 1:
        raise SettingsError(f"--few {count} must be at least 1 (16 of every class is usual).")
    chosen: list[int] = []
    scarce: list[str] = []
    for name, members in by_class(examples).items():
        order = generator(seed, f"few examples of {name}").permutation(len(members))
        chosen += [members[place] for place in order[:count]]
        if len(members) < count:
            scarce.append(f"{len(members)} of {name!r}" if name is not None else f"{len(members)} without a label")
    notes = [f"only {len(chosen):,} of {len(examples):,} examples are learned from: {count} of every class"]
    if scarce:
        notes.append(f"there are fewer than {count} examples of some classes: {', '.join(scarce)}")
    return [examples[place] for place in sorted(chosen)], notes
