"""Predictions: those of the stock pipelines, the same alone and in company, however long the text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clozelm import hub
from clozelm.errors import ModelError, SettingsError
from clozelm.families import FAMILIES
from clozelm.infer.predict import Predictor
from clozelm.tasks.classify import probabilities
from clozelm.tasks.tags import check
from clozelm.text.examples import TaggedSentence, TextExample
from tests import tiny_models
from tests.tiny_classifiers import LABELS, save, tiny_classifier

FAMILY = pytest.mark.parametrize("family", FAMILIES)
TAGS = ("O", "B-PET", "I-PET")
WORDS = ("the", "cat", "dogs", "sat", "powerful", "unheard", ".", "machine", "learning")
TEXTS = [
    "the cat sat on the mat.",
    "a powerful machine",
    "",
    "cats",
    "the dog is learning, unheard of, on a mat",
    " ".join(["the cat sat on a powerful machine"] * 30),
]


def opened(family: str, kind: Any, place: Path, **rest: Any) -> Predictor:
    model = tiny_classifier(family, kind, seed=3, num_labels=len(LABELS))
    return Predictor.open(save(model, place, family, LABELS if kind == "sequence" else TAGS, **rest))


def pipeline(task: str, place: Path, **options: Any) -> Any:
    import transformers

    return transformers.pipeline(task, model=str(place), device="cpu", **options)


@FAMILY
@pytest.mark.parametrize("problem", ["single", "multi"])
def test_texts_as_the_stock_pipeline_tells_them(family: str, problem: Any, tmp_path: Path) -> None:
    predictor = opened(family, "sequence", tmp_path / "m", problem=problem)
    stock = pipeline("text-classification", tmp_path / "m", top_k=None, truncation=True, max_length=64)
    for text, ours in zip(TEXTS, predictor(TEXTS), strict=True):
        theirs = {one["label"]: one["score"] for one in stock([text])[0]}
        assert ours.probabilities == pytest.approx(theirs, abs=1e-5)


@FAMILY
@pytest.mark.parametrize("is_new", [True, False])
def test_pairs_as_the_stock_pipeline_tells_them(family: str, is_new: bool, tmp_path: Path) -> None:
    """The tokenizer has special tokens for one text alone: a new classifier completes it, a found one has it so."""
    opened(family, "sequence", tmp_path / "m")
    if is_new:
        made = hub.new_classifier(tmp_path / "m", kind="sequence", labels=LABELS, reuse_head=True)
        hub.save_classifier(made.model, made.tokenizer, tmp_path / "m", family=family, labels=LABELS)
    predictor = Predictor.open(tmp_path / "m")
    stock = pipeline("text-classification", tmp_path / "m", top_k=None, truncation=True, max_length=64)
    pairs = [(first, second) for first in TEXTS for second in TEXTS if second and (first or is_new)]
    for (first, second), ours in zip(pairs, predictor(pairs), strict=True):
        theirs = {one["label"]: one["score"] for one in stock({"text": first, "text_pair": second})}
        assert ours.probabilities == pytest.approx(theirs, abs=1e-5)


@FAMILY
def test_tags_as_the_stock_pipeline_tells_them(family: str, tmp_path: Path) -> None:
    """The stock pipeline gives a piece its most probable label; ours is that of the word's first piece."""
    predictor = opened(family, "token", tmp_path / "m")
    stock = pipeline("token-classification", tmp_path / "m", aggregation_strategy="none", ignore_labels=[])
    sentences = [text.replace(".", " .").replace(",", " ,").split() for text in TEXTS[:-1] if text]
    for words in sentences:
        (logits,) = [predictor.answers([TaggedSentence(tuple(words))]).of(0)]
        shares = torch.from_numpy(logits).softmax(-1).numpy()
        by_start = {one["start"]: one for one in stock(" ".join(words))}
        begins = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1]
        for begin, share in zip(begins, shares, strict=True):
            theirs = by_start[int(begin)]
            assert TAGS[share.argmax()] == theirs["entity"]
            assert share.max() == pytest.approx(theirs["score"], abs=1e-5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=90), min_size=1, max_size=9))
