"""How figures are written, and what they are held against."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.report.figures import baseline, headline, model_name, over_seeds, percent, written
from clozelm.report.page_parts import plain, printable
from clozelm.report.statistics import mean_of, share_interval
from clozelm.report.svg import LogAxis
from tests.report.finetune_samples import numbers, several, single, tagged

metrics = pytest.importorskip("sklearn.metrics")
NAMES = ["a", "b", "c"]


def dev_labels(counts: dict[str, int]) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.lists(st.integers(1, 30), min_size=5, max_size=5))
def test_the_baseline_is_what_scikit_learn_says_of_a_constant_answer(train: list[int], dev: list[int]) -> None:
    names = [f"label{i}" for i in range(len(train))]
    counts = {"train": dict(zip(names, train, strict=True)), "dev": dict(zip(names, dev, strict=False))}
    results = {"problem": "single", "labels": names, "counts": counts}
    truth = dev_labels(counts["dev"])
    answers = [names[int(np.argmax(train))]] * len(truth)
    expected = {
        "accuracy": metrics.accuracy_score(truth, answers),
        "macro_f1": metrics.f1_score(truth, answers, average="macro", zero_division=0),
        "weighted_f1": metrics.f1_score(truth, answers, average="weighted", zero_division=0),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, answers),
        "mcc": metrics.matthews_corrcoef(truth, answers),
    }
    for name, value in expected.items():
        found = baseline(results, name)
        assert found is not None
        assert found.value == pytest.approx(value)


def test_baselines_of_other_problems() -> None:
    several_ = baseline(several(), "micro_f1")
    assert several_ is not None
    assert several_.value == pytest.approx(2 * 20 / (30 + 40))  # always "anger": 20 of 30 answers right, 40 labels
    words = baseline(tagged(), "accuracy")
    assert words is not None
    assert words.value == pytest.approx(2000 / 2141)
    assert baseline(tagged(), "f1") is None
    truth = np.array(numbers()["scatter"])[:, 0]
    constant = baseline(numbers(), "rmse")
    assert constant is not None
    assert constant.value == pytest.approx(truth.std())
    assert baseline(numbers() | {"scatter": numbers()["scatter"][:50]}, "rmse") is None  # not all of them
    assert baseline(single(NAMES) | {"counts": None}, "accuracy") is None


def test_a_label_that_dev_lacks_leaves_macro_f1_open() -> None:
    results = single(NAMES)
    results["counts"]["dev"]["b"] = 0
    assert baseline(results, "macro_f1") is None
    assert baseline(results, "accuracy") is not None


def test_the_headline_says_what_training_came_to_nothing() -> None:
    kept = "No evaluation was better than before training, so the untrained model is kept."
    results = single(NAMES) | {"zero_shot": {}}
    assert kept not in headline(results)
    results["training"] = results["training"] | {"best_step": 0}
    assert headline(results)[2] == kept
    assert kept not in headline(results | {"training": results["training"] | {"steps": 0}})


def test_the_headline_says_when_every_answer_is_the_same() -> None:
    results = single(NAMES)
    assert not any("same label" in one for one in headline(results))
    results["confusion"] = {"labels": NAMES, "counts": [[0, 3, 0], [0, 9, 0], [0, 0, 0]]}
    assert "It gives every one of them the same label, b." in headline(results)
    assert not any("same label" in one for one in headline(results | {"task": "tag"}))


@pytest.mark.parametrize(
    ("low", "high", "value", "said"),
    [
        (0.85, 0.89, 0.87, None),
        (0.3, 0.6, 0.5, "The model cannot be told from that."),
        (0.1, 0.2, 0.15, "The model is worse than that."),
    ],
)
def test_the_headline_claims_no_more_than_the_interval(
    low: float, high: float, value: float, said: str | None
) -> None:
    figures = {"accuracy": {"value": value, "low": low, "high": high}}
    sentences = headline(single(NAMES) | {"figures": figures})
    assert "would reach 39.7%." in sentences[2]
    assert sentences[3:] == ([] if said is None else [said])


def test_headlines() -> None:
    assert headline(single(NAMES))[:2] == [
        "bert learned to tell 3 labels apart: 2,493 examples of train.csv, 800 steps.",
        "It labels 87.1% of 277 examples of dev.csv right (95% interval 85.1% to 89.1%).",
    ]
    assert "277 examples kept apart from training right" in headline(single(NAMES) | {"dev_is_held_out": True})[1]
    assert "to mark 4 types of entities" in headline(tagged())[0]
    assert headline(tagged())[2].startswith("Over 5 seeds the mean is 81.8% (95% t-interval 81.0% to 82.6%)")
    alike = tagged() | {"seeds": [one | {"seed": number} for number, one in enumerate(tagged()["seeds"][:1] * 3)]}
    assert headline(alike)[2].startswith("Over 3 seeds the mean is 81.0%, the same with each.")
    assert "root mean squared error, where the model has 0.502." in headline(numbers())[2]


def test_means_over_seeds() -> None:
    found = over_seeds(tagged())
    assert list(found) == ["f1", "recall"]
    assert found["f1"][0] == mean_of([0.81 + 0.004 * seed for seed in range(5)])
    assert found["recall"][1][4] == (4, pytest.approx(0.84))
    assert over_seeds(tagged() | {"seeds": tagged()["seeds"][:1]}) == {}


@pytest.mark.parametrize(
    ("value", "name", "said"),
    [
        (0.8714, "accuracy", "87.1%"),
        (0.2531, "log_loss", "0.253"),
        (0.012345, "mae", "0.0123"),
        (12.3456, "rmse", "12.35"),
        (12345.6, "mse", "12,346"),
        (-0.25, "mcc", "−0.250"),
        (0.0, "mcc", "0.000"),
        (float("inf"), "rmse", "–"),
        (None, "accuracy", "–"),
        (0.5, "my_own_figure", "0.500"),
    ],
)
def test_figures_as_a_person_reads_them(value: float | None, name: str, said: str) -> None:
    assert written(value, name) == said


def test_only_all_is_100_percent() -> None:
    assert [percent(share) for share in (1.0, 0.9999, 0.998, 0.5, 0.04, 1e-9, 0.0)] == [
        "100%",
        "99.9%",
        "99.8%",
        "50%",
        "4.0%",
        "0.1%",
        "0%",
    ]


@pytest.mark.parametrize(
    ("path", "name"),
    [("runs/bert/model", "bert"), ("hub/bert-base", "bert-base"), ("model", "The model"), (None, "The model")],
)
def test_what_a_model_is_called(path: str | None, name: str) -> None:
    assert model_name({"model": path}) == name


def test_the_interval_of_a_share() -> None:
    assert share_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson's, as in textbooks
    assert share_interval(0, 10)[0] == 0.0
    assert share_interval(10, 10)[1] == 1.0
    assert share_interval(0, 0) == (0.0, 1.0)


@given(st.text())
def test_text_is_made_safe(text: str) -> None:
    safe = plain(text)
    safe.encode("utf-8")
    assert not set("<>\"'\x00\x1b\u202e") & set(safe)
    assert printable("a\r\nb\tc") == "a\nb\tc"


@given(st.floats(1e-3, 1e6), st.floats(1.5, 1e7))
def test_ticks_of_a_logarithmic_axis(low: float, ratio: float) -> None:
    axis = LogAxis(low, low * ratio, 0.0, 100.0)
    ticks = axis.ticks()
    assert len(ticks) <= 12
    assert ticks == sorted(ticks)
    assert all(-1e-6 <= axis(tick) <= 100.0 + 1e-6 for tick in ticks)
    assert len({axis.written(tick) for tick in ticks}) == len(ticks)
