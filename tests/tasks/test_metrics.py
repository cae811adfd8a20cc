"""Figures: those of scikit-learn, scipy and seqeval, for the examples and for every resample of them."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report, f1_score
from seqeval.scheme import IOB2, IOBES

from clozelm.errors import DataError, ModelError, SettingsError
from clozelm.tasks import metrics
from clozelm.tasks.calibration import expected_calibration_error
from clozelm.tasks.resampling import (
    classification_figures,
    entity_figures,
    multilabel_figures,
    regression_figures,
    with_intervals,
)
from clozelm.tasks.tags import Scheme, convert, spans
from tests.tasks.test_tags import tags_of

unhurried = settings(max_examples=40, deadline=None)  # scikit-learn checks its arguments at length
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def classified(draw: st.DrawFn) -> Arrays:
    """Truth, probabilities with ties and certainties, and how often each example is drawn."""
    count, size = draw(st.integers(1, 12)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    probabilities = rng.multinomial(8, np.full(size, 1 / size), count) / 8  # eighths are no edges of bins
    weights = np.bincount(rng.integers(count, size=count), minlength=count)
    return rng.integers(0, size, count), probabilities, weights


def close(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() >= expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


@unhurried
@given(classified())
def test_classification_is_that_of_scikit_learn(case: Arrays) -> None:
    truth, probabilities, weights = case
    labels, every = [f"c{each}" for each in range(probabilities.shape[1])], range(probabilities.shape[1])
    drawn = np.repeat(np.arange(len(truth)), weights)
    for chosen in (np.arange(len(truth)), drawn):
        actual, given_ = truth[chosen], probabilities[chosen]
        predicted = given_.argmax(axis=1)
        expected = {
            "accuracy": sklearn.metrics.accuracy_score(actual, predicted),
            "macro_f1": sklearn.metrics.f1_score(actual, predicted, average="macro", zero_division=0),
            "weighted_f1": sklearn.metrics.f1_score(actual, predicted, average="weighted", zero_division=0),
            "log_loss": sklearn.metrics.log_loss(actual, given_, labels=list(every)),
            "ece": expected_calibration_error(given_, actual),
        }
        if len({*predicted, *actual}) > 1:  # it warns of one class alone
            expected["mcc"] = sklearn.metrics.matthews_corrcoef(actual, predicted)
        if 1 < len(set(actual)) >= len({*predicted, *actual}):  # and of those that do not occur
            expected["balanced_accuracy"] = sklearn.metrics.balanced_accuracy_score(actual, predicted)
        found = values_of(metrics.classification(actual, given_, labels, resamples=0))
        close(found, expected)
        times = np.bincount(chosen, minlength=len(truth)).astype(float)
        close(classification_figures(truth, probabilities)(times), found)


def values_of(scores: metrics.Scores) -> dict[str, float]:
    return {name: figure["value"] for name, figure in scores["figures"].items()}


@unhurried
@given(classified(), st.integers(1, 4))
def test_multilabel_is_that_of_scikit_learn(case: Arrays, size: int) -> None:
    _, probabilities, weights = case
    probabilities = np.resize(probabilities, (len(weights), size))
    truth = np.random.default_rng(size).random(probabilities.shape) < 0.4
    names = [f"c{each}" for each in range(size)]
    for chosen in (np.arange(len(truth)), np.repeat(np.arange(len(truth)), weights)):
        actual, given_ = truth[chosen], probabilities[chosen]
        predicted = given_ > 0.5
        scores = metrics.multilabel(actual, given_, names, resamples=0)
        wide = [np.pad(each, ((0, 0), (0, 1))) for each in (actual, predicted)]  # one column alone reads as classes
        f1 = sklearn.metrics.f1_score(*wide, average=None, zero_division=0)[:size]
        expected = {
            "micro_f1": sklearn.metrics.f1_score(*wide, average="micro", zero_division=0),
            "macro_f1": f1.mean(),
            "subset_accuracy": sklearn.metrics.accuracy_score(*wide),
            "ece": expected_calibration_error(given_, actual.astype(int)),
        }
        close(values_of(scores), expected)
        assert [row["f1"] for row in scores["per_class"]] == pytest.approx(f1)
        times = np.bincount(chosen, minlength=len(truth)).astype(float)
        close(multilabel_figures(truth, probabilities, probabilities > 0.5)(times), values_of(scores))


@unhurried
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 2), min_size=2, max_size=12), st.integers(0, 1 << 32))
def test_regression_is_that_of_scikit_learn_and_scipy(pairs: list[tuple[int, int]], seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    truth, predicted = np.array(pairs, dtype=float).T + np.array([[1e3], [0.0]])
    drawn = np.random.default_rng(seed).integers(len(truth), size=len(truth))
    for chosen in (np.arange(len(truth)), drawn):
        actual, given_ = truth[chosen], predicted[chosen]
        is_constant = np.ptp(actual) == 0 or np.ptp(given_) == 0
        expected = {
            "pearson": 0.0 if is_constant else stats.pearsonr(actual, given_).statistic,
            "spearman": 0.0 if is_constant else stats.spearmanr(actual, given_).statistic,
            "mse": sklearn.metrics.mean_squared_error(actual, given_),
            "mae": sklearn.metrics.mean_absolute_error(actual, given_),
            "r2": sklearn.metrics.r2_score(actual, given_),
        }
        scores = metrics.regression(actual, given_, resamples=0)
        close(values_of(scores), expected)
        assert bool(scores["notes"]) == is_constant
        times = np.bincount(chosen, minlength=len(truth)).astype(float)
        close(regression_figures(truth, predicted)(times), expected)


def test_numbers_of_any_size_correlate() -> None:
    one, other = np.array([1.0, 2.0, 4.0]), np.array([4.0, 2.0, 1.0])
    for scale in (1e-200, 1e-9, 1.0, 1e100):
        assert values_of(metrics.regression(one * scale, other * scale))["pearson"] == pytest.approx(-13 / 14)
    assert values_of(metrics.regression([0.1] * 7, [0.1] * 7))["r2"] == 1.0
    assert values_of(metrics.regression([0.1] * 7, [0.2] * 7))["r2"] == 0.0


@st.composite
def tagged(draw: st.DrawFn) -> tuple[Scheme, list[list[str]], list[list[str]]]:
    scheme = draw(st.sampled_from(get_args(Scheme)))
    tag = st.sampled_from(tags_of(scheme, ("X", "Y")))
    truth = draw(st.lists(st.lists(tag, min_size=1, max_size=6), min_size=1, max_size=5))
    predicted = [[draw(st.one_of(st.just(each), tag)) for each in tags] for tags in truth]
    return scheme, truth, predicted


@unhurried
@given(tagged())
def test_entities_are_those_of_seqeval_in_strict_mode(
    case: tuple[Scheme, list[list[str]], list[list[str]]],
) -> None:
    scheme, truth, predicted = case
    target: Scheme = "BIOES" if scheme in ("BIOES", "BILOU") else "BIO"
    sides = [truth, predicted]
    if scheme == "BILOU":
        sides = [[[tag.replace("L-", "E-").replace("U-", "S-") for tag in tags] for tags in side] for side in sides]
    elif scheme != target:
        sides = [[convert(tags, scheme, target) for tags in side] for side in sides]
    scores = metrics.entities(truth, predicted, scheme, resamples=0)
    kind = {"mode": "strict", "scheme": IOB2 if target == "BIO" else IOBES}
    assert (scores["mode"], scores["scheme"]) == ("strict", scheme)
    found = any(spans(tags, target, strict=True) for side in sides for tags in side)
    report = classification_report(*sides, **kind, output_dict=True, zero_division=0) if found else {}
    micro = report.get("micro avg", {"precision": 0.0, "recall": 0.0, "f1-score": 0.0})
    expected = {
        "precision": micro["precision"],
        "recall": micro["recall"],
        "f1": micro["f1-score"],
        "f1_default_mode": f1_score(*sides, zero_division=0),
        "token_accuracy": accuracy_score(truth, predicted),
    }
    close(values_of(scores), expected)
    rows = {row.pop("label"): row for row in scores["per_class"]}
    theirs = {name: each for name, each in report.items() if not name.endswith(" avg")}
    assert rows == {name: {key.replace("-score", ""): each[key] for key in each} for name, each in theirs.items()}


@unhurried
@given(tagged(), st.integers(0, 1 << 32))
def test_sums_of_sentences_are_those_of_the_sentences(
    case: tuple[Scheme, list[list[str]], list[list[str]]], seed: int
) -> None:
    scheme, truth, predicted = case
    seen: list[np.ndarray] = []
    original = metrics.entity_figures

    def listening(sums: np.ndarray) -> Any:
        seen.append(sums)
        return original(sums)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "entity_figures", listening)
        metrics.entities(truth, predicted, scheme, resamples=0)
    drawn = np.random.default_rng(seed).integers(len(truth), size=len(truth))
    figures = entity_figures(seen[0])(np.bincount(drawn, minlength=len(truth)).astype(float))
    again = metrics.entities([truth[i] for i in drawn], [predicted[i] for i in drawn], scheme, resamples=0)
    close(figures, values_of(again))


@unhurried
@given(tagged())
def test_the_confusion_of_entities_adds_up(case: tuple[Scheme, list[list[str]], list[list[str]]]) -> None:
    scores = metrics.entities(*case[1:], case[0], resamples=0)
    confusion = scores["confusion"]
    assert confusion is not None
    assert confusion["labels"][-1] == metrics.NO_ENTITY
    counts = np.array(confusion["counts"])
    assert counts[-1, -1] == 0
    for place, name in enumerate(confusion["labels"][:-1]):
        row = next(row for row in scores["per_class"] if row["label"] == name)
        assert counts[place].sum() == row["support"]
        if counts[place].sum():
            assert counts[place, place] / counts[place].sum() == pytest.approx(row["recall"])
        if counts[:, place].sum():
            assert counts[place, place] / counts[:, place].sum() == pytest.approx(row["precision"])


def test_the_default_mode_takes_pieces_for_entities() -> None:
    scores = metrics.entities([["B-PER", "I-PER"]], [["I-PER", "I-PER"]], "BIO")
    assert (values_of(scores)["f1"], values_of(scores)["f1_default_mode"]) == (0.0, 1.0)
    assert scores["notes"] == [
        "1 places of the predicted tags are not legal BIO: in strict mode such entities do not count."
    ]
    assert "scored in BIO" in metrics.entities([["I-PER"]], [["I-PER"]], "IOB1")["notes"][0]


def test_what_is_missed_spurious_and_confused() -> None:
    truth = [["B-X", "I-X", "O", "B-Y"], ["B-Y", "O", "B-X", "O"]]
    predicted = [["B-Y", "I-Y", "O", "B-Y"], ["O", "O", "B-X", "I-X"]]
    confusion = metrics.entities(truth, predicted, "BIO", resamples=0)["confusion"]
    assert confusion == {"labels": ["X", "Y", "no entity"], "counts": [[0, 1, 1], [0, 1, 1], [1, 0, 0]]}


def test_absent_classes_are_named_and_warn_nobody() -> None:
    probabilities = np.tile([0.1, 0.2, 0.7], (4, 1))
    scores = metrics.classification([0, 0, 0, 0], probabilities, ["a", "b", "c"])
    assert scores["notes"] == ["2 of the labels never occur: b, c."]
    assert values_of(scores)["accuracy"] == values_of(scores)["mcc"] == 0.0
    assert scores["confusion"] == {"labels": ["a", "b", "c"], "counts": [[0, 0, 4], [0, 0, 0], [0, 0, 0]]}
    assert metrics.multilabel(np.zeros((3, 1)), np.zeros((3, 1)), ["a"])["per_class"][0]["f1"] == 0.0
    nothing = metrics.entities([["O"], ["O"]], [["O"], ["O"]], "BIO")
    assert (nothing["per_class"], values_of(nothing)["f1"], values_of(nothing)["token_accuracy"]) == ([], 0.0, 1.0)


def everything() -> list[metrics.Scores]:
    rng = np.random.default_rng(0)
    truth, probabilities = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    tags = [rng.choice(["O", "B-X", "I-X"], 5).tolist() for _ in range(200)]
    return [
        metrics.classification(truth, probabilities.astype(np.float32), ["a", "b", "c"]),
        metrics.multilabel(probabilities > 0.3, probabilities[::-1], ["a", "b", "c"]),
        metrics.regression(probabilities[:, 0], probabilities[:, 1]),
        metrics.entities(tags, tags[::-1], "BIO"),
    ]


def test_results_are_plain_data_and_the_same_again() -> None:
    first, again = everything(), everything()
    assert json.loads(json.dumps(first, allow_nan=False)) == again == first
    for scores in first:
        for name, figure in scores["figures"].items():
            assert figure["low"] is not None
            assert figure["high"] is not None
            assert figure["low"] < figure["high"]
            if name != "ece":  # resampling adds noise, which only ever makes it larger
                assert figure["low"] <= figure["value"] <= figure["high"]


def test_intervals_are_as_wide_as_theory_has_them() -> None:
    truth = (np.arange(1000) < 800).astype(np.int64)
    probabilities = np.tile([0.4, 0.6], (1000, 1))
    figure = metrics.classification(truth, probabilities, ["a", "b"])["figures"]["accuracy"]
    reach = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert (figure["low"], figure["high"]) == pytest.approx((0.8 - reach, 0.8 + reach), abs=0.004)


def test_one_example_has_no_interval() -> None:
    scores = metrics.classification([1], np.array([[0.3, 0.7]]), ["a", "b"])
    assert scores["figures"]["accuracy"] == {"value": 1.0, "low": None, "high": None}
    assert metrics.regression([1.0], [2.0])["figures"]["r2"] == {"value": 0.0, "low": None, "high": None}
    seen = with_intervals({"x": 1.0}, lambda weights: {"x": weights[0]}, 5, resamples=0)
    assert seen == {"x": {"value": 1.0, "low": None, "high": None}}


def test_sentences_are_drawn_whole() -> None:
    tags = [["B-X"] * 50, ["B-Y"] * 50]
    figure = metrics.entities(tags, [tags[0], ["O"] * 50], "BIO")["figures"]["token_accuracy"]
    assert (figure["low"], figure["value"], figure["high"]) == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("sklearn", "scikit-learn", lambda: metrics.regression([1.0], [1.0])),
        ("seqeval", "seqeval", lambda: metrics.entities([["B-X"]], [["B-X"]], "BIO")),
    ],
)
def test_a_missing_package_is_named(
    module: str, name: str, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [each for each in sys.modules if each.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, loaded, None)
    with pytest.raises(SettingsError, match=rf"needs the package {name}: `pip install clozelm\[finetune\]`"):
        call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.regression([], []), DataError, "nothing to score"),
        (lambda: metrics.entities([], [], "BIO"), DataError, "nothing to score"),
        (lambda: metrics.regression([1.0], [np.nan]), ModelError, "1 of 1 predicted numbers are not finite"),
        (lambda: metrics.entities([["O"]], [["O", "O"]], "BIO"), ValueError, "numbers of sentences or words"),
        (lambda: metrics.classification([0], np.array([[2.0, -1.0]]), ["a", "b"]), ValueError, "negative"),
        (lambda: metrics.classification([0], np.array([[0.5, 0.5]]), ["a"]), ValueError, "1 label names"),
        (lambda: metrics.multilabel(np.ones((1, 1)), np.full((1, 1), 1.5), ["a"]), ValueError, "1.5"),
        (lambda: metrics.multilabel(np.ones((1, 2)), np.ones((1, 1)), ["a"]), ValueError, "truth is"),
        (lambda: metrics.regression([1.0, 2.0], [1.0]), ValueError, "truth is"),
    ],
)
def test_what_cannot_be_scored_is_said(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@settings(max_examples=5, deadline=None)
@given(st.floats(0.985, 1.015))
def test_probabilities_of_half_precision_are_taken(total: float) -> None:
    scores = metrics.classification([0], np.array([[0.5, 0.5]]) * total, ["a", "b"])
    assert values_of(scores)["log_loss"] == pytest.approx(np.log(2.0))


@pytest.mark.bench
def test_scoring_takes_less_than_two_seconds() -> None:
    rng = np.random.default_rng(0)
    truth, probabilities = rng.integers(0, 77, 5000), rng.dirichlet(np.ones(77), 5000)
    names = [str(each) for each in range(77)]
    tags = [rng.choice(["O"] * 9 + ["B-X", "I-X"], 20).tolist() for _ in range(5000)]
    calls: dict[str, Callable[[], object]] = {
        "classification": lambda: metrics.classification(truth, probabilities, names),
        "multilabel": lambda: metrics.multilabel(probabilities > 0.05, probabilities, names),
        "regression": lambda: metrics.regression(probabilities[:, 0], probabilities[:, 1]),
        "entities": lambda: metrics.entities(tags, tags[::-1], "BIO"),
    }
    seconds = {}
    for name, call in calls.items():
        start = time.process_time()
        call()
        seconds[name] = time.process_time() - start
    print({name: round(each, 2) for name, each in seconds.items()})  # noqa: T201
    assert max(seconds.values()) < 2.0