@FAMILY
def test_company_changes_no_answer(family: str, predictors: Any, texts: list[list[str]]) -> None:
    """Whatever else is asked about and however it is packed: of texts, pairs and words, also in windows."""
    classifier, tagger = predictors(family)
    of_texts = [TextExample((" ".join(words),)) for words in texts]
    of_pairs = [TextExample((" ".join(words), " ".join(words[::2]))) for words in texts]
    of_words = [TaggedSentence(tuple(words)) for words in texts if words]
    for predictor, examples in ((classifier, of_texts), (classifier, of_pairs), (tagger, of_words)):
        together = predictor.answers(examples)
        for number, example in enumerate(examples):
            alone = predictor.answers([example]).of(0)
            assert together.of(number) == pytest.approx(alone, abs=2e-5)


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, tuple[Predictor, Predictor]] = {}
    root = tmp_path_factory.mktemp("models")

    def of(family: str) -> tuple[Predictor, Predictor]:
        if family not in made:
            made[family] = (
                opened(family, "sequence", root / f"{family}-texts"),
                opened(family, "token", root / f"{family}-words"),
            )
        return made[family]

    return of


def test_answers_are_in_the_order_of_the_texts(predictors: Any) -> None:
    classifier, _ = predictors("bert")
    found = classifier(TEXTS * 40)
    assert [one.probabilities for one in found[: len(TEXTS)]] != [found[0].probabilities] * len(TEXTS)
    for number, one in enumerate(found):
        assert one.probabilities == pytest.approx(found[number % len(TEXTS)].probabilities, abs=1e-5)
        assert one.probability == max(one.probabilities.values())
        assert one.label == max(one.probabilities, key=lambda label: one.probabilities[label])


@FAMILY
def test_a_sentence_longer_than_the_model_is_answered_whole(family: str, predictors: Any) -> None:
    """Every word has an answer: that of the window in which it has most text on both sides."""
    _, tagger = predictors(family)
    words = [WORDS[place * 7 % len(WORDS)] for place in range(500)]
    logits = tagger.answers([TaggedSentence(tuple(words))]).of(0)
    assert np.isfinite(logits).all()
    assert tagger.notes == ["1 of 1 sentences, longer than 64 pieces, are read in windows"]
    ((tags, sure),) = tagger.tags([words])
    assert len(tags) == len(sure) == 500
    assert not check([tags], "BIO"), "legal across windows"
    start = tagger.answers([TaggedSentence(tuple(words[:30]))]).of(0)
    assert start.shape == (30, 3)
    units = tagger.task.encode(tagger.loaded.tokenizer, [TaggedSentence(tuple(words))], tagger._read_as).units
    asked = np.concatenate([unit.places for unit in units])
    assert sorted(asked) == list(range(500)), "each once"
    middle = [np.abs(unit.columns - len(unit.ids) / 2).max() for unit in units[1:-1]]
    assert max(middle) <= 64 / 4 + 2, "never near an edge"


def test_words_of_which_nothing_is_left_are_outside(tmp_path: Path) -> None:
    tagger = opened("bert", "token", tmp_path / "m")
    ((tags, sure),) = tagger.tags([["the", "\u200b", "cat"]])
    assert (tags[1], sure[1]) == ("O", 1.0)
    assert tagger.notes == ["1 words have no piece in this tokenizer: they count as O"]
    assert tagger.tags([["\u200b"]])[0][0] == ("O",)
    assert tagger.tags([[]])[0][0] == ()
    assert tagger.tags([]) == []


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_a_model_that_sees_the_left_alone_is_asked_at_the_end(family: str, tmp_path: Path) -> None:
    """What stands before the last piece of a text would know nothing of it."""
    model = tiny_classifier(family, "sequence", context="left")
    place = save(model, tmp_path / "m", family, LABELS)
    predictor = Predictor.open(place)
    assert predictor.model.context == "left"
    units = predictor.task.encode(
        predictor.loaded.tokenizer, [TextExample((text,)) for text in TEXTS], predictor._read_as
    ).units
    assert [unit.columns.tolist() for unit in units] == [[len(unit.ids) - 1] for unit in units]
    one, other = predictor(["the cat sat on the mat", "the cat sat on the dog"])
    assert one.probabilities != pytest.approx(other.probabilities, abs=1e-4), "the last word counts"
    alone = [predictor([text])[0].probabilities for text in TEXTS]
    for mine, theirs in zip(alone, predictor(TEXTS), strict=True):
        assert mine == pytest.approx(theirs.probabilities, abs=1e-5)


def test_regression_gives_a_number(tmp_path: Path) -> None:
    model = tiny_classifier("bert", "sequence", num_labels=1)
    place = save(model, tmp_path / "m", "bert", ("score",), problem="regression")
    stock = pipeline("text-classification", place, function_to_apply="none")
    for text, ours in zip(TEXTS[:4], Predictor.open(place)(TEXTS[:4]), strict=True):
        assert (ours.probability, ours.probabilities) == (None, {})
        assert ours.label == pytest.approx(stock(text)[0]["score"], abs=1e-5)


