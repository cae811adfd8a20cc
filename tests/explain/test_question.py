"""A question is read as `cloze fill` reads the text; mistakes are said in one line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import ClozeError
from clozelm.explain.question import MOST_PIECES, read_question
from clozelm.infer.fill_mask import encode_masks
from clozelm.text.tokenizer import Tokenizer
from tests import tiny_models

TOKENIZERS = {"wordpiece": tiny_models.wordpiece(), "bytes": tiny_models.byte_bpe()}


def inner(ids: np.ndarray) -> list[int]:
    return ids.tolist()[1:-1]


@pytest.mark.parametrize("name", TOKENIZERS)
@given(
    parts=st.lists(
        st.sampled_from([" the", " cats", "  dog", ".", " <mask>", "[MASK]", " Ünknown", " ran"]), max_size=9
    ),
    place=st.integers(0, 8),
)
def test_pieces_are_those_of_fill(name: str, parts: list[str], place: int) -> None:
    tokenizer = TOKENIZERS[name]
    text = "".join([*parts[:place], " [mask]", *parts[place:]])
    number = 1 + sum(part.strip() in ("<mask>", "[MASK]") for part in parts[:place])
    question = read_question(tokenizer, 512, text, mask=number)
    mask_id = tokenizer.vocabulary.mask_id
    assert inner(question.ids) == encode_masks(tokenizer, text).tolist()
    assert question.columns == (1 + int(np.flatnonzero(np.array(inner(question.ids)) == mask_id)[number - 1]),)
    special = tokenizer.vocabulary.special_ids - {tokenizer.vocabulary.unk_id}
    columns = [column for word in question.words for column in word.columns]
    assert columns == [i for i, piece in enumerate(question.ids.tolist()) if piece not in special]


def test_pieces_are_grouped_to_words() -> None:
    question = read_question(TOKENIZERS["wordpiece"], 64, "The cats [MASK], running dogs.")
    assert [(word.text, len(word.columns)) for word in question.words] == [
        ("The", 1),
        ("cats", 2),
        (",", 1),
        ("running", 1),
        ("dogs", 2),
        (".", 1),
    ]
    question = read_question(TOKENIZERS["bytes"], 64, "a cat [MASK] é dog")
    assert [word.text for word in question.words] == ["a", "cat", "é", "dog"]


@pytest.mark.parametrize(("name", "pieces"), [("wordpiece", ["cat", "##s"]), ("bytes", ["Ġcat", "s"])])
def test_an_expected_word_of_several_pieces_gets_as_many_masks(name: str, pieces: list[str]) -> None:
    tokenizer = TOKENIZERS[name]
    text = "the [MASK] on a mat"
    question = read_question(tokenizer, 64, text, word="cats")
    assert [tokenizer.token(piece) for piece in question.expected or ()] == pieces
    start = question.columns[0]
    assert question.columns == (start, start + 1)
    assert question.ids[[*question.columns]].tolist() == [tokenizer.vocabulary.mask_id] * 2
    filled = question.ids.copy()
    filled[[*question.columns]] = question.expected
    assert inner(filled) == tokenizer.encode("the cats on a mat").ids.tolist()
    one = read_question(tokenizer, 64, text)
    assert [word.text for word in question.words] == [word.text for word in one.words]


@pytest.mark.parametrize("place", [0, 3, 150, 299])
def test_a_long_text_is_read_around_the_mask(place: int) -> None:
    words = ["the", "cat", "sat"] * 100
    words[place] = "[MASK]"
    for positions, room in ((62, 60), (8192, MOST_PIECES)):
        question = read_question(TOKENIZERS["wordpiece"], positions, " ".join(words))
        assert len(question.ids) == room + 2
        assert question.ids[question.columns[0]] == 4
        assert question.notice is not None
        assert f"{room}: what follows" in question.notice
        before, after = question.columns[0] - 1, len(question.ids) - question.columns[0] - 2
        assert min(before, after) >= min(room // 2 - 1, place, 299 - place)
        start = place - before
        own = [TOKENIZERS["wordpiece"].id(word) for word in words[start : start + room]]
        assert inner(question.ids) == own


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("a cat", {}, "'a cat' has no \\[MASK\\]"),
        ("a [MASK*] ran", {}, "has a \\[MASK\\*\\], a blank of open length, which cannot be explained"),
        ("a <mask*> and [MASK]", {}, "has a <mask\\*>, a blank of open length"),
        ("[MASK] and [MASK]", {}, "has 2 masks: choose the one to explain with mask=1 to mask=2"),
        ("[MASK] and [MASK]", {"mask": 3}, "mask=3 does not exist: the text has 2 masks, counted from 1"),
        ("a [MASK]", {"mask": 2}, "mask=2 does not exist: the text has one mask"),
        ("a [MASK]", {"mask": 0}, "mask=0 does not exist"),
        ("a [MASK]", {"word": "zebra"}, "word='zebra' cannot be written with this model's vocabulary of 20"),
        ("a [MASK]", {"word": " "}, "has no pieces"),
        ("a [MASK]", {"word": "[SEP]"}, "is or has a special token"),
        ("a [MASK]", {"word": "cat " * 20}, "is 20 pieces, and at most 16"),
        ("a \udcff [MASK]", {}, "is not valid text"),
        ("a [MASK]", {"word": "\udcff"}, "is not valid text"),
    ],
)
def test_mistakes(text: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ClozeError, match=said):
        read_question(TOKENIZERS["wordpiece"], 64, text, **options)  # type: ignore[arg-type]


def test_a_model_without_room() -> None:
    with pytest.raises(ClozeError, match="has no room for 2 pieces"):
        read_question(TOKENIZERS["wordpiece"], 3, "a [MASK]", word="cats")


def test_the_tokenizers_are_what_they_are() -> None:
    assert all(isinstance(each, Tokenizer) for each in TOKENIZERS.values())
