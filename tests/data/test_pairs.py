"""Sentence pairs: every token once, labels that say what stands beside what, and nothing that tells them."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clozelm import masking
from clozelm.data import pack
from clozelm.data.loader import Cursor, RowLoader
from clozelm.data.pairs import PairKind, plan_pairs
from clozelm.data.rows import IGNORED, Pieces, Rows, gather, join
from clozelm.errors import DataError, SettingsError
from clozelm.vocab import SENTENCE_START, WORD_START
from tests.memory_store import VOCABULARY, MemoryStore, realistic_lengths
from tests.strategies import selector

FEW = settings(max_examples=80, deadline=None)
KINDS: tuple[PairKind, ...] = ("next", "order")
BOTH = pytest.mark.parametrize("kind", KINDS)
LENGTHS = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 200)), min_size=1, max_size=40)
CORPORA = {"abstracts": (200, 0.35), "sentences": (25, 0.55), "articles": (3000, 1.0)}


class Pair(NamedTuple):
    """The places in the store of A's and B's tokens, and their documents."""

    label: int
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    documents: tuple[int, int]


def store_of(
    lengths: list[int] | NDArray[np.int64], *, sentence_share: float = 0.05, word_share: float = 0.75
) -> MemoryStore:
    store = MemoryStore(lengths, word_share=word_share)
    is_word = (store.bits & WORD_START) != 0
    begins = is_word & (np.random.default_rng(1).random(store.num_tokens) < sentence_share)
    begins[store.offsets[:-1][np.asarray(lengths) > 0]] = sentence_share > 0
    store.bits[begins] |= SENTENCE_START
    return store


STORE = store_of([*realistic_lengths(40, 0.6, 4000).tolist(), 0, 1, 400])


def rows_of(store: MemoryStore, plan: Pieces, row_length: int) -> Rows:
    ids = np.arange(plan.num_rows)
    return gather(store, VOCABULARY, plan, row_length=row_length, row_ids=ids, epoch=0)


def epoch_of(store: MemoryStore, kind: PairKind, row_length: int, *, seed: int = 0, epoch: int = 0) -> Rows:
    windows = range(pack.num_windows(store))
    plans = [plan_pairs(store, kind, row_length=row_length, seed=seed, epoch=epoch, window=w) for w in windows]
    return join([rows_of(store, plan, row_length) for plan in plans])


def pairs_of(rows: Rows, store: MemoryStore) -> Iterator[Pair]:
    """Read rows the slow way, checking their layout; yield the pairs, passing over words that stand alone."""
    assert rows.pairs is not None
    segment_ids, labels = rows.pairs.segment_ids, rows.pairs.labels
    is_padding = rows.doc_ids == 0
    assert (segment_ids[is_padding] == 0).all()
    assert (np.diff(is_padding.astype(int), axis=1) >= 0).all(), "padding is not last"
    assert (labels[(rows.input_ids != VOCABULARY.cls_id) | is_padding] == IGNORED).all()
    for row, documents in enumerate(rows.doc_ids):
        assert set(np.diff(documents[~is_padding[row]])) <= {0, 1}
        for number in range(1, documents.max() + 1):
            at = np.flatnonzero(documents == number)
            assert rows.positions[row, at].tolist() == list(range(at.size))
            assert rows.input_ids[row, at[0]] == VOCABULARY.cls_id
            label, second = int(labels[row, at[0]]), at[segment_ids[row, at] == 1]
            first = at[: at.size - second.size]
            assert (segment_ids[row, first] == 0).all(), "segments are mixed"
            halves = [part_of(rows, store, row, columns) for columns in (first[1:], second) if columns.size]
            if label == IGNORED:
                assert len(halves) == 1
                assert not (rows.flags[row, first[2:]] & WORD_START).any(), "a pair is missing"
            else:
                (one, document), (other, another) = halves
                yield Pair(label, one, other, (document, another))


def part_of(rows: Rows, store: MemoryStore, row: int, columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return the tokens and the document of one half: consecutive tokens of one document, and [SEP]."""
    index, ids = rows.token_index[row, columns[:-1]], rows.input_ids[row, columns]
    assert index.size > 0
    assert (np.diff(index) == 1).all()
    assert rows.token_index[row, columns[-1]] == -1
    assert ids.tolist() == [*store.ids[index], VOCABULARY.sep_id]
    assert rows.flags[row, columns].tolist() == [*store.bits[index], 0]
    (document,) = set(rows.document_index[row, columns].tolist())
    assert store.offsets[document] <= index[0] <= index[-1] < store.offsets[document + 1]
    return index, document


