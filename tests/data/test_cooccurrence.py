"""Neighbouring pieces: counted as a loop counts them, whatever the slices; many contexts, few of them kept."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clozelm.data import cooccurrence as module
from clozelm.data.cooccurrence import REACH, cooccurrences
from tests.memory_store import VOCABULARY, MemoryStore

SPECIAL = VOCABULARY.is_special


def some_store() -> MemoryStore:
    """Documents of few different pieces, empty ones and unknown tokens among them."""
    rng = np.random.default_rng(3)
    store = MemoryStore([*rng.integers(0, 50, 60).tolist(), 0, 1, 2, 3])
    store.ids = rng.choice([20, 21, 22, 23, 24, VOCABULARY.unk_id], store.num_tokens).astype(np.uint16)
    return store


def unigrams(store: MemoryStore) -> NDArray[np.int64]:
    return np.bincount(store.ids, minlength=VOCABULARY.size).astype(np.int64)


def by_hand(store: MemoryStore) -> NDArray[np.float64]:
    counts = np.zeros((VOCABULARY.size, VOCABULARY.size))
    for start, stop in zip(store.offsets[:-1], store.offsets[1:], strict=True):
        ids = store.ids[start:stop].tolist()
        for place, piece in enumerate(ids):
            for near in range(max(0, place - REACH), min(len(ids), place + REACH + 1)):
                if near != place and not SPECIAL[[piece, ids[near]]].any():
                    counts[piece, ids[near]] += 1 / abs(near - place)
    return counts


@pytest.mark.parametrize("slice_tokens", [1 << 20, 1501])
def test_counts_are_those_of_a_loop(slice_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A border of slices may cost the few pairs across it, and no more."""
    monkeypatch.setattr(module, "SLICE_TOKENS", slice_tokens)
    store = some_store()
    found, expected = cooccurrences(store, SPECIAL, unigrams(store)), by_hand(store)
    assert found.contexts.tolist() == [20, 21, 22, 23, 24]
    if store.num_tokens < slice_tokens:
        assert np.allclose(found.counts, expected[:, 20:25], rtol=1e-5)
    assert found.counts.sum() == pytest.approx(expected.sum(), rel=0.02)
    assert not found.counts[SPECIAL].any()
    assert np.allclose(found.counts[20:25], found.counts[20:25].T)


def test_of_many_contexts_the_frequent_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_CELLS", 2 * VOCABULARY.size)
    store = some_store()
    store.ids[store.ids == 23] = 21
    found = cooccurrences(store, SPECIAL, unigrams(store))
    most = np.argsort(-np.where(SPECIAL, 0, unigrams(store)))[:2]
    assert found.contexts.tolist() == sorted(most.tolist())
    assert np.allclose(found.counts, by_hand(store)[:, found.contexts], rtol=1e-5)


def test_a_large_store_is_read_in_parts_of_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_TOKENS", 100)
    monkeypatch.setattr(module, "MOST_TOKENS", 300)
    store = MemoryStore([1000])
    read: list[tuple[int, int]] = []
    tokens = store.tokens
    monkeypatch.setattr(store, "tokens", lambda low, high: (read.append((low, high)), tokens(low, high))[1])
    cooccurrences(store, SPECIAL, unigrams(store))
    assert read == [(0, 100), (400, 500), (900, 1000)]


def test_an_empty_store_has_no_contexts() -> None:
    found = cooccurrences(MemoryStore([0]), SPECIAL, np.zeros(VOCABULARY.size, np.int64))
    assert found.counts.shape == (VOCABULARY.size, 0)
