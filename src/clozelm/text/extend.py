"""Add the words of a domain to a tokenizer: new pieces in its own model, their ids after all old ones."""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import tokenizers

from clozelm.errors import ModelError, SettingsError
from clozelm.text.merges import MergeLearner
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.word_counts import WordCounter

MIN_COUNT = 10
_JUST_ABOVE = 0.001  # nats; more than rounding, less than any real preference
_INSIDE = "-'’"
_PENALTY = 10.0  # nats below the rarest piece that an unknown character costs: the library's K_UNK_PENALTY


@dataclass(frozen=True)
class Extension:
    """A tokenizer with new pieces, and the old ids that each was written with before.

    ``pieces`` is in the order of the new ids, the last ``len(pieces)`` of the vocabulary. It holds the unknown
    token where the old tokenizer knew no better.
    """

    tokenizer: Tokenizer
    pieces: list[list[int]]


def extend(tokenizer: Tokenizer, texts: Iterable[str], count: int, *, min_count: int = MIN_COUNT) -> Extension:
    """Learn at most ``count`` new pieces from texts and add them; fewer where the texts give no more.

    WordPiece and Unigram get whole words, those first whose pieces cost most: occurrences x (pieces - 1). Words
    without a letter are left out, unless they are unknown; an unknown word counts as two pieces. Byte-level BPE
    gets merges. Words and merges of fewer than ``min_count`` occurrences are not added. The result depends on
    the tokenizer and the texts only.

    Old ids keep their meaning. Text is written differently only in words that are new or, in WordPiece, begin
    with a new word; in Unigram, where the pieces of a word began with those of a new one; in BPE, where a pair
    is merged.
    """
    for name, value in (("count", count), ("min_count", min_count)):
        if value < 1:
            raise SettingsError(f"{name}={value} must be 1 or more: the pieces to add, and how often each occurs.")
    if tokenizer.kind not in _LEARNERS:
        raise ModelError(
            f"a {tokenizer.definition['model']['type']} tokenizer does not cut words into pieces: only WordPiece, "
            "Unigram and byte-level BPE tokenizers can be extended."
        )
    old = _Old(tokenizer)
    learned = _LEARNERS[tokenizer.kind](old, texts, count, min_count)
    if not learned:
        return Extension(tokenizer, [])
    backend = tokenizers.Tokenizer.from_str(json.dumps(old.definition))
    return Extension(Tokenizer(backend, tokenizer.config), [old.pieces(piece) for piece in learned])


class _Old:
    """The tokenizer before: what it writes a word with, and a definition to change."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.definition: dict[str, Any] = json.loads(tokenizer.backend.to_str())
        self.model: dict[str, Any] = self.definition["model"]
        self.vocab_size = tokenizer.vocab_size
        self.added = {token["content"]: token["id"] for token in self.definition["added_tokens"]}
        self.library = self._for_learning()
        self._tokenize = self.library.model.tokenize

    def pieces(self, word: str) -> list[int]:
        return [piece.id for piece in self._tokenize(word)]

    def count_words(self, texts: Iterable[str], *, keeps_space: bool = False) -> dict[str, int]:
        return WordCounter(self.library, self.definition, keeps_space=keeps_space).count(texts)

    def _for_learning(self) -> tokenizers.Tokenizer:
        """Copy the library's tokenizer without dropout, without added spaces and with special tokens as text."""
        pre_tokenizer = copy.deepcopy(self.definition["pre_tokenizer"])
        for part in _parts(pre_tokenizer):
            if part["type"] == "ByteLevel":
                part["add_prefix_space"] = False
        model = self.model | ({"dropout": None} if self.model["type"] == "BPE" else {})
        definition = self.definition | {"model": model, "pre_tokenizer": pre_tokenizer}
        library = tokenizers.Tokenizer.from_str(json.dumps(definition))
        library.encode_special_tokens = True
        return library


def _extend_wordpiece(old: _Old, texts: Iterable[str], count: int, min_count: int) -> list[str]:
    """Add whole words, which the longest match from the left then finds.

    A longer word goes on from there, and becomes unknown if what is left of it cannot be written; in the files
    of BERT every character can be.
    """
    prefix, longest = old.model["continuing_subword_prefix"], old.model["max_input_chars_per_word"]
    vocab = old.model["vocab"]
    words = {
        word: times
        for word, times in old.count_words(texts).items()
        if len(word) <= longest and not word.startswith(prefix)
    }
    learned = _most_saved(old, words, count, min_count, vocab.get(old.model["unk_token"]))
    _insert_added_tokens(old)
    vocab |= {word: old.vocab_size + rank for rank, word in enumerate(learned)}
    return learned