@FEW
@given(
    kind=st.sampled_from(KINDS),
    lengths=LENGTHS,
    row_length=st.integers(5, 60),
    word_share=st.sampled_from([0.0, 0.6, 1.0]),
    sentence_share=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 1 << 40),
    window_tokens=st.integers(50, 5000),
)
def test_an_epoch_has_every_token_once_and_labels_are_true(
    kind: PairKind,
    lengths: list[int],
    row_length: int,
    word_share: float,
    sentence_share: float,
    seed: int,
    window_tokens: int,
) -> None:
    store = store_of(lengths, word_share=word_share, sentence_share=sentence_share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "WINDOW_TOKENS", window_tokens)
        rows = epoch_of(store, kind, row_length, seed=seed, epoch=2)
    tokens = rows.token_index[rows.token_index >= 0]
    assert np.sort(tokens).tolist() == list(range(store.num_tokens))
    for label, first, second, documents in pairs_of(rows, store):
        if kind == "next" and label:
            assert documents[0] != documents[1], "a random sentence of the same document"
        else:
            before, after = (second, first) if label else (first, second)
            assert documents[0] == documents[1]
            assert after[0] == before[-1] + 1
            assert store.bits[after[0]] & WORD_START, "a word is cut in two"


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("row_length", [128, 512])
@pytest.mark.parametrize("num_tokens", [30_000, 300_000])
def test_labels_are_balanced_and_rows_full(name: str, row_length: int, num_tokens: int) -> None:
    mean, spread = CORPORA[name]
    store = store_of(realistic_lengths(mean, spread, num_tokens))
    for kind in KINDS:
        plan = plan_pairs(store, kind, row_length=row_length, seed=0, epoch=0, window=0)
        assert plan.pairs is not None
        labels = plan.pairs.labels[plan.pairs.labels != IGNORED]
        # "next" exchanges half of the pairs to the nearest two; "order" tosses a coin for each.
        tolerance = 2 if kind == "next" else 2 * np.sqrt(labels.size)
        assert abs(labels.sum() - labels.size / 2) <= tolerance
        filled = (plan.length + 2 - plan.pairs.segment_ids).sum() / (plan.num_rows * row_length)
        assert filled >= 0.97


@pytest.mark.parametrize("row_length", [128, 512])
def test_lengths_do_not_tell_whether_a_sentence_is_random(row_length: int) -> None:
    mean, spread = CORPORA["abstracts"]
    store = store_of(realistic_lengths(mean, spread, 600_000))
    plan = plan_pairs(store, "next", row_length=row_length, seed=0, epoch=0, window=0)
    assert plan.pairs is not None
    first = [np.flatnonzero(plan.pairs.labels == label) for label in (0, 1)]
    for half in (0, 1):
        real, random = (plan.length[at + half] for at in first)
        deviation = np.sqrt(real.var() / real.size + random.var() / random.size)
        assert abs(real.mean() - random.mean()) < 4 * deviation


@BOTH
@pytest.mark.parametrize("lengths", [[40] * 3000, [40 * 2999, 40]])
def test_pairs_are_split_at_any_sentence_start(kind: PairKind, lengths: list[int]) -> None:
    """Sentences of ten tokens, four to a piece, in a document each or in one long one: three places."""
    store = store_of(lengths, word_share=1.0, sentence_share=0.0)
    store.bits[::10] |= SENTENCE_START
    counts: Counter[int] = Counter()
    for label, first, second, _ in pairs_of(epoch_of(store, kind, 46), store):
        assert store.bits[first[0]] & store.bits[second[0]] & SENTENCE_START
        assert first.size + second.size == 40
        counts[second.size if kind == "order" and label else first.size] += 1
    assert sorted(counts) == [10, 20, 30]
    assert sum(counts.values()) == 3000
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 2 + 4 * np.sqrt(2 * 2)


