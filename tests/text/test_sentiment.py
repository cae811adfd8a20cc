"""Labels read as sentiment: every spelling, what is ambiguous, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import DataError, SettingsError
from clozelm.text.examples import TextExample
from clozelm.text.sentiment import ONLY_IF_NAMED, SPELLINGS, WAYS, Scale, checked_ways, find_scale, folded


def examples(*labels: str) -> list[TextExample]:
    return [TextExample((f"text {i}",), label, f"r.csv:{i + 2}") for i, label in enumerate(labels)]


@pytest.mark.parametrize("names", SPELLINGS, ids="/".join)
def test_a_whole_scale_is_read_of_itself(names: tuple[str, ...]) -> None:
    given_labels = examples(*reversed(names), names[0])
    scale = find_scale(given_labels)
    assert scale.names == names
    assert scale.labels == WAYS[len(names)]
    relabelled = [one.label for one in scale.relabelled(given_labels)]
    assert relabelled == [*reversed(WAYS[len(names)]), WAYS[len(names)][0]]


@given(st.sampled_from(SPELLINGS + ONLY_IF_NAMED), st.data())
def test_with_ways_some_may_be_missing(names: tuple[str, ...], data: st.DataObject) -> None:
    seen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=9))
    scale = find_scale(examples(*seen), checked_ways(len(names)))
    assert set(seen) <= set(scale.names)
    first = next(each for each in SPELLINGS + ONLY_IF_NAMED if len(each) == len(names) and set(seen) <= set(each))
    assert scale.names == first


@given(st.sampled_from([name for names in SPELLINGS for name in names]), st.data())
def test_case_and_dashes_do_not_matter(name: str, data: st.DataObject) -> None:
    assert folded(name) == name, "what the tables hold is folded"
    written = "".join(data.draw(st.sampled_from((each.lower(), each.upper()))) for each in name)
    written = written.replace(" ", data.draw(st.sampled_from((" ", "_", "-", "  "))))
    assert folded(f" {written} ") == name


@pytest.mark.parametrize(
    ("written", "meant"), [("+1", "1"), ("5 Stars", "5 star"), ("1-star", "1 star"), ("3stars", "3 star")]
)
def test_usual_variants(written: str, meant: str) -> None:
    assert folded(written) == meant
    assert folded("-1") == "-1"


@pytest.mark.parametrize(
    "labels", [("1", "2"), ("1", "2", "3", "4"), ("1", "5"), ("negative", "neutral", "positive")]
)
def test_what_may_mean_several_things_is_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(
        DataError, match=r"^r\.csv: labels .* are no whole scale of sentiment: say --ways "
    ) as caught:
        find_scale(examples(*labels))
    assert "--ways 5 (" in str(caught.value)
    assert ("--ways 2 (1 = negative, 2 = positive)" in str(caught.value)) == (labels == ("1", "2"))


def test_one_and_two_are_either() -> None:
    assert find_scale(examples("1", "2"), 2).names == ("1", "2")
    assert find_scale(examples("1", "2"), 5).names == ("1", "2", "3", "4", "5")
    assert find_scale(examples("0", "4"), 5).names == ("0", "1", "2", "3", "4")


def test_what_is_no_sentiment_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"labels good, meh are no sentiment \('meh' is on no scale\): known are neg"
    ):
        find_scale(examples("good", "meh"))
    with pytest.raises(DataError, match=r"labels bad, positive are on no one scale of sentiment"):
        find_scale(examples("bad", "positive"))
    with pytest.raises(DataError, match=r"are no sentiment in 2 ways, but in 5: say --ways 5\."):
        find_scale(examples("1", "3"), 2)
    with pytest.raises(SettingsError, match=r"--ways=3 must be 2 "):
        checked_ways(3)


def test_a_label_beside_the_scale_names_its_place() -> None:
    with pytest.raises(DataError, match=r"^r\.csv:3: label '6' is not among 1, 2, 3, 4, 5, as which"):
        Scale(("1", "2", "3", "4", "5")).relabelled(examples("1", "6"))


def test_it_is_said_how_labels_were_read() -> None:
    scale = find_scale(examples("1", "2", "4"), 5)
    said = scale.notes(scale.relabelled(examples("1", "2", "4")))
    assert said == [
        "labels are read as sentiment in 5 ways: 1 = very negative, 2 = negative, 3 = neutral, 4 = positive, "
        "5 = very positive",
        "labels without an example to learn from: neutral, very positive",
    ]
    own = find_scale(examples("Negative", "POSITIVE"))
    assert own.notes(own.relabelled(examples("negative", "positive"))) == [
        "labels are read as sentiment in 2 ways: negative, positive"
    ]
