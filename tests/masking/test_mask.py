import time
from pathlib import Path

import numpy as np
import pytest

from clozelm.data.loader import Cursor, RowLoader
from clozelm.errors import SettingsError
from clozelm.masking import IGNORED, SELECTORS, Candidates, Corruption, Selection, mask
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.train_tokenizer import Kind, train
from tests.memory_store import VOCABULARY, MemoryStore, realistic_lengths
from tests.properties.test_masking import build
from tests.strategies import WHOLE_WORDS, selector

TEXT = "The unbelievably cute cat sat on the mat; 机器学习是有用的技术。 Überraschungen, naïveté & ☃!"


def masked_ids(name: str, *, seed: int = 1) -> list[int]:
    store = MemoryStore([14], word_share=0.6)
    rows, _ = RowLoader(store, VOCABULARY, row_length=16, seed=0).batch(Cursor(), 1)
    select = selector(name)
    return mask(rows, VOCABULARY, select, rate=0.4, corruption=Corruption(), seed=seed).input_ids[0].tolist()


GOLDEN = {
    "uniform": [2, 171, 4, 105, 58, 4, 4, 20, 9, 40, 4, 131, 183, 103, 4, 3],
    "whole_word": [2, 171, 4, 4, 4, 65, 13, 20, 9, 4, 4, 131, 183, 103, 123, 3],
    "ngram": [2, 171, 129, 105, 58, 65, 13, 20, 9, 4, 4, 131, 183, 103, 63, 3],
    "span": [2, 171, 129, 105, 58, 65, 13, 20, 9, 40, 163, 131, 4, 4, 4, 3],
    "pmi": [2, 171, 4, 4, 4, 65, 13, 20, 9, 4, 4, 131, 183, 103, 123, 3],
    "chosen": [2, 171, 4, 4, 4, 65, 13, 20, 9, 4, 4, 131, 183, 103, 123, 3],
    "adaptive": [2, 171, 129, 4, 58, 4, 118, 20, 9, 40, 4, 131, 4, 103, 123, 3],
}


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden(name: str) -> None:
    assert masked_ids(name) == GOLDEN[name]


@pytest.mark.parametrize("rate", [0.0, 1.0, 1.5, -0.1, float("nan")])
def test_impossible_rates_are_refused(rate: float) -> None:
    rows, _ = RowLoader(MemoryStore([14]), VOCABULARY, row_length=16, seed=0).batch(Cursor(), 1)
    select = SELECTORS["uniform"]().select
    with pytest.raises(SettingsError, match=rf"^masking.rate={rate} must lie strictly between 0 and 1 \(BERT uses"):
        mask(rows, VOCABULARY, select, rate=rate, corruption=Corruption(), seed=0)


