"""Where sentences start, by a rule simple enough to be the same for every language and tokenizer.

A sentence ends at one of ``. ! ? …`` (and any closing quotes or brackets after it) before white space, at one
of ``。 ！ ？ ｡`` anywhere, and at every line end. The next word begins a sentence, and so does the
first token of a document. Abbreviations ("Dr. Smith") are cut too: masking and pairing use the rule as a
hint, never as truth.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

_CLOSING = "\"'”’»)\\]}」』】）》"
BREAK = re.compile(rf"[.!?…]+[{_CLOSING}]*(?=\s|\Z)|[。！？｡]+[{_CLOSING}]*|\n")


def sentence_breaks(text: str) -> list[int]:
    """List the character positions after which the next word begins a sentence."""
    return [match.end() for match in BREAK.finditer(text)]


def sentence_starts(text: str, word_starts: NDArray[np.bool_], offsets: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Mark the tokens that begin a sentence; ``offsets`` leave out white space around a piece.

    Words of white space alone (byte-level BPE has them) begin none, unless they begin the document.
    """
    marked = np.zeros(len(word_starts), np.bool_)
    marked[:1] = True
    words, characters = written_words(word_starts, offsets)
    found = np.searchsorted(characters, sentence_breaks(text), "left")
    marked[words[found[found < len(words)]]] = True
    return marked


def written_words(
    word_starts: NDArray[np.bool_], offsets: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Find the first token and the first character of every word that is not white space alone."""
    first_tokens = np.flatnonzero(word_starts)
    written = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    words, firsts = np.unique(np.cumsum(word_starts)[written] - 1, return_index=True)
    return first_tokens[words], offsets[written[firsts], 0]
