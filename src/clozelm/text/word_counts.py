"""Count the words of a corpus as a tokenizer's model is given them, in bounded memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import tokenizers

MAX_WORDS = 1_000_000
_LONGEST_WORD = 100
_BATCH_CHARACTERS = 8_000_000
_ENCODED_AT_ONCE = 10_000
_WITH_SPACE_BEFORE = re.compile(r"\s*\S+")


class WordCounter:
    """Count words: what the pre-tokenizer cuts out, normalised, as the vocabulary would write it in one piece.

    Only text between white space is looked at, each such chunk once a batch, so runs of white space count only
    in byte-level BPE, where they stand before their word. Added tokens and words of more than 100 characters
    are left out.
    """

    def __init__(self, library: tokenizers.Tokenizer, definition: dict[str, Any], *, keeps_space: bool) -> None:
        """Take the library's tokenizer and its parsed tokenizer.json; ``keeps_space`` is for byte-level BPE."""
        self._library = library
        self._chunks = _chunks_with_space if keeps_space else str.split
        self._prefix: str = definition["model"].get("continuing_subword_prefix") or ""
        self._unknown = {library.token_to_id(token) for token in _unknown_tokens(definition["model"])}
        self._added = {token["id"] for token in definition["added_tokens"]} - self._unknown

    def count(self, texts: Iterable[str], *, max_words: int = MAX_WORDS) -> dict[str, int]:
        """Count the words of texts, in one pass.

        Above ``max_words`` distinct words the rarest are forgotten until half of the room is free, so that a
        count may be too low by what was forgotten ("lossy counting", Manku and Motwani 2002).
        """
        counts: dict[str, int] = {}
        for chunks in self._batches(texts):
            for word, times in self._words(chunks):
                counts[word] = counts.get(word, 0) + times
            if len(counts) > max_words:
                counts = without_rarest(counts, max_words // 2)
        return counts

    def _batches(self, texts: Iterable[str]) -> Iterator[Counter[str]]:
        chunks: Counter[str] = Counter()
        size = 0
        for text in texts:
            chunks.update(self._chunks(text))
            size += len(text)
            if size >= _BATCH_CHARACTERS:
                yield chunks
                chunks, size = Counter(), 0
        yield chunks

    def _words(self, chunks: Counter[str]) -> Iterator[tuple[str, int]]:
        """Yield the words of each chunk with its count."""
        distinct = list(chunks)
        for start in range(0, len(distinct), _ENCODED_AT_ONCE):
            some = distinct[start : start + _ENCODED_AT_ONCE]
            for chunk, encoding in zip(
                some, self._library.encode_batch(some, add_special_tokens=False), strict=True
            ):
                for word in self._words_of(chunk, encoding):
                    if word and len(word) <= _LONGEST_WORD:
                        yield word, chunks[chunk]

    def _words_of(self, chunk: str, encoding: tokenizers.Encoding) -> Iterator[str | None]:
        ids, tokens, words = encoding.ids, encoding.tokens, encoding.word_ids
        start = 0
        for stop in range(1, len(ids) + 1):
            if stop < len(ids) and words[stop] == words[start]:
                continue
            if not self._unknown.isdisjoint(ids[start:stop]):
                offsets = encoding.offsets
                yield self._unknown_word(chunk[offsets[start][0] : offsets[stop - 1][1]])
            elif self._added.isdisjoint(ids[start:stop]):
                rest = [token.removeprefix(self._prefix) for token in tokens[start + 1 : stop]]
                yield "".join([tokens[start], *rest])
            start = stop

    def _unknown_word(self, written: str) -> str | None:
        """Find what the model was given where its pieces do not say; None where that is not one word."""
        normalizer, pre_tokenizer = self._library.normalizer, self._library.pre_tokenizer
        normal = normalizer.normalize_str(written) if normalizer else written
        words = pre_tokenizer.pre_tokenize_str(normal) if pre_tokenizer else [(normal, (0, len(normal)))]
        return str(words[0][0]) if len(words) == 1 else None


def without_rarest(counts: dict[str, int], room: int) -> dict[str, int]:
    """Forget the rarest words, all of one count together, until at most ``room`` are left."""
    least = 0
    while len(counts) > room:
        least += 1
        counts = {word: times for word, times in counts.items() if times > least}
    return counts


def _chunks_with_space(text: str) -> list[str]:
    return _WITH_SPACE_BEFORE.findall(text.rstrip())


def _unknown_tokens(model: dict[str, Any]) -> list[str]:
    """Name the pieces that stand for text they do not write: the unknown token and, where used, bytes."""
    unknown = [model["vocab"][model["unk_id"]][0]] if model.get("unk_id") is not None else []
    unknown += [model["unk_token"]] if model.get("unk_token") else []
    return unknown + [f"<0x{byte:02X}>" for byte in range(256) if model.get("byte_fallback")]
