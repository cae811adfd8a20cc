from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clozelm.data import pack
from clozelm.data.loader import Cursor, RowLoader
from clozelm.data.rows import Rows, join
from clozelm.data.store import StoreWriter, TokenStore
from clozelm.errors import DataError, SettingsError
from clozelm.masking import Corruption, Uniform, mask
from tests.data.test_pack import check_layout
from tests.memory_store import VOCABULARY, MemoryStore, realistic_lengths

STORE = MemoryStore([*realistic_lengths(30, 0.6, 3000).tolist(), 0, 400])


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "WINDOW_TOKENS", 700)


def loader(store: object = STORE, **kwargs: int) -> RowLoader:
    return RowLoader(store, VOCABULARY, **{"row_length": 48, "seed": 3, **kwargs})  # type: ignore[arg-type]


def same(left: Rows, right: Rows) -> bool:
    return all(np.array_equal(value, getattr(right, name)) for name, value in vars(left).items())


def read(source: RowLoader, sizes: list[int]) -> Rows:
    cursor, parts = Cursor(), []
    for size in sizes:
        rows, cursor = source.batch(cursor, size)
        parts.append(rows)
    return join(parts)


def test_batches_are_always_full_and_epochs_complete() -> None:
    rows = read(loader(), [16] * 20)
    assert rows.input_ids.shape == (320, 48)
    check_layout(rows, STORE)
    assert set(rows.epoch.tolist()) >= {0, 1, 2}
    for epoch in range(rows.epoch.max()):
        tokens = rows.token_index[rows.epoch == epoch]
        assert np.sort(tokens[tokens >= 0]).tolist() == list(range(STORE.num_tokens))
        ids = rows.row_ids[rows.epoch == epoch]
        assert np.unique(ids).size == ids.size
        assert np.unique(ids >> 32).tolist() == list(range(pack.num_windows(STORE)))


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_rows_do_not_depend_on_the_batch_size(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "WINDOW_TOKENS", 700)
        assert same(read(loader(), sizes), read(loader(), [sum(sizes)]))


def test_a_batch_is_a_function_of_its_cursor() -> None:
    source, cursor, batches = loader(), Cursor(), []
    for _ in range(25):
        at = cursor
        rows, cursor = source.batch(cursor, 12)
        batches.append((at, rows))
    for at, rows in reversed(batches):
        assert same(loader().batch(at, 12)[0], rows)
        assert same(source.batch(at, 12)[0], rows)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_share_what_one_would_read(world: int) -> None:
    cursor = Cursor()
    for _ in range(15):
        whole, after = loader().batch(cursor, 24)
        shares = [loader(world=world, rank=rank).batch(cursor, 24) for rank in range(world)]
        assert {share[1] for share in shares} == {after}
        assert same(join([share[0] for share in shares]), whole)
        masks = [
            mask(s, VOCABULARY, Uniform().select, rate=0.3, corruption=Corruption(), seed=1) for s, _ in shares
        ]
        one = mask(whole, VOCABULARY, Uniform().select, rate=0.3, corruption=Corruption(), seed=1)
        assert (np.concatenate([m.input_ids for m in masks]) == one.input_ids).all()
        cursor = after


def test_the_masks_of_two_epochs_differ() -> None:
    store = MemoryStore([46])
    rows = read(loader(store), [4])
    assert rows.epoch.tolist() == [0, 1, 2, 3]
    assert (rows.input_ids[0] == rows.input_ids[1]).all()
    labels = mask(rows, VOCABULARY, Uniform().select, rate=0.3, corruption=Corruption(), seed=1).labels
    assert (labels[0] != labels[1]).any()


@pytest.mark.parametrize(("num_rows", "world"), [(7, 2), (0, 1), (-4, 2)])
def test_uneven_batches_are_refused(num_rows: int, world: int) -> None:
    with pytest.raises(SettingsError, match=f"batch of {num_rows} rows cannot be shared evenly by {world} ranks"):
        loader(world=world).batch(Cursor(), num_rows)


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(SettingsError, match="rank=2"):
        loader(world=2, rank=2)


@pytest.mark.parametrize(
    ("lengths", "line"),
    [
        ([], "is empty"),
        ([0], "is empty"),
        ([20, 3], "holds 23 tokens in 2 documents, too few to fill one row of 48"),
    ],
)
def test_stores_too_small_are_refused(lengths: list[int], line: str) -> None:
    with pytest.raises(DataError, match=line):
        loader(MemoryStore(lengths))


def test_a_real_store_gives_the_same_rows(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store", fingerprint="f", vocab_size=VOCABULARY.size, shard_tokens=500)
    with writer:
        for start, stop in zip(STORE.offsets[:-1], STORE.offsets[1:], strict=True):
            writer.add(STORE.ids[start:stop], STORE.bits[start:stop])
        writer.close({})
    store = TokenStore.open(tmp_path / "store")
    assert same(read(loader(store), [64, 64]), read(loader(), [64, 64]))


def test_repeated_epochs_are_the_first_one_again_masks_included() -> None:
    """Static masks (Liu et al. 2019, 4.1), also in the batch that a new epoch begins in."""
    first = read(loader(), [1] * 200)
    count = int((first.epoch == 0).sum())
    assert count % 16 > 0
    rows = read(loader(repeat=True), [16] * (4 * count // 16))
    again = np.arange(len(rows.row_ids)) % count
    assert not rows.epoch.any()
    for name in ("input_ids", "doc_ids", "row_ids", "token_index"):
        assert np.array_equal(getattr(rows, name), getattr(first, name)[again]), name
    masks = [
        mask(each, VOCABULARY, Uniform().select, rate=0.3, corruption=Corruption(), seed=1)
        for each in (rows, first)
    ]
    assert np.array_equal(masks[0].labels, masks[1].labels[again])
