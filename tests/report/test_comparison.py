"""What a report says of given numbers, and its page."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from clozelm.report.comparison import ArmResult, RunResult, build, differing, not_measured, shown
from clozelm.report.page import page

FACTS = {
    "title": "a < b",
    "question": "Which?",
    "budget": {"kind": "steps", "amount": 4, "text": "4 steps"},
    "seeds": [0, 1, 2],
    "data": "tokens",
    "missing": [],
    "machines": ["a machine"],
    "versions": {"clozelm": "0"},
    "notes": ["a note & more"],
}


def arm(
    name: str, losses: list[float], documents: np.ndarray | None = None, caveat: str | None = None
) -> ArmResult:
    runs = [
        RunResult(
            seed,
            {"masked_loss": loss, "flops": 1e12, "seconds": 3.0, "own_clm_loss": 2.0},
            {"probe": "no labels were given"},
            {} if documents is None else {"masked_loss": documents},
            {
                "tokens": [1e3, 2e3],
                "steps": [1, 2],
                "flops": [1e9, 2e9],
                "seconds": [1.0, 2.0],
                "loss": [5.0, loss],
            },
        )
        for seed, loss in enumerate(losses)
    ]
    caveats = {} if caveat is None else {"masked_loss": caveat, "probe": caveat}
    return ArmResult(name, f"the <{name}>", "about", {"masking.rate": 0.3}, runs, caveats)


def verdicts(*arms: ArmResult) -> dict[str, str]:
    (loss,) = (one for one in build(FACTS, arms)["measures"] if one["name"] == "masked_loss")
    return {name: difference["verdict"] for name, difference in loss["differences"].items()}


def test_only_what_seeds_show_is_said() -> None:
    first = arm("first", [3.0, 3.1, 3.2])
    better, worse = arm("better", [2.5, 2.61, 2.7]), arm("worse", [3.5, 3.61, 3.7])
    unclear = arm("unclear", [2.9, 3.2, 3.0])
    assert verdicts(first, better, worse, unclear) == {"better": "better", "worse": "worse", "unclear": "unclear"}
    result = build(FACTS, [first, better, worse, unclear])
    assert result["summary"].startswith("Of 3 differences from the <first>, 2 can be told from chance: 1 better, 1")
    assert any("against the <first>: they cannot be told apart with 3 seeds" in line for line in result["reading"])


def test_holm_takes_back_what_many_arms_show_by_chance() -> None:
    first, close = arm("first", [3.0, 3.1, 3.2]), arm("close", [3.1, 3.23, 3.3])
    assert verdicts(first, close) == {"close": "worse"}
    others = [arm(f"other{i}", [3.0 + i, 3.3, 3.1]) for i in range(9)]
    assert verdicts(first, close, *others)["close"] == "unclear"
    reading = build(FACTS, [first, close, *others])["reading"]
    assert any("once the number of arms is corrected for" in line for line in reading)


def test_equal_differences_are_no_finding() -> None:
    first, other = arm("first", [3.0, 3.1]), arm("other", [3.5, 3.6])
    assert verdicts(first, other) == {"other": "unclear"}
    (line,) = build(FACTS, [first, other])["reading"]
    assert "they cannot be told apart (+0.500 nats a piece with each of 2 seeds, no interval)" in line
    page(build(FACTS, [first, other]))


def test_unlike_questions_are_said_to_be_so() -> None:
    first, plain = arm("first", [3.0, 3.1, 3.2]), arm("plain", [2.5, 2.61, 2.7])
    other = arm("other", [3.5, 3.61, 3.7], caveat="it is told less")
    result = build(FACTS, [first, plain, other])
    assert result["summary"].endswith("1 better, 1 worse. 1 of them set unlike questions side by side, see *.")
    assert result["caveats"] == ["Masked loss of the <other>: it is told less."], "the probe was not measured"
    alike, unlike = result["reading"]
    assert "Another question" not in alike
    assert unlike.endswith(" Another question is asked of the <other>, see *.")
    html = page(result)
    assert "* Masked loss of the &lt;other&gt;: it is told less." in html
    assert "<b>3.603*</b>" in html
    turned = build(FACTS, [other, plain, arm("third", [3.0, 3.3, 3.6], caveat="it is told less")])
    assert [" asked of the <other>, see" in line for line in turned["reading"]] == [True, False]


def test_one_seed_says_nothing_of_another() -> None:
    documents = np.stack([np.linspace(3.0, 4.0, 50), np.ones(50)])
    first, other = arm("first", [3.0], documents), arm("other", [3.5], documents + np.array([[0.5], [0.0]]))
    assert verdicts(first, other) == {"other": "one seed"}
    (line,) = build(FACTS, [first, other])["reading"]
    assert "with one seed; another may say otherwise" in line
    assert "do differ over the texts measured" in line


def test_seeds_that_only_one_arm_has_are_not_paired() -> None:
    result = build(FACTS, [arm("first", [3.0, 3.1, 3.2]), arm("other", [3.5, 3.6])])
    (loss,) = (one for one in result["measures"] if one["name"] == "masked_loss")
    assert loss["differences"]["other"]["count"] == 2
    assert loss["arms"]["first"]["count"] == 3


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (0.1234, "%", "12.3%"),
        (3.14159, "bits", "3.142"),
        (1.5e12, "", "1.5 T"),
        (90.0, "s", "1.5 min"),
        (None, "", "–"),
    ],
)
def test_numbers_as_a_person_reads_them(value: float | None, unit: str, written: str) -> None:
    assert shown(value, unit) == written


def test_differences_have_the_digits_they_need() -> None:
    assert differing([-0.0007, -0.0012, -0.0001], "bits") == ["-0.00070", "-0.00120", "-0.00010"]
    assert differing([0.25, -0.5, 0.0], "%") == ["+25.0", "-50.0", "0"]


class Page(HTMLParser):
    """Tags that load something, tags that are not closed, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "link", "img", "iframe") or "src" in given or "href" in given:
            self.loads.append(tag)
        if tag not in ("meta", "line", "polyline", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_is_whole_and_loads_nothing() -> None:
    arms = [arm("first", [3.0, 3.1, 3.2]), arm("other", [3.5, 3.61, 3.7]), ArmResult("none", "none", "", {}, [])]
    html = page(build(FACTS, arms))
    read = Page()
    read.feed(html.replace("/>", ">"))
    assert not read.loads
    assert not read.open
    assert "http" not in html
    assert "url(" not in html
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", html)
    for said in (
        "a < b",
        "Which?",
        "the <first>",
        "a note & more",
        "3.100",
        "no labels were given",
        "clm loss 2.000",
    ):
        assert said in read.words, said


def test_a_page_of_nothing() -> None:
    html = page(build(FACTS | {"missing": ["first, seed 0"]}, [ArmResult("first", "first", "", {}, [])]))
    assert "Nothing has been measured yet." in html
    assert "Not finished: first, seed 0" in html


def test_what_the_same_arms_lack_for_the_same_reason_is_one_line() -> None:
    """Arms are named where not all lack a measure."""
    arms = [{"name": "a", "label": "one"}, {"name": "b", "label": "two"}]
    measures = [
        {"title": "loss", "reasons": {"b": "no masks"}},
        {"title": "probe", "reasons": {"a": "no labels", "b": "no labels"}},
        {"title": "accuracy", "reasons": {"b": "no masks"}},
        {"title": "pairs", "reasons": {}},
    ]
    assert not_measured({"arms": arms, "measures": measures}) == [
        "Not measured: loss, accuracy of two (no masks).",
        "Not measured: probe (no labels).",
    ]
