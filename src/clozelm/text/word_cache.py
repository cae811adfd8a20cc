"""Encode documents by looking their words up: each white-space chunk is encoded once and kept.

The ids are exactly those of the library: see ``chunks`` for where text may be cut. Every other tokenizer, and
every text that the cuts do not serve, goes to the library.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from clozelm.text.chunks import BLANK, ENDS_SENTENCE, ID_BITS, chunks_for, pack
from clozelm.text.tokenizer import Tokenizer, encoded
from clozelm.vocab import SENTENCE_START, WORD_START

MAX_CHUNKS = 400_000
_ID_MASK = np.uint32((1 << ID_BITS) - 1)
_FLAG_MASK = np.uint32(0x3F)


class EncodedBatch(NamedTuple):
    """Several documents end to end: ids, flags (word and sentence starts) and the tokens of each document."""

    ids: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    lengths: NDArray[np.int64]


class BatchEncoder:
    """Encode batches of documents; special tokens written in a text are plain text here.

    ``is_cached`` tells whether the tokenizer allows its chunks to be kept.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_chunks: int = MAX_CHUNKS) -> None:
        """Copy the tokenizer's backend and choose how to cut, by its normaliser and pre-tokenizer."""
        self._library = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
        self._library.encode_special_tokens = True
        added = [token for token in tokenizer.definition["added_tokens"] if not token["special"]]
        self._added = _pattern(added)
        may_cut = _can_be_seen(added, tokenizer.definition["normalizer"])
        self._chunks = chunks_for(self._library, tokenizer.definition, max_chunks) if may_cut else None
        self.is_cached = self._chunks is not None

    def __call__(self, texts: Sequence[str]) -> EncodedBatch:
        """Encode documents, in order."""
        parts = [self._encode(text) for text in texts]
        lengths = np.fromiter(map(len, parts), np.int64, len(parts)) // 4
        packed = np.frombuffer(b"".join(parts), np.uint32)
        return EncodedBatch(packed & _ID_MASK, _flags(packed, lengths), lengths)

    def offsets(self, text: str) -> NDArray[np.int32]:
        """Find the characters of every piece of a text, int32[tokens, 2], in the order of its ids."""
        return encoded(text, self._library.encode(text, add_special_tokens=False)).offsets

    def _encode(self, text: str) -> bytes:
        if self._chunks is not None and not (self._added and self._added.search(_composed(text))):
            packed = self._chunks.encode(text)
            if packed is not None:
                return packed
        return pack(text, self._library.encode(text, add_special_tokens=False)).tobytes()


def _flags(packed: NDArray[np.uint32], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Unpack the flags; a sentence ended by a chunk begins at the next written word of the document."""
    flags = ((packed >> np.uint32(ID_BITS)) & _FLAG_MASK).astype(np.uint8)
    ends = np.cumsum(lengths[lengths > 0])
    flags[ends - lengths[lengths > 0]] |= SENTENCE_START
    is_end = packed >= ENDS_SENTENCE
    is_end[ends - 1] = False
    pending = np.flatnonzero(is_end)
    following = np.minimum(pending + 1, max(len(packed) - 1, 0))
    is_blank = (packed[following] & np.uint32(BLANK)) != 0
    flags[following] |= (flags[following] & WORD_START & ~is_blank) * np.uint8(SENTENCE_START)
    for position in pending[is_blank]:
        _carry(packed, flags, int(position), int(ends[np.searchsorted(ends, position, "right")]))
    return flags


def _carry(packed: NDArray[np.uint32], flags: NDArray[np.uint8], position: int, stop: int) -> None:
    """Mark the first written word after a sentence end that white-space pieces follow."""
    for index in range(position + 1, stop):
        if flags[index] & WORD_START and not int(packed[index]) & BLANK:
            flags[index] |= SENTENCE_START
            return


def _pattern(added: list[dict[str, Any]]) -> re.Pattern[str] | None:
    return re.compile("|".join(re.escape(token["content"]) for token in added)) if added else None


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _can_be_seen(added: list[dict[str, Any]], normalizer: dict[str, Any] | None) -> bool:
    """Tell whether a search in the composed text finds every added token that the library would."""
    is_plain = normalizer is None or normalizer["type"] == "NFC"
    return is_plain or not any(token["normalized"] for token in added)
