"""Labels nothing can be learned from are refused in one line; what is odd about the others is said."""

from typing import Any

import pytest

from clozelm.errors import DataError
from clozelm.text.examples import Problem, TaggedSentence, TextExample
from clozelm.text.label_checks import check_labels, label_counts, label_names, preview


def examples(labels: list[Any], file: str = "t.csv") -> list[TextExample]:
    return [
        TextExample((f"text {line}",), label, f"{file}:{line}", {"id": line, "label": label, "kind": line % 2})
        for line, label in enumerate(labels, 2)
    ]


@pytest.mark.parametrize(
    ("train", "dev", "problem", "said"),
    [
        (
            ["x", "x"],
            None,
            "single",
            "t.csv: field 'label' has the one label 'x' in 2 records: learning needs two.",
        ),
        ([(), ()], None, "multi", "t.csv: field 'label' has no label at all in 2 records: learning needs two."),
        ([1.0, 1.0], None, "regression", "t.csv: field 'label' is 1.0 in every record: there is nothing to learn."),
        (
            ["x", "y"],
            ["x", "z", "z"],
            "single",
            "d.csv:3: label 'z' is not among x, y.",
        ),
        (
            ["x", "y"],
            ["a", "b", "c", "d", "e"],
            "single",
            "d.csv:2: label 'a' is not among x, y; "
            "neither are 'b' (d.csv:3), 'c' (d.csv:4), 'd' (d.csv:5) and 1 more.",
        ),
        ([("x", "y"), ()], [("x", "w")], "multi", "d.csv:2: label 'w' is not among x, y."),
        (
            [f"name{place}" for place in range(30)],
            None,
            "single",
            "t.csv: field 'label' has 30 different values in 30 records: no labels; name one that repeats with "
            "--label: 'kind' has 2.",
        ),
        (
            [f"a text of six words {place}" for place in range(5)],
            None,
            "single",
            "t.csv: field 'label' has 5 different values in 5 records: no labels; name one that repeats with "
            "--label: 'kind' has 2.",
        ),
        (
            [str(place / 8) for place in range(40)],
            None,
            "single",
            "t.csv: field 'label' has 40 different values in 40 records: no labels, but numbers? "
            "See --problem regression.",
        ),
    ],
)
def test_labels_that_cannot_be_meant(train: list[Any], dev: list[Any] | None, problem: Problem, said: str) -> None:
    with pytest.raises(DataError) as caught:
        check_labels(examples(train), dev and examples(dev, "d.csv"), problem, field="label")
    assert str(caught.value) == said


def test_what_is_odd_is_said() -> None:
    train = examples(["pos", "Pos", "neg", "neg", "pos", "neg", "po\u200bs"])
    assert check_labels(train, examples(["neg"], "d.csv"), "single") == [
        "labels that differ in case, spacing or zeros alone: 'Pos', 'pos', 'po\\u200bs'",
        "labels with one example in t.csv: 2 ('Pos', 'po\\u200bs')",
        "labels without an example in d.csv: 3 ('pos', 'Pos', 'po\\u200bs')",
    ]
    assert check_labels(examples(["a", "b"] * 3), None, "single") == []
    assert check_labels(examples([1.0, 2.0]), examples([5.0]), "regression") == []
    assert check_labels(examples([("a",), ()]), None, "multi")[0].startswith("labels with one example")
    assert check_labels(examples(["a", "b"] * 3), examples(["c"]), "single", labels=["a", "b", "c"])


def test_few_examples_of_many_labels_are_fine() -> None:
    few = [f"label {place}" for place in range(15)]
    check_labels(examples(few), None, "single")
    check_labels(examples([f"intent {place}" for place in range(77)] * 2), None, "single")


def test_names_are_ordered_as_ids() -> None:
    assert label_names(examples(["10", "9", "-1"])) == ("-1", "9", "10")
    assert label_names(examples(["10", "9", "x"])) == ("10", "9", "x")
    assert label_names(examples([("b", "a"), ()])) == ("a", "b")
    assert label_names(examples([1.5])) == ()


def test_a_preview() -> None:
    texts = [
        TextExample(("a b c", "d"), "x", "t:1"),
        TextExample(("e",), "y", "t:2"),
        TextExample(("",), "x", "t:3"),
    ]
    found = preview(texts, 2)
    assert (found.first, found.count, found.labels) == (texts[:2], 3, {"x": 2, "y": 1})
    assert (found.words, found.characters) == ((0, 1, 1, 4), 6)
    sentences = [TaggedSentence(("ab", "c"), ("O", "B-X")), TaggedSentence(("d",), ("O",))]
    assert label_counts(sentences) == {"O": 2, "B-X": 1}
    assert preview(sentences).words == (1, 2, 1, 2)


def test_numbers_as_names_are_noted() -> None:
    examples = [TextExample((f"t{i}",), label, f"a.csv:{i}") for i, label in enumerate(["1", "01", "2.5", "3"] * 3)]
    notes = check_labels(examples, None, "single")
    assert "labels that differ in case, spacing or zeros alone: '01', '1'" in notes
    assert any("taken as names; see --problem regression" in note for note in notes)
    whole = [TextExample((f"t{i}",), label, f"a.csv:{i}") for i, label in enumerate(["1", "2"] * 3)]
    assert check_labels(whole, None, "single") == []
