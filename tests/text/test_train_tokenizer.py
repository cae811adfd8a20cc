"""Training tokenizers: the vocabulary asked for, a bounded even sample, a true report."""

import pytest

from clozelm.errors import DataError, SettingsError
from clozelm.text.train_tokenizer import _sample, train

TEXTS = ["the cat sat on the mat", "a dog ran in the fog"] * 5


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_a_vocabulary_the_corpus_cannot_fill_is_refused(kind: str) -> None:
    with pytest.raises(
        SettingsError, match=r"vocab_size=5000 is more than the corpus can fill: it gives \d+ pieces"
    ) as said:
        train(TEXTS, kind=kind, vocab_size=5000)
    fits = int(str(said.value).split("--vocab-size ")[1].split()[0])
    assert train(TEXTS, kind=kind, vocab_size=fits)[1].vocab_size == fits


def test_a_vocabulary_too_small_for_the_characters_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"vocab_size=10 is too small: .* already make \d+ pieces"):
        train(TEXTS, kind="wordpiece", vocab_size=10)


def test_no_text_and_unknown_kind_are_refused() -> None:
    with pytest.raises(DataError, match="no text"):
        train([])
    with pytest.raises(SettingsError, match="kind=word must be one of wordpiece, bpe, unigram"):
        train(TEXTS, kind="word")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_training_is_a_function_of_its_input(kind: str) -> None:
    size = {"wordpiece": 36, "bpe": 275}[kind]
    first, second, third = (train(TEXTS, kind=kind, vocab_size=size)[0] for _ in range(3))
    assert first.fingerprint == second.fingerprint == third.fingerprint
    assert first.fingerprint != train(TEXTS, kind=kind, vocab_size=size - 1)[0].fingerprint


def test_sample_is_bounded_even_and_seeded() -> None:
    texts = [f"{i:05d} " + "x" * 94 for i in range(2000)]
    sample = _sample(texts, 20_000, seed=1)
    places = [int(text[:5]) for text in sample]
    assert 8_000 < sum(map(len, sample)) <= 20_000
    assert places == sorted(places)
    assert 0.3 < sum(place < 1000 for place in places) / len(places) < 0.7
    assert sample == _sample(iter(texts), 20_000, seed=1) != _sample(texts, 20_000, seed=2)
    assert _sample(texts, 10**9, seed=1) == texts


def test_report_counts_what_is_unknown() -> None:
    _, report = train(["ab ab ab ba ba"] * 5, kind="wordpiece", vocab_size=10)
    assert (report.unknown_rate, report.coverage) == (0.0, 1.0)
    assert report.fertility >= 1
