"""What a model reads of examples: the stock tokenizers' pieces, words, windows and rows."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from clozelm.errors import DataError, SettingsError
from clozelm.tasks.batches import batches, lay_out, longest_first, packed
from clozelm.tasks.encode import ReadAs, Unit, encode_sentences, encode_texts
from clozelm.text.examples import TaggedSentence, TextExample
from clozelm.text.tokenizer import Tokenizer
from tests.tiny_models import wordpiece

NAMES = ["bert-base-uncased", "bert-base-cased", "roberta-base", "albert-base-v2", "modernbert-base"]
TEXTS = [
    "Paris is lovely.",
    "",
    " x",
    "naïve 机器学习 🙂",
    "one two three four five six seven eight nine ten, " * 3 + "end",
]


@cache
def stock(path: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(path)


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, shared: Path) -> Path:
    return shared / "checkpoints/tokenizers" / request.param


@pytest.mark.parametrize("max_length", [8, 15, 16, 64])
def test_texts_and_pairs_are_the_stock_tokenizers(folder: Path, max_length: int) -> None:
    tokenizer = Tokenizer.load(folder)
    pairs = [(first, second) for first in TEXTS for second in TEXTS]
    for examples in ([(text,) for text in TEXTS], pairs):
        found = encode_texts(
            tokenizer, [TextExample(texts) for texts in examples], ReadAs(max_length, has_segments=True)
        )
        for unit, texts in zip(found.units, examples, strict=True):
            given = [[text] for text in texts]
            wanted = stock(folder)(*given, truncation=True, max_length=max_length, return_token_type_ids=True)
            assert unit.ids.tolist() == wanted["input_ids"][0], texts
            if folder.name.startswith("bert-base"):
                assert unit.segments is not None
                assert unit.segments.tolist() == wanted["token_type_ids"][0]
            assert unit.columns.tolist() == [0]


def test_cut_texts_are_counted() -> None:
    found = encode_texts(wordpiece(), [TextExample(("the cat " * n,)) for n in (1, 9, 10)], ReadAs(8))
    assert [len(unit.ids) for unit in found.units] == [4, 8, 8]
    assert found.notes == ["2 of 3 texts are longer than 8 pieces and were cut there"]


def test_no_room_and_mixed_texts_are_refused() -> None:
    with pytest.raises(SettingsError, match="leaves no room"):
        encode_texts(wordpiece(), [TextExample(("a", "a"))], ReadAs(4))
    with pytest.raises(DataError, match="b:2: single texts and pairs"):
        encode_texts(wordpiece(), [TextExample(("a",)), TextExample(("a", "a"), source="b:2")], ReadAs(9))


WORDS = ["EU", "rejects", "German", "call", "to", "boycott", "British", "lamb", ".", "unbelievable", "(", "3.14"]


@pytest.mark.parametrize("name", ["bert-base-uncased", "bert-base-cased", "roberta-base"])
def test_words_are_asked_at_the_pieces_the_stock_tokenizers_give_them(name: str, shared: Path) -> None:
    """As with ``is_split_into_words``, and with ``add_prefix_space`` where pieces carry the blank before them."""
    folder = shared / "checkpoints/tokenizers" / name
    is_byte_level = name == "roberta-base"
    theirs = AutoTokenizer.from_pretrained(folder, add_prefix_space=True) if is_byte_level else stock(folder)
    wanted = theirs(WORDS, is_split_into_words=True)
    unit = encode_sentences(Tokenizer.load(folder), [TaggedSentence(tuple(WORDS))], ReadAs(64)).units[0]
    first = {word: index for index, word in reversed(list(enumerate(wanted.word_ids()))) if word is not None}
    assert dict(zip(unit.places.tolist(), unit.columns.tolist(), strict=True)) == first
    skipped = 2 if is_byte_level else 0  # the first word of a text has no blank before it
    assert unit.ids.tolist()[skipped:] == wanted["input_ids"][skipped:]


def test_words_of_a_sentence_are_those_of_its_text(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    unit = encode_sentences(tokenizer, [TaggedSentence(tuple(WORDS))], ReadAs(64)).units[0]
    assert unit.ids[1:-1].tolist() == tokenizer.encode(" ".join(WORDS)).ids.tolist()
    begins = [tokenizer.piece_text(int(unit.ids[column])).strip() for column in unit.columns]
    assert unit.places.tolist() == list(range(len(WORDS)))
    for word, piece in zip(WORDS, begins, strict=True):
        assert piece
        assert word.lower().startswith(piece.lower()), (word, piece)


@given(
    st.lists(st.sampled_from(["the", "cat", "\u200b", "zzz", "on", "the-cat"]), min_size=1, max_size=30),
    st.integers(8, 20),
)
def test_every_word_is_asked_once_where_it_begins(words: list[str], max_length: int) -> None:
    tokenizer = wordpiece()
    found = encode_sentences(tokenizer, [TaggedSentence(tuple(words))], ReadAs(max_length))
    whole = encode_sentences(tokenizer, [TaggedSentence(tuple(words))], ReadAs(500)).units
    asked = [place for unit in found.units for place in unit.places.tolist()]
    assert sorted(asked) == ([] if not whole else whole[0].places.tolist())
    for unit in found.units:
        assert len(unit.ids) <= max_length
        for column, place in zip(unit.columns, unit.places, strict=True):
            begin = whole[0].columns[whole[0].places.tolist().index(place)]
            assert unit.ids[column] == whole[0].ids[begin]


def test_a_word_is_asked_where_it_has_most_text_around_it() -> None:
    words = tuple(["cat"] * 40)
    found = encode_sentences(wordpiece(), [TaggedSentence(words)], ReadAs(18))
    assert len(found.units) == 4
    for unit in found.units[1:-1]:
        margin = np.minimum(unit.columns - 1, len(unit.ids) - 2 - unit.columns)
        assert margin.min() >= 3
    assert found.notes == ["1 of 1 sentences, longer than 18 pieces, are read in windows"]


def unit(length: int, owner: int = 0) -> Unit:
    ids = np.arange(5, 5 + length, dtype=np.int32)
    return Unit(ids, None, np.array([0, length - 1], np.int32), np.array([0, 1], np.int32), owner)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=60))
def test_rows_hold_every_unit_once_and_none_is_too_long(lengths: list[int]) -> None:
    rows = packed(lengths)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= max(lengths) for row in rows)
    if len(rows) > 1:  # no two rows would fit into one
        sums = sorted(sum(lengths[index] for index in row) for row in rows)
        assert sums[0] + sums[1] > max(lengths)


@given(st.lists(st.integers(2, 30), min_size=1, max_size=40), st.integers(16, 200))
def test_batches_answer_every_place_once(lengths: list[int], tokens: int) -> None:
    units = [unit(length, owner) for owner, length in enumerate(lengths)]
    seen = []
    for laid in batches(longest_first(units), pad_id=0, tokens=tokens):
        assert int(laid.batch.is_token.sum()) <= max(tokens, max(lengths))
        flat = laid.batch.input_ids.flatten()[laid.scored].numpy()
        assert (np.diff(laid.scored.numpy()) > 0).all()
        for owner, place, found in zip(laid.owners, laid.places, flat, strict=True):
            assert found == (5 if place == 0 else 4 + lengths[owner])
            seen.append((int(owner), int(place)))
    assert sorted(seen) == [(owner, place) for owner in range(len(lengths)) for place in (0, 1)]


def test_documents_of_a_row_begin_again() -> None:
    laid = lay_out([unit(3), unit(5, 1), unit(2, 2)], pad_id=9)
    assert laid.batch.positions.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 0, 1]]
    assert laid.batch.doc_ids.tolist() == [[1] * 5, [1, 1, 1, 2, 2]]