def _extend_unigram(old: _Old, texts: Iterable[str], count: int, min_count: int) -> list[str]:
    """Add whole words just above the score of their pieces, so that no other word changes its pieces for them.

    A word is what stands between spaces, up to the first punctuation that is no hyphen and no apostrophe.
    """
    vocab = old.model["vocab"]
    scores = dict(vocab)
    words: dict[str, int] = {}
    for written, times in old.count_words(texts).items():
        word = _before_punctuation(written)
        if word and word not in scores:
            words[word] = words.get(word, 0) + times
    learned = _most_saved(old, words, count, min_count, old.model["unk_id"])
    unknown = min(scores.values()) - _PENALTY
    for token in sorted(old.added.keys() - scores.keys(), key=old.added.__getitem__):
        # A list has no gaps: an added token that lies after it takes its place in it. Its score is below that of
        # its pieces, so that it is not found as a piece, unless it has characters that are no pieces.
        vocab.append([token, round(best_score(token, scores, unknown) - 1, 6)])
    for word in sorted(learned, key=len):
        scores[word] = round(best_score(word, scores, unknown) + _JUST_ABOVE, 6)
    vocab += [[word, scores[word]] for word in learned]
    return learned


def _extend_bpe(old: _Old, texts: Iterable[str], count: int, min_count: int) -> list[str]:
    if not any(part["type"] == "ByteLevel" for part in _parts(old.definition["pre_tokenizer"])):
        raise ModelError("the tokenizer's BPE is not byte-level, which alone of all BPE can be extended.")
    vocab = old.model["vocab"]
    learner = MergeLearner(vocab, old.model["merges"])
    for word, times in old.count_words(texts, keeps_space=True).items():
        learner.add_word(old.pieces(word), times)
    merges = list(learner.learn(old.vocab_size, count, min_count=min_count, never=old.added))
    new = {number: first + second for first, second, number in merges if number >= old.vocab_size}
    _insert_added_tokens(old)
    vocab |= {piece: number for number, piece in new.items()}
    old.model["merges"] += [[first, second] for first, second, _ in merges]
    return list(new.values())


_LEARNERS: dict[str, Callable[[_Old, Iterable[str], int, int], list[str]]] = {
    "wordpiece": _extend_wordpiece,
    "unigram": _extend_unigram,
    "bpe": _extend_bpe,
}


def _insert_added_tokens(old: _Old) -> None:
    """Name the added tokens in the model: the library renumbers those that it does not find there."""
    for token, number in old.added.items():
        old.model["vocab"].setdefault(token, number)


def _most_saved(old: _Old, words: dict[str, int], count: int, min_count: int, unk_id: int | None) -> list[str]:
    """List the words by what one piece for them saves, the first in the alphabet of equal ones first."""
    saved: list[tuple[int, str]] = []
    for word, times in words.items():
        if times < min_count or word in old.added:
            continue
        ids = old.pieces(word)
        if unk_id in ids:
            saved.append((-times * max(1, len(ids) - 1), word))
        elif len(ids) > 1 and any(map(str.isalpha, word)):
            saved.append((-times * (len(ids) - 1), word))
    return [word for _, word in sorted(saved)[:count]]


def best_score(word: str, scores: dict[str, float], unknown: float) -> float:
    """Find the score of the best pieces for a word, ``unknown`` for a character that is no piece (Viterbi)."""
    best = [0.0] + [-float("inf")] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(end):
            default = unknown if end - start == 1 else -float("inf")
            best[end] = max(best[end], best[start] + scores.get(word[start:end], default))
    return best[-1]


def _before_punctuation(written: str) -> str:
    """Cut a word off at its first punctuation but hyphens and apostrophes; what begins with some is no word."""
    mark = "▁" if written.startswith("▁") else ""
    bare = written.removeprefix(mark)
    stops = (at for at, character in enumerate(bare) if _is_punctuation(character) and character not in _INSIDE)
    bare = bare[: next(stops, len(bare))].rstrip(_INSIDE)
    return mark + bare if bare and "▁" not in bare and bare[0] not in _INSIDE else ""


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


def _parts(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield a pre-tokenizer or those of a sequence."""
    if part is not None:
        yield from part["pretokenizers"] if part["type"] == "Sequence" else [part]
