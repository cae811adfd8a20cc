import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clozelm.data import pack
from clozelm.data.order import shuffled
from clozelm.data.pack import Layout, TextUnit, evaluation_rows, num_windows, plan_window
from clozelm.data.rows import Rows, join
from clozelm.errors import DataError, SettingsError
from clozelm.vocab import SENTENCE_START, WORD_START
from tests.memory_store import VOCABULARY, MemoryStore, realistic_lengths

LENGTHS = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 200)), min_size=1, max_size=40)
FEW = settings(max_examples=80, deadline=None)
CORPORA = {
    "abstracts": (200, 0.35),
    "sentences": (25, 0.55),
    "articles": (3000, 1.0),
}


def evaluated(store: MemoryStore, row_length: int, rows_per_batch: int = 8) -> Rows:
    return join(list(evaluation_rows(store, VOCABULARY, row_length, rows_per_batch)))


def check_layout(rows: Rows, store: MemoryStore) -> None:
    """Each document piece stands alone: [CLS], consecutive tokens of a document, [SEP]; positions from 0."""
    is_padding = rows.doc_ids == 0
    assert (rows.input_ids[is_padding] == VOCABULARY.pad_id).all()
    assert (rows.positions[is_padding] == 0).all()
    assert (rows.document_index[is_padding] == -1).all()
    assert (np.diff(is_padding.astype(int), axis=1) >= 0).all(), "padding is not last"
    is_token = rows.token_index >= 0
    assert (rows.input_ids[is_token] == store.ids[rows.token_index[is_token]]).all()
    assert (rows.flags[is_token] == store.bits[rows.token_index[is_token]]).all()
    assert (rows.flags[~is_token] == 0).all()
    for row in range(len(rows.row_ids)):
        numbers = rows.doc_ids[row][~is_padding[row]]
        assert numbers[0] == 1
        assert set(np.diff(numbers)) <= {0, 1}
        for number in range(1, numbers.max() + 1):
            at = np.flatnonzero(rows.doc_ids[row] == number)
            index = rows.token_index[row, at]
            document = rows.document_index[row, at]
            assert rows.positions[row, at].tolist() == list(range(at.size))
            assert rows.input_ids[row, at[[0, -1]]].tolist() == [VOCABULARY.cls_id, VOCABULARY.sep_id]
            assert at.size > 2
            assert (np.diff(index[1:-1]) == 1).all()
            assert (document == document[0]).all()
            assert store.offsets[document[0]] <= index[1] <= index[-2] < store.offsets[document[0] + 1]


@FEW
@given(lengths=LENGTHS, row_length=st.integers(3, 60), word_share=st.sampled_from([0.0, 0.6, 1.0]))
def test_evaluation_has_every_token_once(lengths: list[int], row_length: int, word_share: float) -> None:
    store = MemoryStore(lengths, word_share=word_share)
    if store.num_tokens == 0:
        return
    rows = evaluated(store, row_length)
    check_layout(rows, store)
    assert np.sort(rows.token_index[rows.token_index >= 0]).tolist() == list(range(store.num_tokens))
    assert rows.row_ids.tolist() == list(range(len(rows.row_ids)))