def test_entities_of_running_text_stand_where_they_say(predictors: Any) -> None:
    _, tagger = predictors("bert")
    texts = ["", "  the cats, sat\ton a\n\nmachine's mat. ", "...", "Ünïcode \U0001f600 dog's"]
    for text, entities in zip(texts, tagger.entities(texts), strict=True):
        stop = 0
        for entity in entities:
            assert text[entity.start : entity.stop] == entity.text
            assert entity.start >= stop
            stop = entity.stop
            assert 0 < entity.probability <= 1


def test_models_are_not_asked_what_they_cannot_answer(predictors: Any, tmp_path: Path) -> None:
    classifier, tagger = predictors("bert")
    with pytest.raises(ModelError, match="This model classifies texts"):
        classifier.entities(["a cat"])
    with pytest.raises(ModelError, match="This model tags words"):
        tagger(["a cat"])
    hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), tmp_path / "m", family="bert")
    with pytest.raises(ModelError, match="is no classifier but BertForMaskedLM"):
        Predictor.open(tmp_path / "m")
    place = save(tiny_classifier("bert", "token"), tmp_path / "c", "bert", TAGS)
    with pytest.raises(SettingsError, match="no-such-device"):
        Predictor.open(place, device="no-such-device")


def test_damaged_weights_are_no_answer(tmp_path: Path) -> None:
    """A tagger whose weights are no numbers must not find nothing, politely."""
    kinds: list[tuple[Any, tuple[str, ...]]] = [("sequence", LABELS), ("token", TAGS)]
    for kind, labels in kinds:
        predictor = Predictor.open(save(tiny_classifier("bert", kind), tmp_path / kind, "bert", labels))
        with torch.no_grad():
            next(iter(predictor.model.head.parameters())).fill_(float("nan"))
        with pytest.raises(ModelError, match="not a finite number"):
            predictor.answers([TextExample(("a",)) if kind == "sequence" else TaggedSentence(("a",))])


@pytest.mark.parametrize("problem", ["single", "multi", "regression"])
def test_rounded_weights_are_said_to_be_what_they_are(problem: Any, tmp_path: Path) -> None:
    """The note's figure is the largest difference on the first examples; all after it is computed in bf16."""
    labels = ("score",) if problem == "regression" else LABELS
    model = tiny_classifier("bert", "sequence", seed=3, num_labels=len(labels))
    exact = Predictor.open(save(model, tmp_path / "m", "bert", labels, problem=problem))
    rounded = Predictor.open(tmp_path / "m")
    rounded.round_weights()
    examples = [TextExample((text,)) for text in TEXTS]
    found = rounded.answers(examples).logits
    said = rounded.notes[-1]
    assert {parameter.dtype for parameter in rounded.model.parameters()} == {torch.bfloat16}
    probable = (found, exact.answers(examples).logits)
    if problem != "regression":
        probable = tuple(probabilities(each, problem) for each in probable)
    gap = float(abs(probable[0] - probable[1]).max())
    assert 0 < gap < 0.05
    assert f"by up to {gap:.4f}" in said
    assert rounded.answers(examples[:2]).logits.shape == (2, found.shape[1])
    assert not any("bf16" in note for note in rounded.notes)  # said once
    rounded.round_weights()
    rounded.answers(examples[:2])
    assert not any("bf16" in note for note in rounded.notes)  # nothing is rounded twice


def test_nothing_is_said_of_no_examples(tmp_path: Path) -> None:
    predictor = opened("bert", "sequence", tmp_path / "m")
    predictor.round_weights()
    predictor.answers([])
    assert predictor.notes == []
    predictor.answers([TextExample((TEXTS[0],))])
    assert predictor.notes[-1].startswith("bf16 changes the first 1 answers'")


def test_rounded_weights_of_a_tagger(tmp_path: Path) -> None:
    predictor = opened("roberta", "token", tmp_path / "m")
    predictor.round_weights()
    sentences = [TaggedSentence(tuple(text.split())) for text in (TEXTS[0], TEXTS[4], TEXTS[5])]
    found = predictor.answers(sentences)
    assert "nan" not in predictor.notes[-1]
    assert predictor.notes[-1].startswith("bf16 changes the first")
    assert len(found.of(1)) == len(sentences[1].words)
