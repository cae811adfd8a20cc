"""Errors on a corpus: every count against a loop that knows nothing of the implementation; totals as `evaluate`."""

import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clozelm.data.encoded import EncodedTexts
from clozelm.data.pack import evaluation_rows
from clozelm.errors import ClozeError
from clozelm.explain import error_examples
from clozelm.explain.error_examples import Best, Confusions, Example
from clozelm.explain.error_words import SHAPES, WordCounts, shape_of, word_keys
from clozelm.families import FAMILIES
from clozelm.flows.error_figures import Resampling
from clozelm.flows.errors import find_errors
from clozelm.flows.model import Model
from clozelm.masking import SELECTORS
from clozelm.masking.mask import Corruption, mask
from clozelm.objectives.objective import token_batch
from clozelm.tasks.calibration import BINS, bin_of
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.evaluate import evaluate
from clozelm.vocab import SENTENCE_START, WORD_START
from tests import tiny_models, tiny_runs


def model_for(tokenizer: Tokenizer, seed: int) -> Model:
    masked_lm = tiny_models.tiny_model("bert", vocab_size=tokenizer.vocab_size, seed=seed)
    return Model(masked_lm, tokenizer, FAMILIES["bert"])


@pytest.fixture(scope="module")
def corpus(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("errors") / "corpus.txt"
    file.write_text("\n\n".join(texts[:30]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def models(tiny_tokenizer: Tokenizer) -> tuple[Model, Model]:
    return model_for(tiny_tokenizer, 0), model_for(tiny_tokenizer, 1)


@pytest.fixture(scope="module")
def report(models: tuple[Model, Model], corpus: Path) -> dict[str, Any]:
    return find_errors(models[0], corpus, against=models[1], row_length=32, rate=0.3, show=7)


def naive(model: Model, texts: list[str]) -> list[dict[str, Any]]:
    """Every prediction by itself, its word taken from the text by the offsets of the pieces."""
    tokenizer, vocabulary = model.tokenizer, model.tokenizer.vocabulary
    tokens = EncodedTexts.of(tokenizer, texts)
    words: Counter[tuple[int, ...]] = Counter()
    about: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        encoded = tokenizer.encode(text)
        flags = tokens.all_flags[tokens.offsets[number] : tokens.offsets[number + 1]]
        starts = [i for i in range(len(flags)) if flags[i] & WORD_START]
        sentence = np.cumsum((flags & SENTENCE_START) > 0)
        for start, stop in zip(starts, [*starts[1:], len(flags)], strict=True):
            ids = tuple(encoded.ids[start:stop].tolist())
            words[ids] += 1
            word = text[encoded.offsets[start][0] : encoded.offsets[stop - 1][1]]
            in_sentence = sum(1 for s in starts if sentence[s] == sentence[start])
            for at in range(start, stop):
                one = {"word": word, "ids": ids, "is_first": at == start, "document": number}
                about.append(one | {"sentence": in_sentence, "begins": bool(flags[start] & SENTENCE_START)})
    found = []
    for rows in evaluation_rows(tokens, vocabulary, 32, 64):
        masked = mask(rows, vocabulary, SELECTORS["uniform"]().select, rate=0.3, corruption=Corruption(), seed=0)
        with torch.inference_mode():
            logits = model.masked_lm(token_batch(rows, masked.input_ids)).double()
        for row, column in zip(*np.nonzero(masked.labels != -100), strict=True):
            truth, scores = int(masked.labels[row, column]), logits[row, column]
            one = dict(about[rows.token_index[row, column]])
            near = [
                other
                for other in range(max(0, column - 5), min(32, column + 6))
                if other != column
                and rows.doc_ids[row, other] == rows.doc_ids[row, column]
                and masked.input_ids[row, other] != rows.input_ids[row, other]
            ]
            seen = int(masked.input_ids[row, column])
            one |= {"truth": truth, "loss": float(torch.logsumexp(scores, 0) - scores[truth]), "near": len(near)}
            one |= {"answer": int(scores.argmax()), "sure": float(scores.softmax(0).max())}
            one |= {"position": int(rows.positions[row, column]), "count": words[one["ids"]]}
            one |= {"place": "mask" if seen == vocabulary.mask_id else "kept" if seen == truth else "random"}
            found.append(one)
    return found


@pytest.fixture(scope="module")
def predictions(models: tuple[Model, Model], texts: list[str]) -> list[dict[str, Any]]:
    return naive(models[0], texts[:30])


def in_range(name: str, value: int) -> bool:
    """Whether a value is in a range as it is written: "4-6", "13 or more", "2", "once"."""
    plain = name.replace(",", "").replace("once", "1").replace("never", "0")
    if plain.endswith(" or more"):
        return value >= int(plain.removesuffix(" or more"))
    low, _, high = plain.partition("–")
    return int(low) <= value <= int(high or low)


def belongs(group: str, cell: str, one: dict[str, Any], lengths: list[int]) -> bool:
    pieces = len(one["ids"])
    if group == "piece":
        return cell == (
            "the only one" if pieces == 1 else "the first of several" if one["is_first"] else "a later one"
        )
    if group == "shape":
        shape = SHAPES[shape_of(one["word"])]
        return cell == ("Capitalised, first word" if shape == "Capitalised" and one["begins"] else shape)
    if group == "place":
        return cell == {"mask": "the mask", "kept": "the piece itself", "random": "a random piece"}[one["place"]]
    value = {
        "frequency": one["count"],
        "length": len(one["word"]),
        "position": one["position"],
        "sentence": one["sentence"],
        "document": lengths[one["document"]],
        "masks": one["near"],
    }[group]
    return in_range(cell, value)


def test_every_cell_is_what_a_naive_loop_counts(
    report: dict[str, Any], predictions: list[dict[str, Any]], texts: list[str], tiny_tokenizer: Tokenizer
) -> None:
    lengths = [len(tiny_tokenizer.encode(text).ids) for text in texts[:30]]
    assert len(report["groups"]) == 9
    for group in report["groups"]:
        assert sum(cell["predictions"] for cell in group["cells"]) == len(predictions), group["name"]
        for cell in group["cells"]:
            own = [one for one in predictions if belongs(group["name"], cell["name"], one, lengths)]
            where = (group["name"], cell["name"])
            assert len(own) == cell["predictions"], where
            right = np.mean([one["answer"] == one["truth"] for one in own])
            assert cell["models"][0]["accuracy"]["value"] == pytest.approx(right), where
            loss = np.mean([one["loss"] for one in own])
            assert cell["models"][0]["loss"]["value"] == pytest.approx(loss, rel=1e-5), where


def test_the_total_is_that_of_evaluate(
    report: dict[str, Any], models: tuple[Model, Model], corpus: Path, tiny_tokenizer: Tokenizer
) -> None:
    for number, model in enumerate(models):
        expected = evaluate(model.masked_lm, tiny_tokenizer, corpus, row_length=32, rate=0.3).pieces
        found = report["all"]["models"][number]
        assert found["loss"]["value"] == pytest.approx(expected.loss, rel=1e-12)
        assert (found["loss"]["low"], found["loss"]["high"]) == pytest.approx(expected.interval, rel=1e-9)
        assert found["accuracy"]["value"] == pytest.approx(expected.accuracy, rel=1e-12)
        assert report["all"]["unigram"] == pytest.approx(expected.unigram, rel=1e-12)
        assert (report["documents"], report["tokens"]) == (expected.documents, expected.tokens)


def test_calibration_is_its_formula(report: dict[str, Any], predictions: list[dict[str, Any]]) -> None:
    error, total = 0.0, len(predictions)
    for low in range(15):
        own = [one for one in predictions if low / 15 < one["sure"] <= (low + 1) / 15]
        right = sum(one["answer"] == one["truth"] for one in own)
        error += abs(right - sum(one["sure"] for one in own)) / total
    assert report["calibration"][0]["ece"]["value"] == pytest.approx(error, abs=1e-6)
    assert sum(one["count"] for one in report["calibration"][0]["bins"]) == total


def test_the_interval_of_a_calibration_error_reaches_below_its_value() -> None:
    """Of a faultlessly calibrated model too: resamples have more of it than what they are drawn of."""
    rng, documents, each = np.random.default_rng(0), 60, 40
    sure = rng.beta(1, 2, size=(documents, each))
    right = rng.random(sure.shape) < sure
    bins = bin_of(sure)
    counts, gaps = np.zeros((documents, BINS)), np.zeros((documents, BINS))
    for one in range(BINS):
        counts[:, one] = (bins == one).sum(axis=1)
        gaps[:, one] = ((right - sure) * (bins == one)).sum(axis=1)
    sums = SimpleNamespace(bin_right=gaps, bin_confidence=np.zeros_like(gaps), bin_counts=counts)
    error = Resampling(counts.sum(axis=1, keepdims=True)).calibration_error(cast(Any, sums))
    assert error["low"] is not None
    assert error["high"] is not None
    assert 0 <= error["low"] <= error["value"] <= error["high"] <= 1
    assert error["low"] < 0.5 * error["value"]
    few = SimpleNamespace(**{name: values[:9] for name, values in vars(sums).items()})
    assert Resampling(few.bin_counts).calibration_error(cast(Any, few))["low"] is None


def test_mistakes_and_confusions(
    report: dict[str, Any], predictions: list[dict[str, Any]], models: tuple[Model, Model]
) -> None:
    wrong = [one for one in predictions if one["answer"] != one["truth"]]
    best: dict[tuple[int, int], float] = {}
    for one in wrong:
        if one["place"] == "mask":
            pair = (one["truth"], one["answer"])
            best[pair] = max(best.get(pair, 0.0), one["sure"])
    confidences = [one["answers"][0]["confidence"] for one in report["mistakes"][0]]
    assert confidences == pytest.approx(sorted(best.values(), reverse=True)[:7], rel=1e-5)
    counts = Counter((one["truth"], one["answer"]) for one in wrong)
    assert [row["count"] for row in report["confusions"][0]] == [n for _, n in counts.most_common(7)]


def test_a_difference_is_paired_and_a_model_does_not_differ_from_itself(
    report: dict[str, Any], models: tuple[Model, Model], corpus: Path
) -> None:
    losses = [model["loss"]["value"] for model in report["all"]["models"]]
    difference = report["all"]["difference"]["loss"]
    assert difference["value"] == pytest.approx(losses[1] - losses[0])
    assert difference["low"] < difference["value"] < difference["high"]
    same = find_errors(models[0], corpus, against=models[0], row_length=32)
    for group in same["groups"]:
        for cell in group["cells"]:
            assert cell["difference"]["loss"]["value"] == 0
            assert cell["difference"]["loss"]["p_corrected"] in (None, 1.0)
    assert "cannot be told apart" in " ".join(_headline(same))


def _headline(report: dict[str, Any]) -> list[str]:
    from clozelm.report.error_text import headline

    return headline(report)


def test_a_worse_model_is_found_out(models: tuple[Model, Model], corpus: Path, tiny_tokenizer: Tokenizer) -> None:
    """The same model with noise on its answers is worse everywhere, surely."""
    noisy = model_for(tiny_tokenizer, 0)
    with torch.no_grad():
        noisy.masked_lm.head.bias += 8 * torch.randn(
            tiny_tokenizer.vocab_size, generator=torch.Generator().manual_seed(1)
        )
    found = find_errors(models[0], corpus, against=noisy, row_length=32, rate=0.3)
    assert found["all"]["difference"]["loss"]["p"] < 1e-6
    assert found["all"]["difference"]["loss"]["low"] > 0


def test_intervals_hold_documents_together(models: tuple[Model, Model], tmp_path: Path, texts: list[str]) -> None:
    """Every document ten times over: what is known does not grow as it would if predictions were independent."""
    once, often = tmp_path / "once.txt", tmp_path / "often.txt"
    flat = [" ".join(text.split()) for text in texts[:12]]
    once.write_text("\n\n".join(flat), encoding="utf-8")
    often.write_text("\n\n".join(" ".join([text] * 6) for text in flat), encoding="utf-8")
    spans = []
    for file in (once, often):
        loss = find_errors(models[0], file, row_length=32, rate=0.3)["all"]["models"][0]["loss"]
        spans.append(loss["high"] - loss["low"])
    assert spans[1] > spans[0] / math.sqrt(6), "not as if six times as much were known"


def test_counts_of_a_store(models: tuple[Model, Model], corpus: Path, tiny_store: Path) -> None:
    found = find_errors(models[0], corpus, counts=tiny_store, row_length=32)
    names = [cell["name"] for cell in found["groups"][0]["cells"]]
    assert names[0] in ("never", "once")
    assert found["counts"] == str(tiny_store)


def test_models_of_different_tokenizers_are_refused(
    models: tuple[Model, Model], corpus: Path, texts: list[str], tiny_store: Path
) -> None:
    other = model_for(tiny_runs.tokenizer(texts[:10]), 0)
    with pytest.raises(ClozeError, match="different tokenizers"):
        find_errors(models[0], corpus, against=other)
    with pytest.raises(ClozeError, match="prepared with another tokenizer"):
        find_errors(other, corpus, counts=tiny_store)


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=4), min_size=1, max_size=40))
def test_words_are_counted_as_a_counter_does(words: list[list[int]]) -> None:
    ids = np.array([piece for word in words for piece in word], np.uint32)
    flags = np.array([i == 0 for word in words for i in range(len(word))], np.uint8) * np.uint8(WORD_START)
    keys, sizes = word_keys(ids, flags)
    assert sizes.tolist() == [len(word) for word in words]
    counts = WordCounts()
    counts.add(keys)
    expected = Counter(map(tuple, words))
    assert counts[keys].tolist() == [expected[tuple(word)] for word in words]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12)), max_size=80), st.integers(1, 5))
