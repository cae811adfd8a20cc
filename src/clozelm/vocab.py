"""What the program knows about a vocabulary and its tokens: special ids, and the bits stored per token."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# Bits of the flag byte stored beside every token.
WORD_START = 1
SENTENCE_START = 2
ANNOTATED = 4


@dataclass(frozen=True)
class Vocabulary:
    """Describe a vocabulary by its size and its special ids.

    ``special_ids`` must hold every id that is never predicted and never drawn as a replacement;
    the named ids are added to it, so that a caller cannot forget one.
    """

    size: int
    pad_id: int
    cls_id: int
    sep_id: int
    mask_id: int
    unk_id: int | None = None
    special_ids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        named = {self.pad_id, self.cls_id, self.sep_id, self.mask_id}
        if self.unk_id is not None:
            named.add(self.unk_id)
        object.__setattr__(self, "special_ids", frozenset(self.special_ids) | named)
        outside = sorted(i for i in self.special_ids if not 0 <= i < self.size)
        if outside:
            raise ValueError(f"special ids {outside} lie outside the vocabulary of {self.size} ids")

    @cached_property
    def is_special(self) -> NDArray[np.bool_]:
        """Tell for every id whether it is special; bool[size], read-only."""
        special = np.zeros(self.size, dtype=np.bool_)
        special[sorted(self.special_ids)] = True
        special.flags.writeable = False
        return special

    @cached_property
    def ordinary_ids(self) -> NDArray[np.int64]:
        """List every id that is not special, ascending; int64, read-only."""
        ordinary = np.flatnonzero(~self.is_special).astype(np.int64)
        ordinary.flags.writeable = False
        return ordinary
