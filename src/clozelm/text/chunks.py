"""Cut text at white space where a tokenizer never looks across, and remember what each chunk encodes to.

A chunk is kept as packed uint32 pieces: the id in the low 24 bits, flags above. One class per way of cutting;
each says for which normalisers and pre-tokenizers its cuts change nothing, and refuses the chunks where they
would.
"""

from __future__ import annotations

import json
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from clozelm.text.sentences import BREAK, sentence_breaks, sentence_starts, written_words
from clozelm.text.tokenizer import encoded
from clozelm.vocab import SENTENCE_START, WORD_START

ID_BITS = 24
BLANK = 1 << 30  # first piece of a word of white space alone
ENDS_SENTENCE = 1 << 31  # on the last piece of a chunk: the next written word begins a sentence
REFUSED = np.uint32(0xFFFFFFFF).tobytes()

_WORD = WORD_START << ID_BITS
_SENTENCE = SENTENCE_START << ID_BITS
_LONGEST_KEPT = 48
_BERT_WORDS = re.compile(r"[0-9A-Za-z]+|[!-/:-@\[-`{-~]")
_GPT2_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
_SPACES = " \t\n\r\x0b\x0c\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_UNUSUAL_SPACES = _SPACES.replace(" ", "", 1).replace("\n", "", 1)
_MIXED_RUN = re.compile(rf"[{_UNUSUAL_SPACES}][{_SPACES}]|[{_SPACES}][{_UNUSUAL_SPACES}]")
_BEFORE_LAST_SPACE = re.compile(rf"(?=[{_SPACES}][^\s{_SPACES}])")
_CONTEXT_FREE = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Precompiled", "Strip"}
_KEEP_ASCII = {"NFC", "NFD", "NFKC", "NFKD", "StripAccents"}
_COLLAPSING = ({"Regex": " {2,}"}, {"Regex": r"\s+"})
# Grapheme clusters reach across a cut only through marks and format characters after it and these letters
# before it (Unicode annex 29, GB9a and GB9b); Precompiled normalisers work on clusters.
_PREPENDED = set("\u0d4e\U000111c2\U000111c3\U000113d1\U0001193f\U00011941\U00011a3a\U00011d46\U00011f02") | {
    chr(code) for code in range(0x11A84, 0x11A8A)
}


class Chunks(dict[str, bytes]):
    """What each chunk encodes to, computed when first asked for and kept while there is room."""

    def __init__(self, library: tokenizers.Tokenizer, max_chunks: int) -> None:
        super().__init__()
        self._library = library
        self._model = library.model
        self._max_chunks = max_chunks
        self._words: dict[str, bytes] = {}

    def encode(self, text: str) -> bytes | None:
        """Encode a text chunk by chunk; None where only the library can."""
        joined = self._plain(text)
        if REFUSED in joined:
            return self._careful(text)
        return joined

    def __missing__(self, chunk: str) -> bytes:
        packed = self._chunk(chunk)
        if len(self) < self._max_chunks and len(chunk) <= _LONGEST_KEPT:
            self[chunk] = packed
        return packed

    def _plain(self, text: str) -> bytes:
        """Cut at every space and before every line end."""
        return b"".join(map(self.__getitem__, _split(text)))

    def _careful(self, text: str) -> bytes | None:
        raise NotImplementedError

    def _chunk(self, chunk: str) -> bytes:
        raise NotImplementedError

    def _whole(self, text: str) -> bytes:
        encoding = self._library.encode(text, add_special_tokens=False)
        breaks = sentence_breaks(text)
        bare = text.removeprefix(" ")
        if bare.split() != [bare] or breaks not in ([], [len(text)]):
            return pack(text, encoding).tobytes()
        packed = encoding.ids  # one written word: every word start is as it seems, a break is at its end
        last = None
        for index, word in enumerate(encoding.word_ids):
            if word != last:
                packed[index] |= _WORD
                last = word
        if breaks and packed:
            packed[-1] |= ENDS_SENTENCE
        return array("I", packed).tobytes()

    def _of_words(self, chunk: str, words: Iterable[str]) -> bytes:
        """Join the pieces of words; a line end before the chunk and a full stop after it become flags."""
        known = self._words
        packed = b"".join([known.get(word) or self._new_word(word) for word in words])
        if chunk[0] == "\n":
            packed = _with_bits(packed, 0, _SENTENCE)
        if chunk[-1] in "\"').?!]}" and BREAK.search(chunk, 1 if chunk[0] == "\n" else 0):
            packed = _with_bits(packed, -4, ENDS_SENTENCE)
        return packed

    def _new_word(self, word: str) -> bytes:
        ids = [token.id for token in self._model.tokenize(word)]
        if ids:
            ids[0] |= _WORD
        packed = array("I", ids).tobytes()
        if len(self._words) < self._max_chunks:
            self._words[word] = packed
        return packed


