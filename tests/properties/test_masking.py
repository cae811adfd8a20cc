"""The masking contract, for every registered strategy."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clozelm.data.rows import Rows
from clozelm.errors import SettingsError
from clozelm.masking import (
    IGNORED,
    SELECTORS,
    Candidates,
    Corruption,
    Masked,
    Ngram,
    Select,
    Selection,
    mask,
)
from clozelm.vocab import WORD_START
from tests.memory_store import VOCABULARY
from tests.strategies import WHOLE_WORDS, selector

ROW_LENGTH = 40
EVERY = pytest.mark.parametrize("name", sorted(SELECTORS))
FEW = settings(max_examples=60, deadline=None)

# Ids of half the vocabulary, so that a replacement drawn from the batch shows; special ids among them.
ORDINARY = st.sampled_from(VOCABULARY.ordinary_ids[:90].tolist())
TOKEN = st.tuples(st.one_of(ORDINARY, ORDINARY, ORDINARY, st.sampled_from([0, 1, 4, 7])), st.booleans())
PIECE = st.lists(TOKEN, max_size=16)  # may be empty, all special, or begin in the middle of a word
ROW = st.lists(PIECE, max_size=4)


def build(rows: list[list[list[tuple[int, bool]]]], *, seq: int = ROW_LENGTH, padding: int = 0) -> Rows:
    """Lay out pieces as the packer does; what does not fit is left out, what is left over is padding."""
    shape = (len(rows), seq + padding)
    ids, docs = np.full(shape, VOCABULARY.pad_id, np.int64), np.zeros(shape, np.int32)
    flags, positions = np.zeros(shape, np.uint8), np.zeros(shape, np.int32)
    for r, pieces in enumerate(rows):
        column = 0
        for number, piece in enumerate(pieces, 1):
            stop = column + len(piece) + 2
            if stop > seq:
                break
            ids[r, column:stop] = [VOCABULARY.cls_id, *(i for i, _ in piece), VOCABULARY.sep_id]
            flags[r, column:stop] = [0, *(WORD_START * is_start for _, is_start in piece), 0]
            docs[r, column:stop], positions[r, column:stop] = number, np.arange(stop - column)
            column = stop
    unused = np.full(shape, -1)
    return Rows(ids, docs, positions, flags, np.arange(len(rows)) + 7, np.full(len(rows), 3), unused, unused)


def masked(
    rows: Rows,
    name: str | Select,
    *,
    rate: float | np.ndarray = 0.3,
    corruption: Corruption | None = None,
    seed: int = 5,
) -> Masked:
    select = selector(name) if isinstance(name, str) else name
    return mask(rows, VOCABULARY, select, rate=rate, corruption=corruption or Corruption(), seed=seed)


def words_of(rows: Rows) -> np.ndarray:
    """Number the words the slow, obvious way: a new one at a start, at a new piece, and after [CLS]."""
    word = np.zeros(rows.input_ids.shape, dtype=np.int64)
    for r, c in np.ndindex(*word.shape):
        if c:
            before = rows.input_ids[r, c - 1]
            is_new = rows.flags[r, c] & WORD_START or rows.doc_ids[r, c] != rows.doc_ids[r, c - 1]
            word[r, c] = word[r, c - 1] + int(bool(is_new) or before == VOCABULARY.cls_id)
    return word


@EVERY
@FEW
@given(rows=st.lists(ROW, min_size=1, max_size=4), rate=st.sampled_from([0.01, 0.15, 0.5, 0.99]))
def test_the_contract(name: str, rows: list, rate: float) -> None:
    batch = build(rows)
    before = {key: value.copy() for key, value in vars(batch).items() if value is not None}
    out = masked(batch, name, rate=rate)
    predicted = out.labels != IGNORED
    special = VOCABULARY.is_special[batch.input_ids]

    assert not (predicted & special).any(), "a special token is predicted"
    assert not (predicted & (batch.doc_ids == 0)).any(), "padding is predicted"
    assert (out.labels[predicted] == batch.input_ids[predicted]).all(), "a label is not the original"
    assert (out.input_ids[~predicted] == batch.input_ids[~predicted]).all(), "a token not predicted changed"
    changed = out.input_ids[predicted]
    assert ((changed == VOCABULARY.mask_id) | ~VOCABULARY.is_special[changed]).all(), "replaced by a special token"
    for r, document in {(r, int(d)) for r, row in enumerate(batch.doc_ids) for d in row if d}:
        piece = batch.doc_ids[r] == document
        if (piece & ~special[r]).any():
            assert predicted[r, piece].any(), "a document piece has no prediction"
    for key, value in before.items():
        assert (getattr(batch, key) == value).all(), f"{key} was changed in place"
    assert not np.shares_memory(out.input_ids, batch.input_ids)


@EVERY
@FEW
@given(rows=st.lists(ROW, min_size=1, max_size=4), data=st.data())
def test_a_row_does_not_depend_on_its_batch(name: str, rows: list, data: st.DataObject) -> None:
    np.random.seed(0)  # noqa: NPY002
    batch = build(rows)
    whole = masked(batch, name)
    order = np.array(data.draw(st.permutations(range(len(rows)))))
    some = order[: data.draw(st.integers(1, len(rows)))]
    part = masked(Rows(**{key: value[some] for key, value in vars(batch).items() if value is not None}), name)
    assert (part.labels == whole.labels[some]).all()
    assert (part.input_ids == whole.input_ids[some]).all()
    padded = masked(build(rows, padding=9), name)
    assert (padded.labels[:, :ROW_LENGTH] == whole.labels).all()
    assert (padded.input_ids[:, :ROW_LENGTH] == whole.input_ids).all()


LONG = [[[(8 + 3 * (i % 25), i % 3 != 1) for i in range(44)]] * 3] * 50


@EVERY
def test_every_coordinate_changes_the_masks(name: str) -> None:
    batch = build(LONG, seq=140)
    first = masked(batch, name)
    others = [
        masked(batch, name, seed=6),
        masked(replace(batch, epoch=batch.epoch + 1), name),
        masked(replace(batch, row_ids=batch.row_ids + 100), name),
        masked(batch, name, rate=0.31),
    ]
    assert all((other.labels != first.labels).any() for other in others)
    assert (masked(batch, name).input_ids == first.input_ids).all()
    rows_apart = first.labels[:1] != first.labels[1:]
    assert rows_apart.any(axis=1).all(), "rows of the same text share a mask"


@EVERY
@pytest.mark.parametrize(
    ("mask_share", "random_share"), [(0.8, 0.1), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.3, 0.5)]
)
def test_corruption_shares(name: str, mask_share: float, random_share: float) -> None:
    batch = build([[[(9, True)] * 36]] * 400)
    out = masked(batch, name, rate=0.5, corruption=Corruption(mask=mask_share, random=random_share))
    predicted = out.labels != IGNORED
    size = VOCABULARY.ordinary_ids.size
    expected = {
        "mask": mask_share,
        "random": random_share * (1 - 1 / size),
        "kept": 1 - mask_share - random_share / size * (size - 1),
    }
    measured = {
        "mask": out.input_ids == VOCABULARY.mask_id,
        "random": (out.input_ids != VOCABULARY.mask_id) & (out.input_ids != 9),
        "kept": out.input_ids == 9,
    }
    for kind, share in expected.items():
        # Summed by row: rows are drawn apart, the tokens of a group are not.
        excess = (measured[kind] & predicted).sum(1) - share * predicted.sum(1)
        assert abs(excess.sum()) <= 4 * np.sqrt((excess**2).sum()) + 1e-9, kind


@EVERY
def test_replacements_come_from_the_whole_ordinary_vocabulary(name: str) -> None:
    batch = build([[[(9, True)] * 36]] * 600)
    out = masked(batch, name, rate=0.9, corruption=Corruption(mask=0.0, random=1.0))
    drawn = out.input_ids[out.labels != IGNORED]
    counts = np.bincount(drawn, minlength=VOCABULARY.size)
    assert not counts[VOCABULARY.is_special].any()
    expected = drawn.size / VOCABULARY.ordinary_ids.size
    statistic = ((counts[VOCABULARY.ordinary_ids] - expected) ** 2 / expected).sum()
    freedom = VOCABULARY.ordinary_ids.size - 1
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom), "replacements are not uniform"


@EVERY
@pytest.mark.parametrize("rate", [0.15, 0.3, 0.5])
def test_the_measured_rate_is_the_rate(name: str, rate: float) -> None:
    """In pieces long enough that the promise of one prediction adds next to nothing."""
    rng = np.random.default_rng(1)
    rows = [[[(9, bool(b)) for b in rng.random(n) < 0.7]] for n in rng.integers(80, 99, 1500)]
    batch = build(rows, seq=100)
    maskable = ~VOCABULARY.is_special[batch.input_ids]
    shares = ((masked(batch, name, rate=rate).labels != IGNORED).sum(1) - rate * maskable.sum(1)) / maskable.sum(1)
    assert abs(shares.mean()) < 4 * shares.std() / np.sqrt(len(shares))


@EVERY
def test_rows_may_each_have_a_rate(name: str) -> None:
    batch = build(LONG, seq=140)
    rates = np.where(np.arange(len(LONG)) % 2, 0.2, 0.7)
    out = masked(batch, name, rate=rates)
    for parity, rate in ((1, 0.2), (0, 0.7)):
        same = masked(batch, name, rate=rate)
        rows = np.arange(len(LONG)) % 2 == parity
        assert (out.labels[rows] == same.labels[rows]).all()
        assert (out.input_ids[rows] == same.input_ids[rows]).all()
    with pytest.raises(SettingsError, match=r"^masking.rate=1.0 must lie"):
        masked(batch, name, rate=np.ones(len(LONG)))
    with pytest.raises(ValueError, match="rates of shape"):
        masked(batch, name, rate=np.full(3, 0.5))


@pytest.mark.parametrize("name", WHOLE_WORDS)
@FEW
@given(rows=st.lists(ROW, min_size=1, max_size=4), rate=st.sampled_from([0.05, 0.15, 0.5, 0.95]))
def test_whole_words_are_whole_and_share_their_fate(name: str, rows: list, rate: float) -> None:
    batch = build(rows)
    out = masked(batch, name, rate=rate)
    predicted = out.labels != IGNORED
    maskable = (batch.doc_ids > 0) & ~VOCABULARY.is_special[batch.input_ids]
    word = words_of(batch)
    for r in range(len(rows)):
        for index in np.unique(word[r][maskable[r]]):
            pieces = maskable[r] & (word[r] == index)
            assert predicted[r, pieces].all() or not predicted[r, pieces].any(), "a word is cut"
            is_mask = out.input_ids[r, pieces] == VOCABULARY.mask_id
            assert is_mask.all() or not is_mask.any(), "a word has two fates"


def test_the_pieces_of_a_word_are_kept_or_replaced_together() -> None:
    rows = [[[(9, i % 4 == 0) for i in range(36)]]] * 200
    batch = build(rows)
    out = masked(batch, "whole_word", rate=0.5, corruption=Corruption(mask=0.0, random=0.5))
    kept = (out.input_ids == 9)[:, 1:37].reshape(-1, 4)
    chosen = (out.labels != IGNORED)[:, 1:37].reshape(-1, 4).all(1)
    # Two of a replaced word's four pieces being drawn equal to the original by chance: 6 / 195^2.
    assert (kept[chosen].sum(1) == 2).mean() < 0.01
    assert 0.4 < kept[chosen].all(1).mean() < 0.6


@FEW
@given(rows=st.lists(ROW, min_size=1, max_size=4), rate=st.floats(0.01, 0.99), seed=st.integers(0, 1 << 40))
def test_whole_word_equals_uniform_when_every_word_is_one_piece(rows: list, rate: float, seed: int) -> None:
    batch = build([[[(i, True) for i, _ in piece] for piece in pieces] for pieces in rows])
    ours, theirs = (
        masked(batch, "whole_word", rate=rate, seed=seed),
        masked(batch, "uniform", rate=rate, seed=seed),
    )
    assert (ours.labels == theirs.labels).all()
    assert (ours.input_ids == theirs.input_ids).all()


def spied(longest: int, seen: list[tuple[Candidates, Selection]]) -> Select:
    def select(candidates: Candidates, rng: np.random.Generator) -> Selection:
        selection = Ngram(longest).select(candidates, rng)
        seen.append((candidates, selection))
        return selection

    return select


@FEW
@given(
    rows=st.lists(ROW, min_size=1, max_size=4),
    rate=st.sampled_from([0.05, 0.15, 0.5, 0.95]),
    longest=st.integers(1, 5),
)
def test_ngrams_are_runs_of_whole_words(rows: list, rate: float, longest: int) -> None:
    seen: list[tuple[Candidates, Selection]] = []
    masked(build(rows), spied(longest, seen), rate=rate)
    for (_, may_mask, word_starts, _, _), (chosen, group) in seen:
        word = word_starts.cumsum()
        assert ((group >= 0) & (group < group.size)).all()
        for number in np.unique(group[may_mask]):
            at = np.flatnonzero(may_mask & (group == number))
            words = np.unique(word[at])
            assert words.size <= longest, "an n-gram is too long"
            assert (np.flatnonzero(may_mask & np.isin(word, words)) == at).all(), "an n-gram cuts a word"
            is_one_run = at[-1] - at[0] + 1 == at.size
            assert is_one_run or words.size == 1, "an n-gram crosses a special token"
            assert chosen[at].all() or not chosen[at].any(), "an n-gram is cut"


def test_the_words_of_an_ngram_share_their_fate() -> None:
    seen: list[tuple[Candidates, Selection]] = []
    batch = build([[[(9, i % 4 != 1) for i in range(38)]]] * 200)
    out = masked(batch, spied(3, seen), rate=0.5, corruption=Corruption(mask=0.5, random=0.0))
    fates = []
    for (_, selection), ids in zip(seen, out.input_ids, strict=True):
        for number in np.unique(selection.group[selection.chosen]):
            is_mask = ids[selection.chosen & (selection.group == number)] == VOCABULARY.mask_id
            assert is_mask.all() or not is_mask.any(), "an n-gram has two fates"
            fates.append(is_mask.all())
    assert abs(np.mean(fates) - 0.5) < 4 * 0.5 / np.sqrt(len(fates))


@FEW
@given(rows=st.lists(ROW, min_size=1, max_size=4), rate=st.floats(0.01, 0.99), seed=st.integers(0, 1 << 40))
def test_ngrams_of_one_word_are_whole_words(rows: list, rate: float, seed: int) -> None:
    batch = build(rows)
    ours = masked(batch, Ngram(longest=1).select, rate=rate, seed=seed)
    theirs = masked(batch, "whole_word", rate=rate, seed=seed)
    assert (ours.labels == theirs.labels).all()
    assert (ours.input_ids == theirs.input_ids).all()