@FEW
@given(
    lengths=LENGTHS,
    row_length=st.integers(3, 60),
    seed=st.integers(0, 1 << 40),
    window_tokens=st.integers(1, 500),
    unit=st.sampled_from(["document", "sentence"]),
)
def test_an_epoch_has_every_token_once(
    lengths: list[int], row_length: int, seed: int, window_tokens: int, unit: TextUnit
) -> None:
    store = MemoryStore(lengths, sentence_share=0.1)
    layout = Layout(unit=unit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "WINDOW_TOKENS", window_tokens)
        seen = []
        for window in range(num_windows(store)):
            plan = plan_window(store, row_length=row_length, seed=seed, epoch=2, window=window, layout=layout)
            seen += [np.arange(s, s + n) for s, n in zip(plan.start, plan.length, strict=True)]
            for first, last in zip(plan.row_offsets[:-1], plan.row_offsets[1:], strict=True):
                assert 0 < (plan.length[first:last] + 2).sum() <= row_length
            documents = np.searchsorted(store.offsets, plan.start, side="right") - 1
            assert (documents == plan.document).all()
    assert np.sort(np.concatenate(seen or [np.zeros(0)])).tolist() == list(range(store.num_tokens))


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("row_length", [128, 512])
def test_rows_are_full(name: str, row_length: int) -> None:
    mean, spread = CORPORA[name]
    store = MemoryStore(realistic_lengths(mean, spread, 300_000))
    plan = plan_window(store, row_length=row_length, seed=0, epoch=0, window=0)
    filled = (plan.length + 2).sum() / (plan.num_rows * row_length)
    assert filled >= 0.98
    pieces_at_least = -(-np.diff(store.offsets) // (row_length - 2)).sum()
    if name == "sentences":
        assert plan.length.size <= 1.01 * pieces_at_least, "sentences are cut"


def test_cuts_are_at_word_starts_where_there_is_one() -> None:
    store = MemoryStore(realistic_lengths(3000, 1.0, 100_000), word_share=0.7)
    plan = plan_window(store, row_length=128, seed=0, epoch=0, window=0)
    assert (store.bits[plan.start] & WORD_START).mean() > 0.999
    unmarked = MemoryStore([1000], word_share=0.0)
    assert plan_window(unmarked, row_length=128, seed=0, epoch=0, window=0).num_rows == 8


def test_sentences_stand_alone_unless_they_are_short() -> None:
    store = MemoryStore([40, 30, 6], word_share=1.0)
    for place in (0, 3, 15, 36, 40, 55, 70):
        store.bits[place] |= SENTENCE_START
    plan = plan_window(store, row_length=128, seed=0, epoch=0, window=0, layout=Layout(unit="sentence"))
    found = sorted(zip(plan.start.tolist(), plan.length.tolist(), plan.document.tolist(), strict=True))
    # The first sentence of 3 tokens stays with the next; the last 4 of the first document with those before them.
    assert found == [(0, 15, 0), (15, 25, 0), (40, 15, 1), (55, 15, 1), (70, 6, 2)]


def test_rows_of_sentences_are_full_and_sentences_whole() -> None:
    store = MemoryStore(realistic_lengths(3000, 1.0, 200_000), sentence_share=0.06)
    plan = plan_window(store, row_length=128, seed=0, epoch=0, window=0, layout=Layout(unit="sentence"))
    assert (plan.length + 2).sum() / (plan.num_rows * 128) >= 0.98
    assert (store.bits[plan.start] & SENTENCE_START > 0).mean() > 0.97


def test_the_order_follows_seed_and_epoch() -> None:
    store = MemoryStore(realistic_lengths(25, 0.5, 5000))

    def start_of(seed: int, epoch: int) -> list[int]:
        return plan_window(store, row_length=64, seed=seed, epoch=epoch, window=0).start.tolist()

    assert start_of(1, 0) == start_of(1, 0)
    assert start_of(1, 0) != start_of(2, 0)
    assert start_of(1, 0) != start_of(1, 1)


def test_windows_hold_documents_from_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "WINDOW_TOKENS", 1000)
    store = MemoryStore([20] * 500)
    plan = plan_window(store, row_length=64, seed=0, epoch=0, window=3)
    documents = np.unique(plan.document)
    assert documents.size == 50
    assert np.histogram(documents, bins=4, range=(0, 500))[0].min() >= 3


@FEW
@given(size=st.integers(1, 400), seed=st.integers(0, 1 << 60), epoch=st.integers(0, 5))
def test_the_order_is_a_permutation(size: int, seed: int, epoch: int) -> None:
    order = shuffled(np.arange(size), size, seed=seed, epoch=epoch)
    assert np.sort(order).tolist() == list(range(size))
    half = np.arange(size // 2, size)
    assert (shuffled(half, size, seed=seed, epoch=epoch) == order[half]).all()


@pytest.mark.parametrize("size", [3, 10, 101])
def test_every_document_may_come_at_every_place(size: int) -> None:
    """A chi-squared over (document, place), within four standard deviations of its mean."""
    seeds = 2000
    counts = np.zeros((size, size))
    for seed in range(seeds):
        counts[np.arange(size), shuffled(np.arange(size), size, seed=seed, epoch=0)] += 1
    expected = seeds / size
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = (size - 1) ** 2
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


def test_evaluation_batches_do_not_change_the_rows() -> None:
    store = MemoryStore(realistic_lengths(40, 0.6, 4000))
    small, large = evaluated(store, 64, 3), evaluated(store, 64, 50)
    assert all(np.array_equal(value, getattr(large, name)) for name, value in vars(small).items())


@pytest.mark.parametrize("make", [lambda: MemoryStore([]), lambda: MemoryStore([0, 0])])
def test_an_empty_store_is_refused(make: Callable[[], MemoryStore]) -> None:
    with pytest.raises(DataError, match="The token store is empty"):
        evaluated(make(), 16)


def test_rows_without_room_are_refused() -> None:
    with pytest.raises(SettingsError, match="row_length=2 must be at least 3"):
        evaluated(MemoryStore([5]), 2)


@pytest.mark.bench
def test_planning_passes_5_million_tokens_a_second() -> None:
    store = MemoryStore(realistic_lengths(25, 0.55, 1 << 20))
    seconds = []
    for epoch in range(3):
        start = time.perf_counter()
        plan_window(store, row_length=128, seed=0, epoch=epoch, window=0)
        seconds.append(time.perf_counter() - start)
    assert store.num_tokens / min(seconds) > 5e6