class BertChunks(Chunks):
    """BertNormalizer and BertPreTokenizer: white space separates words and means nothing else."""

    def __init__(self, library: tokenizers.Tokenizer, max_chunks: int, *, is_lowercase: bool) -> None:
        super().__init__(library, max_chunks)
        self._is_lowercase = is_lowercase
        self[""] = b""
        self["\n"] = REFUSED  # an empty line has no piece that could carry its flag

    def _careful(self, text: str) -> bytes | None:
        joined = self._plain(re.sub(r" *\n[ \n]*", "\n", text.strip(" \n")))
        return None if REFUSED in joined else joined

    def _chunk(self, chunk: str) -> bytes:
        if not _is_plain(chunk):
            return self._whole_or_refused(chunk)
        lowered = chunk.lower() if self._is_lowercase else chunk
        return self._of_words(chunk, _BERT_WORDS.findall(lowered))

    def _whole_or_refused(self, chunk: str) -> bytes:
        packed = self._whole(chunk)
        return packed or (REFUSED if BREAK.search(chunk) else b"")


class ByteLevelChunks(Chunks):
    """ByteLevel with the GPT-2 pattern: the last white space of a run begins a chunk, a space joins its word.

    The keys are chunks as written, except that a chunk's leading space is left out; ``_starts`` has those as
    written.
    """

    def __init__(
        self, library: tokenizers.Tokenizer, max_chunks: int, *, has_plain_ascii: bool, adds_space: bool
    ) -> None:
        super().__init__(library, max_chunks)
        self._has_plain_ascii = has_plain_ascii
        self._adds_space = adds_space
        self._starts: dict[str, bytes] = {}
        self[""] = self["\n"] = REFUSED

    def encode(self, text: str) -> bytes | None:
        """Encode a text, with a space before it if the pre-tokenizer adds one; None for runs of mixed white space.

        Such a run is one word, and a cut at its line end would part what the model may merge.
        """
        if _MIXED_RUN.search(text):
            return None
        return super().encode(" " + text if self._adds_space and not text.startswith(" ") else text)

    def _plain(self, text: str) -> bytes:
        head, *tail = _split(text)
        return b"".join([self._as_written(head) if head else b"", *map(self.__getitem__, tail)])

    def _careful(self, text: str) -> bytes | None:
        return b"".join(map(self._as_written, _BEFORE_LAST_SPACE.split(text)))

    def _chunk(self, chunk: str) -> bytes:
        if chunk[0] == "\n":
            return self._as_written(chunk)
        return REFUSED if chunk[0].isspace() or chunk[0] in _SPACES else self._encode_written(" " + chunk)

    def _as_written(self, written: str) -> bytes:
        if not written:
            return b""
        packed = self._starts.get(written)
        if packed is None:
            packed = self._encode_written(written)
            if len(self._starts) < self._max_chunks // 4 and len(written) <= _LONGEST_KEPT:
                self._starts[written] = packed
        return packed

    def _encode_written(self, written: str) -> bytes:
        if not self._has_plain_ascii or written[-1] in " \n" or not _is_plain(written):
            return self._whole(written)
        words = _GPT2_WORDS.findall(written)
        if written[0] != "\n":
            return self._of_words(written, [word.replace(" ", "Ġ") for word in words])
        line_end = bytearray(self._of_words("Ċ", ["Ċ"]))
        line_end[3] |= BLANK >> ID_BITS
        rest = self._of_words(written[1:], [word.replace(" ", "Ġ") for word in words[1:]])
        return bytes(line_end) + _with_bits(rest, 0, _SENTENCE)


class MetaspaceChunks(Chunks):
    """Metaspace, split into words: a space begins the next word."""

    def __init__(self, library: tokenizers.Tokenizer, max_chunks: int, *, collapses: bool) -> None:
        super().__init__(library, max_chunks)
        normalizer = library.normalizer
        self._normalize: Callable[[str], str] = normalizer.normalize_str if normalizer else str
        self._collapses = collapses
        self._is_line_end_space = self._normalize("a\nb") == "a b"
        self[""] = self["\n"] = REFUSED

    def _plain(self, text: str) -> bytes:
        chunks = _split(text) if self._is_line_end_space else text.split(" ")
        return b"".join(map(self.__getitem__, chunks))

    def _careful(self, text: str) -> bytes | None:
        if not self._collapses or text != text.strip(" \n"):
            return None
        squeezed = re.sub(" {2,}", " ", text)
        if self._is_line_end_space:
            squeezed = re.sub(r" ?\n[ \n]*", "\n", squeezed)
        joined = self._plain(squeezed)
        return None if REFUSED in joined else joined

    def _chunk(self, chunk: str) -> bytes:
        bare = chunk.removeprefix("\n") if self._is_line_end_space else chunk
        normal = self._normalize(bare)
        if not normal or normal.split() != [normal] or "▁" in normal or _may_join(bare):
            return REFUSED
        if not bare.isascii() or "\n" in bare:
            return self._whole(chunk)
        return self._of_words(chunk, ["▁" + normal])


