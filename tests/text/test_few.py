"""A few examples of every class: as many as are asked for, drawn by the seed alone, a small draw in a larger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import SettingsError
from clozelm.text.examples import TaggedSentence, TextExample
from clozelm.text.few import draw_few

LABELS = st.lists(st.sampled_from("abc"), min_size=1, max_size=60)


def texts(labels: list[str]) -> list[TextExample]:
    return [TextExample((f"text {place}",), label, f"t:{place}") for place, label in enumerate(labels)]


@given(labels=LABELS, few=st.integers(1, 12), more=st.integers(0, 12), seed=st.integers(0, 5))
def test_every_class_gets_as_many_as_there_are_up_to_the_count(
    labels: list[str], few: int, more: int, seed: int
) -> None:
    examples = texts(labels)
    drawn, notes = draw_few(examples, few, seed=seed)
    for label in set(labels):
        assert sum(one.label == label for one in drawn) == min(few, labels.count(label))
    places = [examples.index(one) for one in drawn]
    assert places == sorted(set(places))
    assert draw_few(examples, few, seed=seed)[0] == drawn
    assert {one.source for one in drawn} <= {one.source for one in draw_few(examples, few + more, seed=seed)[0]}
    is_scarce = any(labels.count(label) < few for label in set(labels))
    assert [len(notes) == 2, f"{len(drawn)} of {len(labels)} examples" in notes[0]] == [is_scarce, True]


def test_a_class_is_drawn_the_same_whatever_the_others_are_and_seeds_differ() -> None:
    alone, beside = texts(["a"] * 50), [*texts(["a"] * 50), *texts(["b"] * 9)]
    assert draw_few(alone, 5)[0] == [one for one in draw_few(beside, 5)[0] if one.label == "a"]
    assert draw_few(alone, 5, seed=0)[0] != draw_few(alone, 5, seed=1)[0]


def test_draws_are_pinned() -> None:
    assert [one.source for one in draw_few(texts(["a", "b"] * 20), 2, seed=7)[0]] == [
        "t:19",
        "t:22",
        "t:32",
        "t:35",
    ]


def test_several_labels_and_sentences_count_as_of_their_rarest() -> None:
    several = [TextExample((str(i),), ("a", "b") if i == 3 else ("a",)) for i in range(9)]
    drawn, _ = draw_few(several, 2)
    assert sorted(len(one.label) for one in drawn if isinstance(one.label, tuple)) == [1, 1, 2]
    sentences = [TaggedSentence(("x", str(i)), ("B-PER" if i % 3 == 0 else "O", "O")) for i in range(12)]
    drawn_sentences, notes = draw_few(sentences, 6)
    assert sorted("B-PER" in (one.tags or ()) for one in drawn_sentences) == [False] * 6 + [True] * 4
    assert notes[1] == "there are fewer than 6 examples of some classes: 4 of 'PER'"


def test_none_of_every_class_is_refused() -> None:
    with pytest.raises(SettingsError, match="--few 0 must be at least 1"):
        draw_few(texts(["a"]), 0)
