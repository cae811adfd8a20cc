"""Prompts: patterns and words are checked, texts are cut and patterns never, and the mask is where it is asked."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import DataError, SettingsError
from clozelm.infer.fill_mask import encode_masks
from clozelm.tasks.encode import ReadAs, encode_texts
from clozelm.tasks.prompt import Prompt, encode_prompts, parse_words
from clozelm.text.examples import TextExample
from tests.tiny_models import WORDS, byte_bpe, wordpiece

ANY = {"neg": ("cat",), "pos": ("dog",)}
TOKENIZERS = {"wordpiece": wordpiece(), "bytes": byte_bpe()}
PATTERNS = ["{text} is [MASK].", "[MASK] : {text}", "a {text} <mask> the mat", "the [mask] {text}", "{text}[MASK]"]
SEVERAL = st.lists(st.sampled_from([*WORDS, ".", "[MASK]"]), max_size=40).map(" ".join)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=SEVERAL, longest=st.sampled_from([500, 30, 24]))
def test_a_text_is_read_inside_its_pattern(pattern: str, kind: str, text: str, longest: int) -> None:
    """The pieces are those of the whole sentence as a mask filler reads it; too many are cut, but of the text."""
    tokenizer = TOKENIZERS[kind]
    mask_id, mask = tokenizer.vocabulary.mask_id, tokenizer.token(tokenizer.vocabulary.mask_id)
    text = text.replace("[MASK]", mask)
    (unit,) = encode_prompts(tokenizer, [TextExample((f" {text} ",))], ReadAs(longest), Prompt(pattern, ANY)).units
    assert (unit.ids[0], unit.ids[-1]) == (tokenizer.vocabulary.cls_id, tokenizer.vocabulary.sep_id)
    whole = encode_masks(tokenizer, pattern.replace("{text}", text)).tolist()
    kept = unit.ids[1:-1].tolist()
    assert len(kept) == min(longest - 2, len(whole))
    behind = encode_masks(tokenizer, pattern.partition("{text}")[2]).tolist()
    assert kept == whole[: len(kept) - len(behind)] + behind
    before = encode_masks(tokenizer, pattern.partition("{text}")[0]).tolist()
    place = before.index(mask_id) if mask_id in before else len(kept) - len(behind) + behind.index(mask_id)
    assert unit.columns.tolist() == [place + 1]


def test_of_a_pair_the_longer_text_is_cut_as_without_a_prompt() -> None:
    tokenizer = wordpiece()
    pair = TextExample(("cat " * 20, "dog " * 6))
    found = encode_prompts(tokenizer, [pair], ReadAs(20), Prompt("{b} is [MASK] the {a} .", ANY))
    (unit,) = found.units
    words = [tokenizer.token(each) for each in unit.ids]
    assert words == ["[CLS]", *["dog"] * 6, "is", "[MASK]", "the", *["cat"] * 8, ".", "[SEP]"]
    assert found.notes == ["1 of 1 texts, longer than 20 pieces with the prompt, were cut"]
    (plain,) = encode_texts(tokenizer, [pair], ReadAs(17)).units
    assert np.bincount(plain.ids)[[tokenizer.id("cat"), tokenizer.id("dog")]].tolist() == [8, 6]


def test_a_mask_written_in_the_text_is_not_the_one_that_is_asked() -> None:
    tokenizer = wordpiece()
    text = TextExample(("the [MASK] sat",))
    (unit,) = encode_prompts(tokenizer, [text], ReadAs(30), Prompt("{text} is [MASK]", ANY)).units
    assert [tokenizer.token(each) for each in unit.ids] == [
        "[CLS]",
        "the",
        "[MASK]",
        "sat",
        "is",
        "[MASK]",
        "[SEP]",
    ]
    assert unit.columns.tolist() == [5]


def test_a_model_without_segments_gets_none_and_others_the_first() -> None:
    prompt, text = Prompt("{text} is [MASK]", ANY), [TextExample(("the cat",))]
    assert encode_prompts(wordpiece(), text, ReadAs(30), prompt).units[0].segments is None
    segments = encode_prompts(wordpiece(), text, ReadAs(30, has_segments=True), prompt).units[0].segments
    assert segments is not None
    assert segments.tolist() == [0] * 6


def test_words_of_byte_level_tokenizers_take_their_blank_along() -> None:
    tokenizer = byte_bpe()

    def pieces(pattern: str, word: str) -> list[str]:
        prompt = Prompt(pattern, {"a": (word,), "b": ("!",)})
        return [tokenizer.token(ids[0]) for ids in prompt.pieces(("a", "b"), tokenizer)]

    assert pieces("{text} It is a [MASK].", "cat")[0] == "Ġcat"
    assert pieces("{text} [MASK]", "dog")[0] == "Ġdog"
    with pytest.raises(SettingsError, match=r"'cat' is 3 pieces \(c a t\), but a mask is one"):
        pieces("[MASK] {text}", "cat")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{text} It was good.", "has no [MASK]: write it once"),
        ("{text} [MASK] and <mask>", "has 2 [MASK]s: write it once"),
        ("It was [MASK].", "must have {text} once"),
        ("{text} {text} [MASK]", "must have {text} once"),
        ("{b} [MASK]", "must have {text} once"),
        ("{premise} [MASK]", "has {premise}: a text is {text}"),
    ],
)
def test_a_pattern_that_asks_nothing_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Prompt(pattern, ANY)
    assert said in str(caught.value)
    assert repr(pattern) in str(caught.value)


def test_words_are_read_in_both_spellings() -> None:
    read = parse_words("negative=terrible| awful ,positive=great,3=so")
    assert read == {"negative": ("terrible", "awful"), "positive": ("great",), "3": ("so",)}
    assert parse_words(json.dumps({"a,b": "great", "c=d": ["bad", "awful"]})) == {
        "a,b": ("great",),
        "c=d": ("bad", "awful"),
    }
    assert parse_words("a=b=c") == {"a=b": ("c",)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("negative", "'negative' is no LABEL=WORD"),
        ("=great", "'=great' is no LABEL=WORD"),
        ("a=,b=great", "no word for the label 'a', or an empty one"),
        ("a=x||y", "no word for the label 'a', or an empty one"),
        ("a=x,a=y", "names the label 'a' twice"),
        ('{"a": [', "begins as JSON, but is none"),
        ('{"a": 3}', "no word for the label 'a'"),
    ],
)
def test_words_that_cannot_be_read_are_refused(words: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_words(words)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"neg": ("cats",), "pos": ("dog",)}, "'cats' is 2 pieces (cat ##s), but a mask is one"),
        ({"neg": ("zebra",), "pos": ("dog",)}, "'zebra' is unknown to the tokenizer (it reads [UNK])"),
        ({"neg": ("the cat",), "pos": ("dog",)}, "'the cat' is 2 pieces (the cat)"),
        ({"neg": ("cat", "Dog"), "pos": ("dog",)}, "'dog' of 'pos' is the piece of 'Dog' of 'neg' too"),
        ({"neg": ("cat", "cat"), "pos": ("dog",)}, "'cat' of 'neg' is the piece of 'cat' of 'neg' too"),
    ],
)
def test_words_that_are_no_piece_of_their_own_are_refused(words: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Prompt("{text} is [MASK]", words).pieces(("neg", "pos"), wordpiece())
    assert said in str(caught.value)


def test_labels_and_words_must_be_the_same() -> None:
    prompt = Prompt("{text} is [MASK]", ANY)
    prompt.check(("neg", "pos"), 1)
    with pytest.raises(SettingsError, match="has a word for 'pos', which is not among the labels neg"):
        prompt.check(("neg",), 1)
    with pytest.raises(SettingsError, match="no word for the label 'mid' and 1 more: each label needs one"):
        prompt.check(("neg", "pos", "mid", "none"), 1)
    with pytest.raises(SettingsError, match="asks about one text, but the examples are pairs"):
        prompt.check(("neg", "pos"), 2)
    with pytest.raises(SettingsError, match="asks about a pair, but the examples are single texts"):
        Prompt("{a} [MASK] {b}", ANY).check(("neg", "pos"), 1)
    with pytest.raises(DataError, match=r"a.csv:3: the prompt asks about 1 texts, here 2"):
        encode_prompts(wordpiece(), [TextExample(("a", "the"), source="a.csv:3")], ReadAs(30), prompt)


def test_a_prompt_without_room_for_text_is_refused() -> None:
    prompt = Prompt("the cat sat on the mat {text} is [MASK]", ANY)
    with pytest.raises(SettingsError, match=r"max_length=10 leaves no room for text beside the prompt's 8 pieces"):
        encode_prompts(wordpiece(), [TextExample(("the dog ran",))], ReadAs(10), prompt)
