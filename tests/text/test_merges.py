"""Continued BPE training, against the definition: everything counted anew after every merge."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from tokenizers import models

from clozelm.text.merges import MergeLearner


def test_merges_into_a_piece_that_exists_cost_no_id() -> None:
    vocab = {piece: number for number, piece in enumerate(["a", "b", "c", "d", "ab", "bc", "abc", "abcd"])}
    merges = [("a", "b"), ("b", "c"), ("a", "bc"), ("abc", "d")]
    learner = MergeLearner(vocab, merges)
    learner.add_word([4, 2, 3, 1], 9)
    learner.add_word([4, 2, 0], 8)
    learned = list(learner.learn(8, 2, min_count=1, never=()))
    assert learned == [("ab", "c", 6), ("abcd", "b", 8), ("abc", "a", 9)]
    assert learner.words == [[8], [9]]


def test_pieces_never_to_be_made_are_not() -> None:
    learner = MergeLearner({"a": 0, "b": 1, "c": 2}, [])
    learner.add_word([0, 1, 2], 5)
    assert list(learner.learn(3, 5, min_count=1, never={"ab", "abc"})) == [("b", "c", 3)]


def counted_anew(
    vocab: dict[str, int], merges: list[tuple[str, str]], words: dict[str, int], count: int, min_count: int
) -> tuple[list[tuple[str, str, int]], list[list[int]]]:
    """The definition: cut every word with all merges so far, count all pairs, merge the most frequent."""
    learned: list[tuple[str, str, int]] = []
    size = len(vocab) + count
    while True:
        tokenize = models.BPE(vocab, [*merges, *((a, b) for a, b, _ in learned)]).tokenize
        cut = [[piece.id for piece in tokenize(word)] for word in words]
        pairs: Counter[tuple[int, int]] = Counter()
        for pieces, times in zip(cut, words.values(), strict=True):
            pairs.update({pair: times * number for pair, number in Counter(pairwise(pieces)).items()})
        most = max(pairs.values(), default=0)
        if most < min_count or len(vocab) == size:
            return learned, cut
        names = {number: piece for piece, number in vocab.items()}
        first, second = (names[each] for each in min(pair for pair, times in pairs.items() if times == most))
        vocab = {first + second: len(vocab)} | vocab
        learned.append((first, second, vocab[first + second]))


@pytest.mark.parametrize("seed", range(25))
def test_merges_are_those_of_counting_anew(seed: int) -> None:
    """Over merges in any order, so that a new one may set earlier ones going."""
    rng = random.Random(seed)
    pieces, merges = list("abc"), []
    for _ in range(15):
        pair = rng.choice(pieces), rng.choice(pieces)
        if pair not in merges and len("".join(pair)) <= 6:
            merges.append(pair)
            pieces += [] if "".join(pair) in pieces else ["".join(pair)]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    words = {"".join(rng.choices("abc", k=rng.randint(1, 12))): rng.randint(1, 9) for _ in range(40)}
    expected, cut = counted_anew(vocab, merges, words, 20, 3)
    learner = MergeLearner(vocab, merges)
    tokenize = models.BPE(vocab, merges).tokenize
    starts = [[piece.id for piece in tokenize(word)] for word in words]
    for ids_of_word, times in zip(starts, words.values(), strict=True):
        learner.add_word(ids_of_word, times)
    assert list(learner.learn(len(vocab), 20, min_count=3, never=())) == expected
    assert learner.words == [after for before, after in zip(starts, cut, strict=True) if len(before) > 1]
