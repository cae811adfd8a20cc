"""The yardstick: fixed masks, honest baselines, intervals that are what they say."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from clozelm.data.encoded import EncodedTexts
from clozelm.data.prepare import prepare
from clozelm.data.store import TokenStore
from clozelm.errors import DataError
from clozelm.families import FAMILIES
from clozelm.infer.scoring import ratio_interval
from clozelm.nn.heads import MaskedLM
from clozelm.rng import generator
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.evaluate import evaluate, evaluate_store, unigram_entropy
from tests import tiny_models


def model_for(tokenizer: Tokenizer, *, seed: int = 0, max_positions: int = 64) -> MaskedLM:
    config = FAMILIES["bert"].preset(
        "tiny",
        tokenizer.vocab_size,
        num_layers=2,
        hidden_size=32,
        num_heads=2,
        intermediate_size=64,
        max_positions=max_positions,
    )
    model = MaskedLM(config)
    tiny_models.perturb(model, seed)
    return model.train()


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Tokenizer) -> MaskedLM:
    return model_for(tiny_tokenizer)


def test_an_evaluation_is_deterministic_and_depends_on_its_seed(
    model: MaskedLM, tiny_store: Path, tiny_tokenizer: Tokenizer
) -> None:
    store = TokenStore.open(tiny_store, tiny_tokenizer)
    vocabulary = tiny_tokenizer.vocabulary
    one = evaluate_store(model, store, vocabulary, row_length=32)
    assert evaluate_store(model, store, vocabulary, row_length=32) == one
    other = evaluate_store(model, store, vocabulary, row_length=32, seed=1)
    assert other.loss != one.loss
    assert model.training, "the model comes back in the mode it had"
    assert one.interval[0] < one.loss < one.interval[1]
    assert one.interval[0] < other.loss < one.interval[1]
    assert one.perplexity == pytest.approx(math.exp(one.loss))
    assert one.documents == store.num_documents
    assert one.predictions == pytest.approx(0.15 * store.num_tokens, rel=0.1)
    assert one.unigram is None


def test_at_most_so_many_tokens(model: MaskedLM, tiny_store: Path, tiny_tokenizer: Tokenizer) -> None:
    store = TokenStore.open(tiny_store, tiny_tokenizer)
    part = evaluate_store(model, store, tiny_tokenizer.vocabulary, row_length=32, max_tokens=100)
    assert 100 <= part.tokens <= 64 * 32 < store.num_tokens


def test_a_model_that_knows_only_frequencies_has_the_unigram_loss(tiny_tokenizer: Tokenizer) -> None:
    """Logits that are the same everywhere, log of the smoothed counts: both columns must agree."""
    texts = ["the learning of the model", "a model of language and of the world"]
    tokens = EncodedTexts.of(tiny_tokenizer, texts)
    counts = np.bincount(tokens.ids, minlength=tiny_tokenizer.vocab_size)
    model = model_for(tiny_tokenizer)
    with torch.no_grad():
        model.decoder_weight.zero_()
        model.head.bias.copy_(torch.from_numpy(np.log(counts + 1.0)))
    result = evaluate_store(
        model, tokens, tiny_tokenizer.vocabulary, row_length=16, rate=0.9, unigram_counts=counts
    )
    assert result.unigram == pytest.approx(result.loss, rel=1e-6)
    assert result.accuracy < 1


def test_unigram_baseline_by_hand() -> None:
    """Every ordinary piece is masked (rate near 1): -log of (count + 1) / (tokens + pieces), averaged."""
    tokenizer = tiny_models.wordpiece()
    the, cat = tokenizer.id("the"), tokenizer.id("cat")
    tokens = EncodedTexts.of(tokenizer, [" ".join(["the"] * 6 + ["cat"] * 2)])
    assert tokens.ids.tolist() == [the] * 6 + [cat] * 2
    counts = np.bincount(tokens.ids, minlength=tokenizer.vocab_size)
    result = evaluate_store(
        model_for(tokenizer),
        tokens,
        tokenizer.vocabulary,
        row_length=16,
        rate=0.999999,
        unigram_counts=counts,
    )
    total = 8 + tokenizer.vocab_size
    expected = -(6 * math.log(7 / total) + 2 * math.log(3 / total)) / 8
    assert result.predictions == 8
    assert result.unigram == pytest.approx(expected)
    assert math.isnan(result.interval[0]), "one document says nothing about others"
    assert unigram_entropy(counts) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))


def test_uniform_logits_cost_the_log_of_the_vocabulary(tiny_store: Path, tiny_tokenizer: Tokenizer) -> None:
    model = model_for(tiny_tokenizer)
    with torch.no_grad():
        model.decoder_weight.zero_()
        model.head.bias.zero_()
    store = TokenStore.open(tiny_store, tiny_tokenizer)
    result = evaluate_store(model, store, tiny_tokenizer.vocabulary, row_length=32)
    assert result.loss == pytest.approx(math.log(tiny_tokenizer.vocab_size), rel=1e-6)
    assert result.perplexity == pytest.approx(tiny_tokenizer.vocab_size, rel=1e-5)


def test_text_and_the_store_of_it_give_the_same_loss(
    model: MaskedLM, texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    file = tmp_path / "some.txt"
    file.write_text("\n\n".join(texts[:8]), encoding="utf-8")
    result = evaluate(model, tiny_tokenizer, file, row_length=32)
    prepare([file], tiny_tokenizer, tmp_path / "store")
    store = TokenStore.open(tmp_path / "store", tiny_tokenizer)
    counts = store.unigram_counts()
    assert result.pieces == evaluate_store(
        model, store, tiny_tokenizer.vocabulary, row_length=32, unigram_counts=counts
    )
    assert evaluate(model, tiny_tokenizer, [file], row_length=32) == result
    assert result.pieces.documents == 8
    fewer = evaluate(model, tiny_tokenizer, file, row_length=32, max_documents=3)
    assert fewer.pieces.documents == 3
    longer = evaluate(model, tiny_tokenizer, file, row_length=4096)
    assert longer == evaluate(model, tiny_tokenizer, file, row_length=64), "cut to the model's positions"


@pytest.mark.parametrize("text", ["\u200b \u200b", "漢 字", "[MASK] [SEP] [PAD]"])
def test_text_with_nothing_to_predict_is_an_error(model: MaskedLM, text: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError):
        evaluate(model_for(tiny_models.wordpiece()), tiny_models.wordpiece(), file)


def test_interval_against_a_direct_computation() -> None:
    """The quantiles of resampled ratios, document by document, with the same draws."""
    rng = np.random.default_rng(0)
    owner = rng.integers(0, 30, 400) * 7
    above, below = rng.gamma(2.0, size=400), rng.uniform(1, 3, 400)
    draws = generator(5, "bootstrap")
    numbers = sorted(set(owner.tolist()))
    ratios = []
    for _ in range(1000):
        chosen = [numbers[i] for i in draws.integers(len(numbers), size=len(numbers))]
        top = sum(above[owner == number].sum() for number in chosen)
        bottom = sum(below[owner == number].sum() for number in chosen)
        ratios.append(top / bottom)
    assert ratio_interval(above, below, owner, seed=5) == pytest.approx(
        (np.quantile(ratios, 0.025), np.quantile(ratios, 0.975))
    )


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Normal documents of unequal sizes; 95% nominal, a little less for 40 documents."""
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(60):
        owner = np.repeat(np.arange(40), rng.integers(1, 10, 40))
        means = rng.normal(3.0, 1.0, 40)
        low, high = ratio_interval(means[owner], np.ones(len(owner)), owner, seed=trial)
        hits += low < 3.0 < high
    assert hits >= 50  # 95% of 60, less four standard deviations of that


def test_interval_of_one_document_and_of_equal_ones() -> None:
    one = np.ones(5)
    assert all(math.isnan(end) for end in ratio_interval(one, one, np.zeros(5, dtype=np.int64)))
    assert ratio_interval(2 * one, one, np.arange(5)) == (2.0, 2.0)
