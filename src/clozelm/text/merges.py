"""Go on with BPE training where a tokenizer's merges stop."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

Pair = tuple[int, int]
Merges = dict[Pair, tuple[int, int]]


class MergeLearner:
    """Merge the most frequent pair of adjacent pieces, again and again (Sennrich et al. 2016, section 3.2).

    Starting from the pieces that a trained tokenizer writes words with is "continued BPE training" (Purason et
    al. 2025, arXiv 2512.03989): every new piece is reached by a merge, which the words of another vocabulary
    would not be. Of equally frequent pairs the one with the lowest ids is merged first.
    """

    def __init__(self, vocab: Mapping[str, int], merges: Sequence[Sequence[str]]) -> None:
        """Take a vocabulary, which stays as it is, and the merges so far, first ones first."""
        self._ids = dict(vocab)
        self._texts = {number: piece for piece, number in vocab.items()}
        self._merges: Merges = {}
        for rank, (first, second) in enumerate(merges):
            self._merges[vocab[first], vocab[second]] = (rank, vocab[first + second])
        self.words: list[list[int]] = []  # in their present pieces
        self._times: list[int] = []
        self._counts: dict[Pair, int] = {}
        self._places: dict[Pair, set[int]] = {}  # may name words that have the pair no more
        self._queue: list[tuple[int, Pair]] = []

    def add_word(self, ids: list[int], times: int) -> None:
        """Add a word in its present pieces, the merges so far all done."""
        if len(ids) > 1:
            self.words.append(ids)
            self._times.append(times)
            self._count(len(self.words) - 1, ids)

    def learn(
        self, first_id: int, count: int, *, min_count: int, never: Container[str]
    ) -> Iterator[tuple[str, str, int]]:
        """Yield merges, as two pieces and the id of the third, until ``count`` ids are given or pairs get rare.

        A merge into a piece that is there already costs no id. Pieces in ``never`` are not made.
        """
        self._queue = [(-times, pair) for pair, times in self._counts.items()]
        heapify(self._queue)
        next_id = first_id
        while next_id < first_id + count and (pair := self._most_frequent(min_count)) is not None:
            first, second = (self._texts[each] for each in pair)
            merged = first + second
            if merged in never:
                continue
            is_new = merged not in self._ids
            number = self._ids.setdefault(merged, next_id)
            self._texts[number] = merged
            next_id += is_new
            self._merges[pair] = (len(self._merges), number)
            self._merge(pair, number, is_new=is_new)
            yield first, second, number

    def _most_frequent(self, min_count: int) -> Pair | None:
        """Take the pair from the queue, whose counts may be too high; None when the best is too rare."""
        while self._queue:
            negative, pair = heappop(self._queue)
            now = self._counts.get(pair, 0)
            if now == -negative:
                return pair if now >= min_count else None
            if now:
                heappush(self._queue, (-now, pair))
        return None

    def _merge(self, pair: Pair, number: int, *, is_new: bool) -> None:
        changed: set[Pair] = set()
        for place in self._places.pop(pair):
            before = self.words[place]
            # A new piece is in no earlier merge; one that was there may set earlier merges going.
            after = merged_once(before, pair, number) if is_new else merged_fully(before, self._merges)
            self.words[place] = after
            for each in pairwise(before):
                self._counts[each] -= self._times[place]
            changed.update(each for each in self._count(place, after) if number in each or not is_new)
        for each in changed:
            heappush(self._queue, (-self._counts[each], each))

    def _count(self, place: int, word: list[int]) -> list[Pair]:
        pairs = list(pairwise(word))
        for pair in pairs:
            self._counts[pair] = self._counts.get(pair, 0) + self._times[place]
            self._places.setdefault(pair, set()).add(place)
        return pairs


def merged_once(word: list[int], pair: Pair, number: int) -> list[int]:
    """Merge every occurrence of one pair, from the left."""
    merged: list[int] = []
    at = 0
    while at < len(word):
        is_pair = at + 1 < len(word) and word[at] == pair[0] and word[at + 1] == pair[1]
        merged.append(number if is_pair else word[at])
        at += 2 if is_pair else 1
    return merged


def merged_fully(word: list[int], merges: Merges) -> list[int]:
    """Merge by rank, one place at a time, the leftmost first, until no merge applies."""
    word = list(word)
    while True:
        found = [(merges[pair], at) for at, pair in enumerate(pairwise(word)) if pair in merges]
        if not found:
            return word
        (_, number), at = min(found)
        word[at : at + 2] = [number]