def chunks_for(library: tokenizers.Tokenizer, definition: dict[str, Any], max_chunks: int) -> Chunks | None:
    """Choose how to cut for a tokenizer, None where its pipeline is not known to allow any cut."""
    normalizers = _flat(definition["normalizer"], "normalizers")
    pre = definition["pre_tokenizer"] or {}
    kinds = {each["type"] for each in normalizers}
    if pre.get("type") == "BertPreTokenizer" and kinds == {"BertNormalizer"}:
        if not normalizers[0]["clean_text"]:
            return None
        return BertChunks(library, max_chunks, is_lowercase=normalizers[0]["lowercase"])
    if (
        pre.get("type") == "ByteLevel"
        and pre.get("use_regex", True)
        and kinds <= _CONTEXT_FREE - {"Strip", "Precompiled"}
    ):
        return _byte_level(library, definition, max_chunks, has_plain_ascii=kinds <= _KEEP_ASCII)
    if pre.get("type") == "Metaspace" and pre.get("split") and pre.get("prepend_scheme") in ("always", "first"):
        if not all(_is_context_free(each) for each in normalizers):
            return None
        return MetaspaceChunks(library, max_chunks, collapses=any(_is_collapsing(each) for each in normalizers))
    return None


def pack(text: str, encoding: tokenizers.Encoding) -> NDArray[np.uint32]:
    """Pack the library's ids with their flags; those of the next chunk's first word as marks."""
    ids, word_starts, offsets = encoded(text, encoding)
    packed: NDArray[np.uint32] = ids.astype(np.uint32)
    if not len(packed):
        return packed
    starts = sentence_starts(text, word_starts, offsets)
    words, characters = written_words(word_starts, offsets)
    breaks = sentence_breaks(text)
    starts[0] = starts[0] and bool(breaks) and len(words) > 0 and words[0] == 0 and characters[0] >= breaks[0]
    blanks = word_starts.copy()
    blanks[words] = False
    packed |= word_starts.astype(np.uint32) * np.uint32(_WORD)
    packed |= starts.astype(np.uint32) * np.uint32(_SENTENCE)
    packed |= blanks.astype(np.uint32) * np.uint32(BLANK)
    if breaks and (not len(words) or breaks[-1] > characters[-1]):
        packed[-1] |= np.uint32(ENDS_SENTENCE)
    return packed


def _is_plain(chunk: str) -> bool:
    """Tell whether a chunk is printable ASCII, but for the line end before it."""
    bare = chunk[1:] if chunk[0] == "\n" else chunk
    return bare.isascii() and bare.isprintable()


def _split(text: str) -> list[str]:
    return (text.replace("\n", " \n") if "\n" in text else text).split(" ")


def _byte_level(
    library: tokenizers.Tokenizer, definition: dict[str, Any], max_chunks: int, *, has_plain_ascii: bool
) -> Chunks:
    pre = definition["pre_tokenizer"]
    without_space = definition | {"pre_tokenizer": pre | {"add_prefix_space": False}}
    bare = tokenizers.Tokenizer.from_str(json.dumps(without_space))
    bare.encode_special_tokens = True
    return ByteLevelChunks(
        bare, max_chunks, has_plain_ascii=has_plain_ascii, adds_space=bool(pre["add_prefix_space"])
    )


def _with_bits(packed: bytes, at: int, bits: int) -> bytes:
    changed = bytearray(packed)
    changed[at + 3] |= bits >> ID_BITS
    return bytes(changed)


def _may_join(chunk: str) -> bool:
    return (
        unicodedata.category(chunk[0])[0] == "M"
        or "Cf" in map(unicodedata.category, chunk[:: max(1, len(chunk) - 1)])
        or (chunk[-1] in _PREPENDED)
    )


def _flat(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return [each for inner in part[key] for each in _flat(inner, key)] if part["type"] == "Sequence" else [part]


def _is_context_free(normalizer: dict[str, Any]) -> bool:
    if normalizer["type"] != "Replace":
        return normalizer["type"] in _CONTEXT_FREE
    if _is_collapsing(normalizer):
        return True
    pattern = normalizer["pattern"].get("String", " ")
    return not any(character.isspace() for character in pattern + normalizer["content"])


def _is_collapsing(normalizer: dict[str, Any]) -> bool:
    return normalizer["type"] == "Replace" and normalizer["pattern"] in _COLLAPSING and normalizer["content"] == " "
