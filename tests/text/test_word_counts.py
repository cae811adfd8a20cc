"""Counting words: as the model gets them, in bounded memory."""

import pytest

from clozelm.text.train_tokenizer import train
from clozelm.text.word_counts import WordCounter, without_rarest


def test_counts_are_bounded() -> None:
    counts = {"a": 5, "b": 1, "c": 2, "d": 2}
    assert without_rarest(counts, 4) == counts
    assert without_rarest(counts, 3) == {"a": 5, "c": 2, "d": 2}
    assert without_rarest(counts, 2) == {"a": 5}


def test_words_are_counted_as_the_model_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, _ = train(["ab cd the cat"] * 5, kind="bpe", vocab_size=265)
    counter = WordCounter(tokenizer.backend, tokenizer.definition, keeps_space=True)
    texts = ["the cat the <mask>", "\n  the cat", "", "  ", "x" * 101]
    expected = {"the": 1, "Ġcat": 2, "Ġthe": 2, "ĊĠ": 1}
    assert counter.count(texts) == expected
    monkeypatch.setattr("clozelm.text.word_counts._BATCH_CHARACTERS", 1)
    monkeypatch.setattr("clozelm.text.word_counts._ENCODED_AT_ONCE", 1)
    assert counter.count(texts) == expected
    assert counter.count(["a a a b", "c d"], max_words=3) == {"Ġa": 2}


def test_unknown_words_are_counted_as_they_are_normalised() -> None:
    tokenizer, _ = train(["ab cd the cat"] * 5, kind="wordpiece", vocab_size=20)
    counter = WordCounter(tokenizer.backend, tokenizer.definition, keeps_space=False)
    # A special token written out is not one word.
    found = counter.count(["Ж,\u0301ж the-Ü 🙂🙂 [UNK]"])
    assert found == {"ж": 2, ",": 1, "the": 1, "-": 1, "u": 1, "🙂🙂": 1}
