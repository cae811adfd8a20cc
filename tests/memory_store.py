"""Token stores in memory, with the interface of `TokenStore`, and the small vocabulary the tests share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clozelm.vocab import SENTENCE_START, WORD_START, Vocabulary

VOCABULARY = Vocabulary(size=200, pad_id=0, cls_id=2, sep_id=3, mask_id=4, unk_id=1, special_ids=frozenset({7}))


class MemoryStore:
    """Documents of the given lengths; token `i` of the store is an ordinary id, words have 1 to 4 pieces.

    Of the words `sentence_share` begin a sentence, and the first of each document.
    """

    def __init__(
        self,
        lengths: list[int] | NDArray[np.int64],
        *,
        seed: int = 0,
        word_share: float = 0.75,
        sentence_share: float = 0.0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)
        self.num_documents = len(lengths)
        self.num_tokens = int(self.offsets[-1])
        self.ids = rng.choice(VOCABULARY.ordinary_ids, self.num_tokens).astype(np.uint16)
        self.bits = np.where(rng.random(self.num_tokens) < word_share, WORD_START, 0).astype(np.uint8)
        firsts = self.offsets[:-1][np.asarray(lengths) > 0]
        self.bits[firsts] |= WORD_START
        if sentence_share:
            begins = (self.bits & WORD_START > 0) & (rng.random(self.num_tokens) < sentence_share)
            self.bits[begins] |= SENTENCE_START
            self.bits[firsts] |= SENTENCE_START

    def tokens(self, start: int, stop: int) -> NDArray[Any]:
        return self.ids[start:stop]

    def flags(self, start: int, stop: int) -> NDArray[np.uint8]:
        return self.bits[start:stop]


def realistic_lengths(mean: float, spread: float, num_tokens: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Log-normal document lengths, about `num_tokens` in all."""
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(np.log(mean) - spread**2 / 2, spread, int(num_tokens / mean))
    return np.maximum(1, lengths).astype(np.int64)