def test_pieces_without_a_partner_are_split_where_they_find_one() -> None:
    """Every document may end in 195 tokens as all the others, or in one of four lengths of its own."""
    store = store_of([390] * 40, word_share=1.0, sentence_share=0.0)
    for document, start in enumerate(store.offsets[:-1]):
        store.bits[start + 390 - np.array([195, *range(4 * document + 1, 4 * document + 5)])] |= SENTENCE_START
    labels = [pair.label for pair in pairs_of(epoch_of(store, "next", 400), store)]
    assert len(labels) == 40
    assert abs(sum(labels) - 20) <= 2


@BOTH
def test_without_sentences_the_word_nearest_to_the_middle_begins_the_rest(kind: PairKind) -> None:
    store = store_of([21] * 200, word_share=0.5, sentence_share=0.0)
    for label, first, second, _ in pairs_of(epoch_of(store, kind, 24), store):
        before, after = (second, first) if kind == "order" and label else (first, second)
        assert store.bits[after[0]] & WORD_START
        if not (kind == "next" and label):
            inside = np.flatnonzero(store.bits[before[0] + 1 : after[-1] + 1] & WORD_START) + 1
            assert abs(2 * before.size - 21) == np.abs(2 * inside - 21).min()


def test_a_random_sentence_begins_as_the_real_one_does() -> None:
    """Documents with sentences and documents without: what begins mid-sentence replaces its like."""
    store = store_of([40] * 400, word_share=1.0, sentence_share=0.0)
    store.bits[: 200 * 40 : 10] |= SENTENCE_START
    pairs = list(pairs_of(epoch_of(store, "next", 86), store))
    assert len(pairs) == 400
    assert abs(sum(pair.label for pair in pairs) - 200) <= 2
    for pair in pairs:
        assert (pair.documents[0] < 200) == (pair.documents[1] < 200)


@pytest.mark.parametrize("lengths", [[1] * 60, [1, 40] * 30, [2] * 60])
@BOTH
def test_documents_of_one_word_stand_alone(kind: PairKind, lengths: list[int]) -> None:
    store = store_of(lengths, word_share=0.0)
    store.bits[store.offsets[:-1][np.asarray(lengths) > 2] + 20] |= WORD_START
    rows = epoch_of(store, kind, 43)
    assert len(list(pairs_of(rows, store))) == sum(length > 2 for length in lengths)
    assert (np.sort(rows.token_index[rows.token_index >= 0]) == np.arange(store.num_tokens)).all()


def test_few_documents_find_partners_within_their_rows() -> None:
    store = store_of(realistic_lengths(200, 0.35, 3000))
    labels = [pair.label for pair in pairs_of(epoch_of(store, "next", 512), store)]
    assert abs(sum(labels) - len(labels) / 2) <= 2


def same(left: Rows, right: Rows) -> bool:
    assert left.pairs is not None
    assert right.pairs is not None
    names = vars(left).keys() - {"pairs"}
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in names) and all(
        np.array_equal(value, getattr(right.pairs, name)) for name, value in vars(left.pairs).items()
    )


def loader(kind: PairKind | None, *, seed: int = 3, world: int = 1, rank: int = 0) -> RowLoader:
    return RowLoader(STORE, VOCABULARY, row_length=48, seed=seed, world=world, rank=rank, pairs=kind)


