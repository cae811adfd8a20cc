"""What is given twice is found, and a held-out share keeps every class on both sides."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import DataError
from clozelm.text.examples import TaggedSentence, TextExample
from clozelm.text.label_checks import label_counts
from clozelm.text.overlap import find_overlap, hold_out


def examples(*rows: tuple[str, object], file: str = "a") -> list[TextExample]:
    return [TextExample((text,), label, f"{file}:{line}") for line, (text, label) in enumerate(rows, 1)]  # type: ignore[arg-type]


def test_what_is_given_twice() -> None:
    train = examples(
        ("One  film", "x"), ("two", "x"), ("one FILM ", "y"), ("caf\u00e9", "x"), ("two", "x"), file="t"
    )
    dev = examples(("three", "x"), ("cafe\u0301", "x"), ("three", "x"), file="d")
    found = find_overlap(train, dev)
    assert found.within_train == [("t:3", "t:1"), ("t:5", "t:2")]
    assert found.within_dev == [("d:3", "d:1")]
    assert found.across == [("d:2", "t:4")]
    assert found.contradictions == [("t:3", "t:1")]
    assert found.notes()[0] == "examples of dev that are also in train: 1, first d:2 as t:4"
    assert len(found.notes()) == 4
    assert find_overlap(examples(("a", "x"), ("b", "x"))).notes() == []


def test_all_of_a_pair_is_compared_and_words_of_sentences() -> None:
    pairs = [
        TextExample(("a", "b"), "x", "t:1"),
        TextExample(("a", "c"), "x", "t:2"),
        TextExample(("a b",), "x", "t:3"),
    ]
    assert find_overlap(pairs).within_train == []
    sentences = [TaggedSentence(("A", "b"), ("O", "O"), "t:1"), TaggedSentence(("a", "B"), ("O", "B-X"), "t:4")]
    assert find_overlap(sentences).contradictions == [("t:4", "t:1")]


ROWS = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(["x", "y", "z"])), min_size=2, max_size=40)


@given(ROWS, st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.9]), st.integers(0, 3))
def test_every_class_of_two_is_on_both_sides(rows: list[tuple[str, str]], share: float, seed: int) -> None:
    given_ = examples(*rows)
    counts = label_counts(given_)
    if max(counts.values()) < 2:
        with pytest.raises(DataError, match="every label has one example"):
            hold_out(given_, share=share, seed=seed)
        return
    train, dev = hold_out(given_, share=share, seed=seed)
    assert sorted([*train, *dev], key=given_.index) == given_
    assert [each for each in given_ if each in train] == train
    for label, count in counts.items():
        held = label_counts(dev).get(label, 0)
        assert (0 < held < count) if count > 1 else held == 0
    again = hold_out([TextExample(each.texts, each.label, "elsewhere") for each in given_], share=share, seed=seed)
    assert [each.texts for each in again[1]] == [each.texts for each in dev]


def test_the_share_and_the_seed() -> None:
    given_ = examples(*((f"text {place}", "x" if place % 4 else "y") for place in range(400)))
    dev = hold_out(given_, share=0.1, seed=0)[1]
    assert label_counts(dev) == {"x": 30, "y": 10}
    assert dev == hold_out(given_, share=0.1, seed=0)[1] != hold_out(given_, share=0.1, seed=1)[1]
    kept = [each for each in given_ if each not in dev[:5]]
    assert len({each.texts for each in hold_out(kept, share=0.1)[1]} & {each.texts for each in dev}) >= 30
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(DataError, match="strictly between 0 and 1"):
            hold_out(given_, share=share)
    with pytest.raises(DataError, match="has one example, which cannot be divided"):
        hold_out(given_[:1])


def test_equal_texts_stay_together() -> None:
    given_ = examples(*((f"text {place % 50}", "x") for place in range(200)))
    train, dev = hold_out(given_, share=0.1)
    assert not {each.texts for each in train} & {each.texts for each in dev}
    assert 20 <= len(dev) <= 40
    lopsided = examples(*([("same", "x")] * 99), ("other", "x"))
    assert [each.texts for each in hold_out(lopsided)[1]] == [("other",)]


@given(st.lists(st.lists(st.sampled_from("pqrs"), max_size=3, unique=True), min_size=4, max_size=30))
def test_with_several_labels_none_is_missing_from_train(labels: list[list[str]]) -> None:
    given_ = examples(*((f"text {place}", tuple(each)) for place, each in enumerate(labels)))
    try:
        train, dev = hold_out(given_, share=0.3)
    except DataError:
        assert len({min(each, default="") for each in labels}) > 1
        return
    assert label_counts(train).keys() == label_counts(given_).keys()
    assert 0 < len(dev) < len(given_)


def test_numbers_and_sentences_are_divided_too() -> None:
    numbers = examples(*((f"text {place}", float(place)) for place in range(50)))
    assert [len(side) for side in hold_out(numbers, share=0.2)] == [40, 10]
    sentences = [
        TaggedSentence((f"w{place}",), ("B-X" if place < 4 else "O",), f"a:{place}") for place in range(40)
    ]
    train, dev = hold_out(sentences, share=0.1)
    assert Counter(each.tags for each in dev) == {("O",): 4, ("B-X",): 1}
    assert len(train) == 35
