"""Every masking strategy, with small tables where it needs some, for the vocabulary the tests share."""

import re
from collections.abc import Callable

import numpy as np

from clozelm.hashes import longer_hashes, word_hashes
from clozelm.masking import SELECTORS, Select
from clozelm.masking.chosen import Matcher
from tests.memory_store import VOCABULARY

WHOLE_WORDS = ["whole_word", "ngram", "span", "pmi", "chosen"]
"""Those that never cut a word."""


def decode(ids: np.ndarray) -> str:
    """The text of a word: its ordinary pieces, each a number in angle brackets."""
    return "".join(f"<{i}>" for i in ids.tolist() if not VOCABULARY.is_special[i])


def run_hash(words: list[list[int]]) -> np.ndarray:
    """The hash of a run of words, given as ids; one item."""
    ids = np.concatenate([np.array(word, np.int64) for word in words])
    keys = word_hashes(ids, np.cumsum([0, *map(len, words[:-1])]))
    runs = keys
    for _ in words[1:]:
        runs = longer_hashes(runs, keys)
    return runs


def tables() -> list[np.ndarray]:
    """Collocations of two and three words of one piece: many, so that random text has some."""
    ids = VOCABULARY.ordinary_ids[:90:2].tolist()
    pairs = [run_hash([[a], [b]]) for a in ids for b in ids]
    triples = [run_hash([[a], [b], [a]]) for a in ids for b in ids]
    return [np.sort(np.concatenate(each)) for each in (pairs, triples)]


def matcher() -> Matcher:
    """Some words, a phrase, and a pattern."""
    return Matcher([["9"], ["12", "13"], ["9", "12"]], [re.compile("<1.>")], decode)


def weights() -> np.ndarray:
    """Weights of pieces that differ by up to ten times."""
    return np.random.default_rng(0).uniform(0.1, 1.0, VOCABULARY.size)


TABLES: dict[str, Callable[[], dict]] = {
    "pmi": lambda: {"tables": tables()},
    "chosen": lambda: {"matcher": matcher()},
    "adaptive": lambda: {"weights": weights()},
}


def selector(name: str) -> Select:
    """The registered strategy, with its tables."""
    return SELECTORS[name](**TABLES.get(name, dict)()).select
