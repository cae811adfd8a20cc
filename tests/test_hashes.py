import numpy as np

from clozelm.hashes import HashSet, lengths_between, longer_hashes, word_hashes


def test_a_word_is_its_ids_in_order_wherever_it_stands() -> None:
    ids = np.array([5, 6, 7, 6, 5, 5, 6, 5, 6, 7])
    starts = np.array([0, 2, 3, 5, 7])
    keys = word_hashes(ids, starts)
    assert keys.dtype == np.uint64
    assert keys[0] == keys[3] == word_hashes(np.array([9, 5, 6], np.uint16), np.array([1]))[0]
    assert len({*keys.tolist()}) == 4, "65 is not 56, 567 is not 56"
    assert word_hashes(ids, np.empty(0, np.int64)).size == 0


def test_runs_of_words_are_those_of_their_words() -> None:
    words = word_hashes(np.arange(6) % 3, np.arange(6))
    pairs = longer_hashes(words, words)
    triples = longer_hashes(pairs, words)
    assert pairs.size == 5
    assert triples.size == 4
    assert pairs[0] == pairs[3] != pairs[1]
    assert triples[0] == triples[3] != triples[1]
    assert longer_hashes(longer_hashes(words[:2], words[:2]), words[:2]).size == 0


def test_hashes_of_many_words_are_all_different_and_spread() -> None:
    pieces = np.array([[a, b] for a in range(300) for b in range(300)]).reshape(-1)
    keys = word_hashes(pieces, np.arange(0, pieces.size, 2))
    assert np.unique(keys).size == keys.size
    counts = np.bincount((keys >> np.uint64(56)).astype(np.int64), minlength=256)
    expected = keys.size / 256
    assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 4 * np.sqrt(2 * 255)


def test_a_set_finds_what_is_in_it() -> None:
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(0, 2**64 - 1, 5000, dtype=np.uint64))
    asked = rng.permutation(
        np.concatenate([keys[::3], keys[:100] + np.uint64(1), rng.integers(0, 2**64 - 1, 900, dtype=np.uint64)])
    )
    assert HashSet(keys).places(asked).tolist() == np.isin(asked, keys).nonzero()[0].tolist()
    assert HashSet(keys[:0]).places(asked).size == 0
    assert HashSet(keys).places(asked[:0]).size == 0


def test_lengths_between_starts() -> None:
    assert lengths_between(np.array([1, 4, 5]), 9).tolist() == [3, 1, 4]
    assert lengths_between(np.empty(0, np.int64), 9).size == 0