@pytest.mark.parametrize(
    ("shares", "line"), [((1.2, 0.0), "mask=1.2"), ((0.8, -0.1), "random=-0.1"), ((0.8, 0.3), "add up")]
)
def test_impossible_corruptions_are_refused(shares: tuple[float, float], line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        Corruption(*shares)


def test_a_strategy_cannot_break_the_promises() -> None:
    def everything(candidates: Candidates, rng: np.random.Generator) -> Selection:
        size = candidates.input_ids.size
        return Selection(np.ones(size, np.bool_), np.arange(size))

    def nothing(candidates: Candidates, rng: np.random.Generator) -> Selection:
        size = candidates.input_ids.size
        return Selection(np.zeros(size, np.bool_), np.arange(size))

    rows, _ = RowLoader(MemoryStore([5] * 40), VOCABULARY, row_length=32, seed=0).batch(Cursor(), 4)
    maskable = (rows.doc_ids > 0) & ~VOCABULARY.is_special[rows.input_ids]
    greedy = mask(rows, VOCABULARY, everything, rate=0.15, corruption=Corruption(), seed=0)
    assert ((greedy.labels != IGNORED) == maskable).all()
    lazy = mask(rows, VOCABULARY, nothing, rate=0.15, corruption=Corruption(), seed=0)
    assert ((lazy.labels != IGNORED).sum(1) == rows.doc_ids.max(1)).all()


def test_candidates_are_the_pieces_of_documents() -> None:
    seen: list[Candidates] = []

    def spy(candidates: Candidates, rng: np.random.Generator) -> Selection:
        seen.append(candidates)
        return Selection(candidates.may_mask.copy(), np.arange(candidates.may_mask.size))

    rows, _ = RowLoader(MemoryStore([300]), VOCABULARY, row_length=32, seed=0).batch(Cursor(), 10)
    mask(rows, VOCABULARY, spy, rate=0.15, corruption=Corruption(), seed=0)
    assert len(seen) == rows.doc_ids.max(1).sum()
    for candidates in seen:
        assert candidates.input_ids[0] == VOCABULARY.cls_id
        assert candidates.input_ids[-1] == VOCABULARY.sep_id
        assert candidates.word_starts[1], "the first piece begins a word, or the rest of a cut one"


@pytest.mark.parametrize("name", sorted(SELECTORS))
@pytest.mark.parametrize(
    "directory", ["bert-base-uncased", "bert-base-cased", "albert-base-v2", "roberta-base", "modernbert-base"]
)
def test_whole_words_of_real_tokenizers(shared: Path, directory: str, name: str) -> None:
    check_words(Tokenizer.load(shared / "checkpoints" / "tokenizers" / directory), name)


@pytest.mark.parametrize("name", sorted(SELECTORS))
@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_whole_words_of_trained_tokenizers(kind: Kind, name: str, texts: list[str]) -> None:
    tokenizer, _ = train([*texts, *[TEXT, "我们学习机器翻译的技术。"] * 5], kind=kind, vocab_size=400)
    check_words(tokenizer, name)


def check_words(tokenizer: Tokenizer, name: str) -> None:
    """Against the words of the tokenizer itself, Chinese, accents and unknown characters included."""
    encoding = tokenizer.backend.encode(TEXT, add_special_tokens=False)
    encoded = tokenizer.encode(TEXT)
    store = MemoryStore([len(encoded.ids)])
    store.ids, store.bits = encoded.ids, encoded.word_starts.astype(np.uint8)
    vocabulary = tokenizer.vocabulary
    rows, _ = RowLoader(store, vocabulary, row_length=len(encoded.ids) + 2, seed=0).batch(Cursor(), 200)
    out = mask(rows, vocabulary, SELECTORS[name]().select, rate=0.3, corruption=Corruption(1.0, 0.0), seed=0)
    predicted = (out.labels != IGNORED)[:, 1:-1]
    maskable = ~vocabulary.is_special[encoded.ids]
    assert predicted.any(0)[maskable].all()
    assert not predicted[:, ~maskable].any()
    cut = 0
    for word in set(encoding.word_ids) - {None}:
        pieces = predicted[:, maskable & np.array([w == word for w in encoding.word_ids])]
        cut += int((pieces.any(1) != pieces.all(1)).sum()) if pieces.size else 0
    assert (cut == 0) == (name in WHOLE_WORDS)


@pytest.mark.bench
@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_a_batch_is_masked_in_5_ms(name: str) -> None:
    store = MemoryStore(realistic_lengths(200, 0.35, 100_000))
    rows, _ = RowLoader(store, VOCABULARY, row_length=128, seed=0).batch(Cursor(), 64)
    select = selector(name)
    seconds = []
    for seed in range(20):
        start = time.perf_counter()
        mask(rows, VOCABULARY, select, rate=0.15, corruption=Corruption(), seed=seed)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.005


@pytest.mark.parametrize("name", ["whole_word", "ngram", "span"])
def test_text_without_spaces_is_not_hidden_whole(name: str) -> None:
    """One "word" of 120 tokens a piece, as Chinese is to some tokenizers: near the rate is hidden, never none."""
    piece = [(10 + i, i == 0) for i in range(120)]
    rows = build([[piece]] * 400, seq=122)
    masked = mask(rows, VOCABULARY, selector(name), rate=0.15, corruption=Corruption(), seed=1)
    hidden = (masked.labels != IGNORED).sum(axis=1)
    assert hidden.min() >= 1
    assert 0.12 < hidden.mean() / 120 < 0.32, hidden.mean()