def test_the_best_are_the_best_in_any_batches(offers: list[tuple[float, int]], most: int) -> None:
    none = np.zeros(0, np.int64)
    best = Best(most)
    for start in range(0, len(offers), 9):
        part = offers[start : start + 9]
        scores, keys = np.array([one[0] for one in part]), np.array([one[1] for one in part], np.int64)
        best.offer(scores, keys, lambda index, p=part: Example(0, "mask", none, none, 0, (), (p[index][0],), ()))  # type: ignore[misc]
    expected: dict[int, float] = {}
    for score, key in offers:
        expected[key] = max(score, expected.get(key, 0.0))
    assert [one.confidences[0] for one in best.best()] == sorted(expected.values(), reverse=True)[:most]


def test_confusions_forget_only_the_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_examples, "_MOST_PAIRS", 50)
    rng, confusions = np.random.default_rng(0), Confusions(1000)
    for _ in range(20):
        truth, answer = np.full(40, 1), np.concatenate([np.full(20, 2), rng.integers(3, 1000, 20)])
        confusions.add(truth, answer)
    assert confusions.most_common(1) == [(1, 2, 400)]
    assert not confusions.is_exact


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("house", "lower case"),
        ("House", "Capitalised"),
        ("NASA", "CAPITALS"),
        ("iPhone", "miXed case"),
        ("B2B", "with digits"),
        ("(", "punctuation"),
        ("世界", "script without case"),
        ("I", "Capitalised"),
        ("", "punctuation"),
    ],
)
def test_shapes(word: str, shape: str) -> None:
    assert SHAPES[shape_of(word)] == shape
