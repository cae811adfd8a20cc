"""Span corruption: nothing is lost, spans are as many and as long as asked for, each row stands for itself."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clozelm.data.rows import Rows
from clozelm.errors import SettingsError
from clozelm.masking.sentinels import Cells, choose_spans, most_sentinels, take_out
from clozelm.vocab import Vocabulary

VOCABULARY = Vocabulary(size=40, pad_id=0, unk_id=1, cls_id=2, sep_id=3, mask_id=4)
FIRST, SENTINELS = 40, 100


def rows_of(documents: list[list[list[int]]], width: int, *, first_id: int = 0) -> Rows:
    """Rows of document pieces without [CLS] and [SEP], which are added."""
    shape = (len(documents), width)
    ids, docs = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int32)
    positions = np.zeros(shape, dtype=np.int32)
    for row, pieces in enumerate(documents):
        column = 0
        for number, piece in enumerate(pieces, start=1):
            whole = [VOCABULARY.cls_id, *piece, VOCABULARY.sep_id]
            at = (row, slice(column, column + len(whole)))
            ids[at], docs[at], positions[at] = whole, number, np.arange(len(whole))
            column += len(whole)
    index = np.zeros(shape, dtype=np.int64)
    flags = np.zeros(shape, dtype=np.uint8)
    row_ids = np.arange(first_id, first_id + len(documents))
    return Rows(ids, docs, positions, flags, row_ids, np.zeros(len(documents), dtype=np.int64), index, index)


def corrupted(rows: Rows, chosen: NDArray[np.bool_]) -> tuple[Cells, Cells]:
    return take_out(rows, chosen, first_sentinel=FIRST, sentinels=SENTINELS, pad_id=VOCABULARY.pad_id)


def documents_of(cells: Cells) -> list[list[list[int]]]:
    """The documents of every row, each checked to be packed and counted from 0."""
    found = []
    for ids, docs, positions in zip(cells.input_ids, cells.doc_ids, cells.positions, strict=True):
        is_token = docs > 0
        assert not is_token[int(is_token.sum()) :].any()  # padding comes last
        assert (ids[~is_token] == VOCABULARY.pad_id).all()
        assert (np.diff(docs[is_token]) >= 0).all()
        row = {int(number): ids[docs == number].tolist() for number in np.unique(docs[is_token])}
        for number, document in row.items():
            assert positions[docs == number].tolist() == list(range(len(document)))
        found.append(row)
    return [[row.get(number, []) for number in range(1, max(row, default=0) + 1)] for row in found]


def put_back(text: list[int], target: list[int]) -> list[int]:
    """Read a target as a person would: after each sentinel, what it stands for."""
    spans: dict[int, list[int]] = {}
    for token in target:
        if token >= FIRST:
            assert token == FIRST + len(spans)  # counted from 0, none left out
            spans[token] = []
        else:
            spans[max(spans)].append(token)
    if spans:
        assert spans.pop(max(spans)) == []  # the final one stands for nothing
    assert [token for token in text if token >= FIRST] == list(spans)
    return [piece for token in text for piece in spans.get(token, [token])]


pieces = st.lists(st.integers(1, 39).filter(lambda i: i not in (2, 3)), max_size=30)
many = st.lists(st.lists(pieces, max_size=3), min_size=1, max_size=4)


@given(many, st.floats(0.01, 0.99), st.floats(1.0, 8.0), st.integers(0, 9))
def test_nothing_is_lost(documents: list[list[list[int]]], rate: float, mean_span: float, seed: int) -> None:
    rows = rows_of(documents, 110)
    before = rows.input_ids.copy()
    chosen = choose_spans(rows, VOCABULARY, rate=rate, mean_span=mean_span, seed=seed)
    assert not (chosen & VOCABULARY.is_special[rows.input_ids]).any()
    assert not (chosen & (rows.doc_ids == 0)).any()
    kept, taken = corrupted(rows, chosen)
    assert (rows.input_ids == before).all()
    texts, targets = documents_of(kept), documents_of(taken)
    for row, (whole, text, target) in enumerate(zip(documents, texts, targets, strict=True)):
        target += [[]] * (len(whole) - len(target))
        for number, piece in enumerate(whole, start=1):
            is_maskable = any(not VOCABULARY.is_special[token] for token in piece)
            assert bool(target[number - 1]) == bool(chosen[row][rows.doc_ids[row] == number].any()) == is_maskable
            assert put_back(text[number - 1], target[number - 1]) == [2, *piece, 3]


@given(many, st.integers(0, 3))
def test_a_row_stands_for_itself(documents: list[list[list[int]]], seed: int) -> None:
    """Neither the rows beside it nor its padding change what is taken out of a row."""
    together = choose_spans(rows_of(documents, 110), VOCABULARY, rate=0.3, mean_span=2.0, seed=seed)
    for row, whole in enumerate(documents):
        alone = rows_of([whole], 130, first_id=row)
        chosen = choose_spans(alone, VOCABULARY, rate=0.3, mean_span=2.0, seed=seed)
        assert (chosen[0, :110] == together[row]).all()
        assert not chosen[0, 110:].any()


def test_other_places_have_other_spans() -> None:
    rows = rows_of([[list(range(5, 35))]] * 2, 32)
    one = choose_spans(rows, VOCABULARY, rate=0.3, mean_span=3.0, seed=0)
    assert (one[0] != one[1]).any()
    assert (one != choose_spans(rows, VOCABULARY, rate=0.3, mean_span=3.0, seed=1)).any()


@pytest.mark.parametrize(("rate", "mean_span"), [(0.15, 3.0), (0.3, 5.0), (0.15, 1.0)])
def test_rate_and_mean_span_are_those_asked_for(rate: float, mean_span: float) -> None:
    rows = rows_of([[[7] * 60, [9] * 47]] * 400, 111)
    chosen = choose_spans(rows, VOCABULARY, rate=rate, mean_span=mean_span, seed=3)
    maskable = ~VOCABULARY.is_special[rows.input_ids] & (rows.doc_ids > 0)
    rates = chosen.sum(axis=1) / maskable.sum(axis=1)
    assert abs(rates.mean() - rate) < 4 * max(rates.std(), 1e-9) / math.sqrt(len(rates))
    _, taken = corrupted(rows, chosen)
    spans = (taken.input_ids >= FIRST).sum(axis=1) - 2  # without the two final ones
    deviations = chosen.sum(axis=1) - mean_span * spans
    assert abs(deviations.mean()) <= 4 * deviations.std() / math.sqrt(len(rates)) + 1e-9
    if rate == 0.15 and mean_span == 3.0:
        lengths = chosen.sum() / spans.sum()
        assert abs(lengths - 3.0) < 0.05


def test_every_place_may_be_hidden() -> None:
    """The first and the last token too, though less often than those within reach of more spans."""
    rows = rows_of([[list(range(5, 25))]] * 3000, 22)
    shares = choose_spans(rows, VOCABULARY, rate=0.3, mean_span=3.0, seed=0).mean(axis=0)[1:21]
    assert shares.min() > 0.1
    assert shares.max() < 0.4
    assert abs(shares - shares[::-1]).max() < 4 * math.sqrt(2 * 0.3 * 0.7 / 3000)


def test_a_special_token_divides_a_span() -> None:
    rows = rows_of([[[5, 6, 1, 7, 8]]], 7)
    chosen = np.array([[False, False, True, False, True, True, False]])
    kept, taken = corrupted(rows, chosen)
    assert kept.input_ids.tolist() == [[2, 5, 40, 1, 41, 3]]
    assert taken.input_ids.tolist() == [[40, 6, 41, 7, 8, 42]]


def test_sentinels_are_counted_in_each_document() -> None:
    rows = rows_of([[[5, 6, 7], [8, 9]], [[10]]], 11)
    chosen = np.zeros((2, 11), dtype=np.bool_)
    chosen[0, [1, 3, 7]] = chosen[1, 1] = True
    kept, taken = corrupted(rows, chosen)
    assert documents_of(kept) == [[[2, 40, 6, 41, 3], [2, 8, 40, 3]], [[2, 40, 3]]]
    assert documents_of(taken) == [[[40, 5, 41, 7, 42], [40, 9, 41]], [[40, 10, 41]]]


def test_too_many_spans_are_refused() -> None:
    rows = rows_of([[list(range(5, 35))]], 32)
    chosen = choose_spans(rows, VOCABULARY, rate=0.5, mean_span=1.0, seed=0)
    with pytest.raises(SettingsError, match=r"15 spans, which take 16 sentinels .* set it to 16 or more"):
        take_out(rows, chosen, first_sentinel=FIRST, sentinels=15, pad_id=0)
    take_out(rows, chosen, first_sentinel=FIRST, sentinels=16, pad_id=0)


@pytest.mark.parametrize("every", [2, 3, 5, 100])
@pytest.mark.parametrize(("rate", "mean_span"), [(0.15, 3.0), (0.5, 1.0), (0.9, 2.0), (0.02, 9.0), (0.6, 9.0)])
def test_no_piece_needs_more_than_the_most(rate: float, mean_span: float, every: int) -> None:
    """Whatever [UNK] stands among its tokens: every other one, every third, none."""
    for length in (1, 2, 9, 30):
        text = [1 if place % every == 1 else 7 for place in range(length)]
        rows = rows_of([[text]] * 300, 32)
        _, taken = corrupted(rows, choose_spans(rows, VOCABULARY, rate=rate, mean_span=mean_span, seed=0))
        assert (taken.input_ids >= FIRST).sum(1).max() <= most_sentinels(length, rate=rate, mean_span=mean_span)
        assert (taken.doc_ids > 0).sum(1).max() <= length + 2, (
            "never longer than the piece, [CLS] and [SEP] included"
        )


def test_the_most_is_needed_where_unknown_pieces_divide_every_span() -> None:
    """One long span of 9 tokens with 8 unknown pieces between them is 9 runs, not the 2 that its length allows."""
    text = [7, 1] * 9 + [7] * 12
    rows = rows_of([[text]] * 2000, 32)
    _, taken = corrupted(rows, choose_spans(rows, VOCABULARY, rate=0.4, mean_span=9.0, seed=0))
    needed = int((taken.input_ids >= FIRST).sum(1).max())
    assert 9 <= needed <= most_sentinels(30, rate=0.4, mean_span=9.0) <= 12
    assert most_sentinels(126, rate=0.15, mean_span=3.0) == 19
    assert most_sentinels(510, rate=0.15, mean_span=3.0) <= 100, "T5's rows fit T5's sentinels"


def test_bad_numbers_are_refused() -> None:
    rows = rows_of([[[5]]], 3)
    with pytest.raises(SettingsError, match=r"mean_span=0.5 must be at least 1 \(T5 uses 3\)"):
        choose_spans(rows, VOCABULARY, rate=0.15, mean_span=0.5, seed=0)
    with pytest.raises(SettingsError, match=r"rate=1.5"):
        choose_spans(rows, VOCABULARY, rate=1.5, mean_span=3.0, seed=0)


def test_each_row_has_its_rate() -> None:
    rows = rows_of([[[7] * 60]] * 2, 62)
    rates = np.array([0.1, 0.8])
    chosen = choose_spans(rows, VOCABULARY, rate=rates, mean_span=3.0, seed=0)
    assert chosen.sum(axis=1).tolist() == [6, 48]
    alone = choose_spans(rows, VOCABULARY, rate=0.8, mean_span=3.0, seed=0)
    assert (chosen[1] == alone[1]).all()


def test_every_way_to_cut_spans_is_equally_likely() -> None:
    """Ten tokens, four of them hidden in two spans: 3 ways to cut the hidden ones, 7 x 6 / 2 to cut the rest."""
    rows = rows_of([[list(range(5, 15))]] * 20_000, 12)
    chosen = choose_spans(rows, VOCABULARY, rate=0.4, mean_span=2.0, seed=5)[:, 1:11]
    assert (chosen.sum(axis=1) == 4).all()
    ways = Counter(map(tuple, chosen.tolist()))
    assert all(sum(a and not b for a, b in zip(way, (False, *way), strict=False)) == 2 for way in ways)
    expected = len(chosen) / 63
    assert len(ways) == 63
    assert max(abs(count - expected) for count in ways.values()) <= 4 * math.sqrt(expected)
