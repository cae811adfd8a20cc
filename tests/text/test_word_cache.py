"""The word cache gives the library's ids and the readable definition's flags, for every kind of tokenizer."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clozelm.text.sentences import sentence_starts
from clozelm.text.tokenizer import Tokenizer, encoded
from clozelm.text.train_tokenizer import train
from clozelm.text.word_cache import BatchEncoder

REAL = [
    "tokenizers/bert-base-uncased",
    "tokenizers/bert-base-cased",
    "tokenizers/distilbert-base-uncased",
    "tokenizers/roberta-base",
    "tokenizers/modernbert-base",
    "tokenizers/albert-base-v2",
    "rxnfp-bert-mlm",
    "sapiens-roberta-mlm-vh",
]
WORDS = [
    "The",
    "cat",
    "sat.",
    "don't",
    "3.14",
    "(foo)",
    "“Hi!”",
    "naïve",
    "你好。世界",
    "東京",
    "한국어",
    "😀",
    "e\u0301",
]
WORDS += [
    "[MASK]",
    "<mask>",
    "[SEP]",
    "word,",
    "end.”",
    "x\u200by",
    "\u00a8b",
    "\u0301c",
    "ß",
    "``q''",
    "|||IP_ADDRESS|||",
]
GAPS = [" ", " ", " ", " ", "\n", "  ", "\n\n", "\t", " \n", "\n ", "\u00a0", " \u00a0", "\r\n", "\u3000", ""]
TEXTS = st.one_of(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), max_size=12).map(
        lambda pairs: "".join(word + gap for word, gap in pairs)
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.text(alphabet=" \n\t\u00a0.!?。'\"sStTa1,\u0301\u0600\u0d4e\U0001f1e9각", max_size=20),
)


@cache
def encoder_of(path: Path) -> tuple[BatchEncoder, tokenizers.Tokenizer]:
    tokenizer = Tokenizer.load(path)
    library = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    library.encode_special_tokens = True
    return BatchEncoder(tokenizer), library


@cache
def trained(kind: str) -> tuple[BatchEncoder, tokenizers.Tokenizer]:
    texts = [
        "the cat sat on the mat and the dog sat on the log",
        "naïve cafés, don't they? 你好 世界",
        "A. B! C?",
    ] * 3
    tokenizer, _ = train(texts, kind=kind, vocab_size={"bpe": 290, "unigram": 36}.get(kind, 45))
    library = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    library.encode_special_tokens = True
    return BatchEncoder(tokenizer), library


def check(pair: tuple[BatchEncoder, tokenizers.Tokenizer], texts: list[str]) -> None:
    encode, library = pair
    batch = encode(texts)
    stops = np.cumsum(batch.lengths)
    for text, stop, length in zip(texts, stops, batch.lengths, strict=True):
        expected = encoded(text, library.encode(text, add_special_tokens=False))
        ids, flags = batch.ids[stop - length : stop], batch.flags[stop - length : stop]
        assert ids.tolist() == expected.ids.tolist(), repr(text)
        starts = sentence_starts(text, expected.word_starts, expected.offsets)
        assert flags.tolist() == (expected.word_starts + 2 * starts).tolist(), repr(text)


@pytest.mark.parametrize("name", REAL)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, max_size=4))
def test_equals_the_library_for_real_tokenizers(shared: Path, name: str, texts: list[str]) -> None:
    check(encoder_of(shared / "checkpoints" / name), texts)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4))
def test_equals_the_library_for_trained_tokenizers(kind: str, texts: list[str]) -> None:
    check(trained(kind), texts)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_trained_tokenizers_are_cached(kind: str) -> None:
    assert trained(kind)[0].is_cached


def test_a_full_cache_changes_nothing() -> None:
    tokenizer, _ = train(["a b c d e f g h"] * 5, kind="bpe", vocab_size=262)
    texts = ["a bb ccc. dddd\nee f"] * 3
    small, large = BatchEncoder(tokenizer, max_chunks=2)(texts), BatchEncoder(tokenizer)(texts)
    assert all(np.array_equal(a, b) for a, b in zip(small, large, strict=True))


def test_special_tokens_in_the_text_stay_text(shared: Path) -> None:
    encode, _ = encoder_of(shared / "checkpoints/tokenizers/bert-base-uncased")
    special = Tokenizer.load(shared / "checkpoints/tokenizers/bert-base-uncased").vocabulary.special_ids
    assert not special & set(encode(["a [MASK] b [SEP] [CLS] [PAD]"]).ids.tolist())


@pytest.mark.parametrize("text", ["\r\n\xa0", "a\t\nb", "a \r\n b", "\x0b\n", "x\xa0\ny", "\n\xa0\n", "  \t  z"])
def test_runs_of_mixed_white_space_are_left_to_the_library(text: str, shared: Path) -> None:
    for name in ("modernbert-base", "roberta-base"):
        tokenizer = Tokenizer.load(shared / "checkpoints" / "tokenizers" / name)
        encoded, batch = tokenizer.encode(text), BatchEncoder(tokenizer)([text])
        assert batch.ids.tolist() == encoded.ids.tolist()
        assert (batch.flags & 1).astype(bool).tolist() == encoded.word_starts.tolist()
