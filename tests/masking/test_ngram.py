import numpy as np
import pytest

from clozelm.errors import SettingsError
from clozelm.masking import Candidates, Ngram


def long_piece(num_words: int, *, seed: int) -> Candidates:
    """[CLS], words of one to a few tokens with an unknown token now and then, [SEP]."""
    rng = np.random.default_rng(seed)
    word_starts = rng.random(num_words) < 0.75
    may_mask = rng.random(num_words) > 0.001
    word_starts[0], word_starts[-1], word_starts[1] = False, False, True
    may_mask[[0, -1]] = False
    word_starts |= ~may_mask & (np.arange(num_words) % (num_words - 1) > 0)
    return Candidates(np.arange(num_words), may_mask, word_starts, np.zeros(num_words, np.uint8), 0.0)


def chosen_lengths(longest: int, rate: float) -> np.ndarray:
    """Count the chosen n-grams of long pieces by their number of words, 0 .. longest."""
    rng = np.random.default_rng(2)
    counts = np.zeros(longest + 1, dtype=np.int64)
    for seed in range(20):
        candidates = long_piece(5000, seed=seed)._replace(rate=rate)
        chosen, group = Ngram(longest).select(candidates, rng)
        words = np.bincount(group[chosen & candidates.word_starts])
        counts += np.bincount(words[words > 0], minlength=longest + 1)
    return counts


@pytest.mark.parametrize("rate", [0.15, 0.5])
@pytest.mark.parametrize("longest", [1, 2, 3, 5])
def test_lengths_are_as_the_paper_draws_them(longest: int, rate: float) -> None:
    counts = chosen_lengths(longest, rate)
    weights = np.array([0.0, *(1 / n for n in range(1, longest + 1))])
    expected = counts.sum() * weights / weights.sum()
    deviation = np.sqrt(expected * (1 - expected / counts.sum()))
    assert counts.sum() > 4000
    assert (abs(counts - expected) <= 4 * deviation).all(), (counts, expected)


def test_a_special_token_between_words_parts_them_and_one_inside_sets_a_word_apart() -> None:
    """Words ab, c, d?e and f, an unknown token, g: with n-grams long enough to take what they may."""
    tokens = "^ab c d?e f ? g$"
    pieces = [character for character in tokens if character != " "]
    starts = [index for index, character in enumerate(tokens) if index and tokens[index - 1] in " ^"]
    positions = {index: number for number, index in enumerate(i for i, c in enumerate(tokens) if c != " ")}
    word_starts = np.zeros(len(pieces), np.bool_)
    word_starts[[positions[index] for index in starts]] = True
    may_mask = np.array([piece.isalpha() for piece in pieces])
    candidates = Candidates(np.arange(len(pieces)), may_mask, word_starts, np.zeros(len(pieces), np.uint8), 0.5)
    seen = set()
    for seed in range(300):
        group = Ngram(5).select(candidates, np.random.default_rng(seed)).group
        numbers = np.unique(group[may_mask])
        seen |= {"".join(np.array(pieces)[may_mask & (group == number)]) for number in numbers}
    assert seen == {"ab", "c", "abc", "de", "f", "g"}


def test_an_ngram_has_words() -> None:
    with pytest.raises(SettingsError, match=r"^longest=0 must be at least 1 word \(ALBERT uses 3\)\.$"):
        Ngram(longest=0)