@BOTH
def test_batches_are_a_function_of_seed_and_cursor(kind: PairKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "WINDOW_TOKENS", 1500)
    source, cursor, batches = loader(kind), Cursor(), []
    for size in (16, 3, 40, 90, 64, 64):
        at = cursor
        rows, cursor = source.batch(cursor, size)
        batches.append((at, rows))
        for _ in pairs_of(rows, STORE):
            pass
    assert cursor.epoch > 1
    for at, rows in reversed(batches):
        assert same(loader(kind).batch(at, len(rows.row_ids))[0], rows)
    whole, after = loader(kind).batch(Cursor(), sum(len(rows.row_ids) for _, rows in batches))
    assert after == cursor
    assert same(join([rows for _, rows in batches]), whole)
    tokens = whole.token_index[whole.epoch == 0]
    assert np.sort(tokens[tokens >= 0]).tolist() == list(range(STORE.num_tokens))
    for other in (loader(kind, seed=4).batch(Cursor(), 64)[0], loader(kind).batch(Cursor(1), 64)[0]):
        assert not np.array_equal(other.input_ids, whole.input_ids[:64])


@BOTH
def test_rows_may_be_taken_in_any_order(kind: PairKind) -> None:
    plan = plan_pairs(STORE, kind, row_length=48, seed=0, epoch=0, window=0)
    order = np.random.default_rng(0).permutation(plan.num_rows)
    whole, part = rows_of(STORE, plan, 48), rows_of(STORE, plan.take(order), 48)
    assert whole.pairs is not None
    assert part.pairs is not None
    assert np.array_equal(whole.input_ids[order], part.input_ids)
    assert np.array_equal(whole.pairs.labels[order], part.pairs.labels)
    assert np.array_equal(whole.pairs.segment_ids[order], part.pairs.segment_ids)


@BOTH
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_what_one_would_read(kind: PairKind, world: int) -> None:
    cursor = Cursor()
    for _ in range(8):
        whole, after = loader(kind).batch(cursor, 24)
        shares = [loader(kind, world=world, rank=rank).batch(cursor, 24) for rank in range(world)]
        assert {share[1] for share in shares} == {after}
        assert same(join([share[0] for share in shares]), whole)
        cursor = after


@BOTH
@pytest.mark.parametrize("strategy", sorted(masking.SELECTORS))
def test_masks_leave_special_tokens_alone_and_every_pair_has_one(kind: PairKind, strategy: str) -> None:
    store = store_of([*realistic_lengths(30, 0.6, 3000).tolist(), 1, 2, 2, 3], word_share=1.0)
    rows = epoch_of(store, kind, 64)
    masked = masking.mask(
        rows,
        VOCABULARY,
        selector(strategy),
        rate=0.15,
        corruption=masking.Corruption(),
        seed=1,
    )
    predicted = masked.labels != masking.IGNORED
    assert not (predicted & (rows.token_index < 0)).any()
    for row, documents in enumerate(rows.doc_ids):
        assert set(documents[documents > 0].tolist()) == set(documents[predicted[row]].tolist())


def test_rows_without_pairs_say_so() -> None:
    assert masking.IGNORED == IGNORED
    plain, _ = loader(None).batch(Cursor(), 4)
    assert plain.pairs is None
    with pytest.raises(ValueError, match="cannot be joined"):
        join([plain, loader("order").batch(Cursor(), 4)[0]])


def test_what_cannot_hold_pairs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(store: MemoryStore, kind: PairKind, row_length: int) -> RowLoader:
        return RowLoader(store, VOCABULARY, row_length=row_length, seed=0, pairs=kind)

    with pytest.raises(SettingsError, match="row_length=4 must be at least 5 for pairs"):
        load(STORE, "order", 4)
    assert load(STORE, "next", 5).batch(Cursor(), 8)[0].input_ids.shape == (8, 5)
    single = store_of([0, 300, 0])
    load(single, "order", 32)
    with pytest.raises(DataError, match="holds 1 documents for 1 windows"):
        load(single, "next", 32)
    monkeypatch.setattr(pack, "WINDOW_TOKENS", 100)
    with pytest.raises(DataError, match="holds 3 documents for 3 windows"):
        load(store_of([100, 100, 100]), "next", 32)


@pytest.mark.bench
@BOTH
def test_planning_a_window_takes_less_than_a_second(kind: PairKind) -> None:
    store = store_of(realistic_lengths(25, 0.55, 1 << 20))
    start = time.process_time()
    plan_pairs(store, kind, row_length=128, seed=0, epoch=0, window=0)
    assert time.process_time() - start < 1.0
