"""Chosen words: those of a list, those that match a pattern, those annotated in the corpus are hidden first."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import SettingsError
from clozelm.hashes import lengths_between, word_hashes
from clozelm.masking.candidates import Candidates, Selection
from clozelm.masking.pmi import joined_units, piece_words
from clozelm.masking.whole_word import choose_whole
from clozelm.vocab import ANNOTATED

_MOST_KNOWN = 1 << 20  # words remembered, about 100 MB


class Matcher:
    """Find words and phrases by their text; what a word is, the tokenizer says.

    ``phrases`` are sequences of forms (see ``form_of``), a single word a sequence of one. ``patterns`` must match
    the whole of a word, as it stands or without the punctuation around it. ``decode`` turns ids into text. What
    was found out about a word is remembered by the hash of its ids; this changes no answer.
    """

    def __init__(
        self,
        phrases: Iterable[Sequence[str]],
        patterns: Iterable[re.Pattern[str]],
        decode: Callable[[NDArray[np.int64]], str],
    ) -> None:
        self._patterns, self._decode = tuple(patterns), decode
        self._single: set[str] = set()
        self._forms: dict[str, int] = {}
        by_first: dict[int, set[tuple[int, ...]]] = {}
        for phrase in phrases:
            if len(phrase) == 1:
                self._single.add(phrase[0])
            else:
                numbers = tuple(self._forms.setdefault(form, len(self._forms) + 1) for form in phrase)
                by_first.setdefault(numbers[0], set()).add(numbers)
        self._phrases = {first: sorted(each, key=len, reverse=True) for first, each in by_first.items()}
        self._known: dict[int, int] = {}

    def find(self, candidates: Candidates, starts: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return (first word, number of words) of what is found in a document piece, the longest first come.

        ``starts`` are where the words begin, see ``piece_words``.
        """
        keys = word_hashes(candidates.input_ids, starts).tolist()
        known = self._known
        codes = [known.get(key, -1) for key in keys]
        if -1 in codes:
            self._learn(candidates, starts, keys, codes)
        found: list[tuple[int, int]] = []
        stop = 0
        for first in [index for index, code in enumerate(codes) if code]:
            length = self._length(codes, first) if first >= stop else 0
            if length:
                found.append((first, length))
                stop = first + length
        return found

    def _length(self, codes: list[int], first: int) -> int:
        """Count the words of the longest match that begins at a word; 0 where none does."""
        for phrase in self._phrases.get(codes[first] >> 1, ()):
            if tuple(code >> 1 for code in codes[first : first + len(phrase)]) == phrase:
                return len(phrase)
        return codes[first] & 1

    def _learn(self, candidates: Candidates, starts: NDArray[np.int64], keys: list[int], codes: list[int]) -> None:
        """Fill in the codes that are -1: 1 if the word is chosen alone, plus twice its number among the forms."""
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        stops = [*starts[1:].tolist(), candidates.input_ids.size]
        for index, code in enumerate(codes):
            if code < 0:
                start = int(starts[index])
                is_word = bool(candidates.may_mask[start])
                codes[index] = self._code(candidates.input_ids[start : stops[index]]) if is_word else 0
                self._known[keys[index]] = codes[index]

    def _code(self, ids: NDArray[np.int64]) -> int:
        text = self._decode(ids).strip()
        form = form_of(text)
        is_match = any(pattern.fullmatch(text) or pattern.fullmatch(form) for pattern in self._patterns)
        return int(is_match or form in self._single) + 2 * self._forms.get(form, 0)


@dataclass(frozen=True)
class Chosen:
    """Hide the words that ``matcher`` finds, and those with an annotated token, before any other.

    A phrase is one unit, and so is a run of annotated words: two annotations side by side cannot be told apart.
    The chosen units are taken in random order until the token budget is spent; with ``fill`` what is left of it
    goes to other words, so that the mean rate is ``rate``; without, only chosen ones are hidden, and the one token
    that every document piece must predict where it has none.
    Sources: Sun et al. 2019, "ERNIE: enhanced representation through knowledge integration" (entities and phrases);
    Gu et al. 2020, "Train no evil: selective masking for task-guided pre-training" (words that matter for a task).
    Relations: Equals ``whole_word`` where nothing is found and ``fill`` is true.
    """

    matcher: Matcher | None = None
    annotated: bool = False
    fill: bool = True

    def select(self, candidates: Candidates, rng: np.random.Generator) -> Selection:
        """Choose words in one document piece; may choose none."""
        starts, is_chosen, is_inner = self._words(candidates)
        preferred = is_chosen.repeat(lengths_between(starts, candidates.may_mask.size))
        unit = joined_units(candidates, starts[is_inner])
        return choose_whole(unit, candidates, rng, preferred=preferred, fill=self.fill)

    def prefers(self, candidates: Candidates) -> NDArray[np.bool_]:
        """Tell of every token of a document piece whether its word is one that is hidden first."""
        starts, is_chosen, _ = self._words(candidates)
        return is_chosen.repeat(lengths_between(starts, candidates.may_mask.size))

    def _words(self, candidates: Candidates) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Return where words begin, which are chosen, and which of these belong to the one before."""
        starts = piece_words(candidates)
        is_chosen = np.zeros(starts.size, dtype=np.bool_)
        is_inner = np.zeros(starts.size, dtype=np.bool_)
        for first, length in self.matcher.find(candidates, starts) if self.matcher is not None else ():
            is_chosen[first : first + length] = True
            is_inner[first + 1 : first + length] = True
        if self.annotated:
            is_marked = np.bitwise_or.reduceat(candidates.flags & ANNOTATED, starts) != 0
            is_chosen |= is_marked
            is_inner[1:] |= is_marked[1:] & is_marked[:-1]
        return starts, is_chosen, is_inner


def form_of(text: str) -> str:
    """Return a word without white space and punctuation around it; one of punctuation alone stays as it is."""
    text = text.strip()
    first, stop = 0, len(text)
    while first < stop and not text[first].isalnum():
        first += 1
    while stop > first and not text[stop - 1].isalnum():
        stop -= 1
    return text[first:stop] or text


def compiled(patterns: Iterable[str]) -> list[re.Pattern[str]]:
    """Compile patterns; one that is none is a ``SettingsError``."""
    compiled_ones = []
    for pattern in patterns:
        if not pattern:
            raise SettingsError("masking.chosen.patterns: '' matches no word: leave it out.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of what a later Python may read otherwise
                compiled_ones.append(re.compile(pattern))
        except (re.error, OverflowError, RecursionError) as error:
            raise SettingsError(
                f"masking.chosen.patterns: {pattern!r} is not a regular expression ({error}); Python's are meant."
            ) from None
    return compiled_ones
