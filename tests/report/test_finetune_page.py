"""The page of a fine-tuning: whole, safe, and made of whatever there is."""

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.report.finetune import page
from clozelm.report.finetune_answers import confusion_of
from tests.report.finetune_samples import TRIALS, journal, numbers, several, single, tagged

THREE = ["negative", "neutral", "positive"]
ATTACKS = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</title></style></svg></table><iframe src=//evil>",
    "&lt;b&gt; &amp;",
    "' style='position:fixed",
    "\ud83d half a pair, \x00 and \x1b[2J",
    "\u202egnp.exe",
)
SAMPLES = {
    "three": single(THREE),
    "many": single([f"label {i}" for i in range(77)]),
    "tag": tagged(),
    "numbers": numbers(),
    "several": several(),
}


class Reader(HTMLParser):
    """The tags of a page, checked for order, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


def everywhere(value: Any, text: str, *, is_named_freely: bool = False) -> Any:
    """Put a text in place of every text, label and name of a figure or setting; sections stay as they were."""
    if isinstance(value, dict):
        return {(text + name if is_named_freely else name): _each(name, each, text) for name, each in value.items()}
    if isinstance(value, list):
        return [f"{text}{i}" if isinstance(each, str) else everywhere(each, text) for i, each in enumerate(value)]
    return text if isinstance(value, str) else value


def _each(name: str, value: Any, text: str) -> Any:
    if name in ("task", "problem", "metric"):
        return value
    if name == "text":
        return 30 * text
    if name in ("seed", "trial"):
        return text
    return everywhere(value, text, is_named_freely=name in ("figures", "settings", "optimizer", "train", "dev"))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_is_whole_and_loads_nothing(name: str) -> None:
    html = page(SAMPLES[name] | {"trials": TRIALS}, journal())
    reader = read(html)
    assert not reader.tags & {"script", "link", "img", "iframe", "object", "use", "image"}
    assert not reader.attributes & {"src", "href"}
    assert "http" not in html
    assert "url(" not in html
    assert not re.search(r"\b(nan|inf|None)\b", html)
    assert len(html) < 1_000_000


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_becomes_anything_but_text(name: str, attack: str) -> None:
    honest = read(page(SAMPLES[name] | {"trials": TRIALS}, journal(40, 10)))
    html = page(everywhere(SAMPLES[name] | {"trials": TRIALS}, attack), journal(40, 10), directory=attack)
    html.encode("utf-8")
    reader = read(html)
    assert reader.tags <= honest.tags | {"details", "summary"}
    assert reader.attributes <= honest.attributes | {"style"}
    assert "\x1b" not in html
    assert "\u202e" not in html
    if "\ud83d" not in attack and "\u202e" not in attack:
        assert attack in reader.words


@given(st.text(max_size=40))
def test_any_text_may_be_a_label(label: str) -> None:
    html = page(single([label, label + "b", "c"]), [])
    html.encode("utf-8")
    assert read(html).tags <= read(page(SAMPLES["three"], [])).tags


@given(st.data())
def test_whatever_is_missing_is_left_out(data: st.DataObject) -> None:
    results = copy.deepcopy(SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))])
    for key in data.draw(st.lists(st.sampled_from(sorted(results)), unique=True)):
        if data.draw(st.booleans()):
            results[key] = None
        else:
            del results[key]
    html = page(results, journal(20, 5) if data.draw(st.booleans()) else [])
    read(html)
    assert "None" not in html


def test_a_page_of_nothing() -> None:
    assert "Nothing has been measured." in read(page({}, [])).words
    assert "Training" not in read(page({}, [{"step": None, "loss": 1.0}, {"note": "no step"}])).words


def test_values_that_are_no_numbers_are_not_drawn() -> None:
    records = [
        {"step": step, "loss": float("nan"), "dev_loss": None, "dev": {"accuracy": None}} for step in range(5)
    ]
    results = SAMPLES["three"] | {"figures": {"accuracy": {"value": float("nan")}}, "training": None}
    words = read(page(results, records)).words
    assert "Training" not in words
    assert "Nothing has been measured." in words


def test_the_sections_of_each_problem() -> None:
    words = {name: read(page(results, journal())).words for name, results in SAMPLES.items()}
    assert "most frequent label in training, would reach 39.7%" in words["three"]
    assert "The 15 most frequent of" in words["many"]
    assert "By type of entity" in words["tag"]
    assert "spurious" in words["tag"]
    assert "Over seeds" in words["tag"]
    assert "new.conll" in words["tag"]
    assert "Prediction against truth" in words["numbers"]
    assert "Largest errors" in words["numbers"]
    assert "What is taken for what" not in words["several"]
    for each in ("three", "many", "tag", "several"):
        assert "Does its confidence mean something?" in words[each]
        assert "whole text, 1,003 characters" in words[each]


def test_a_repeated_step_of_a_resumed_run_is_drawn_once() -> None:
    records = journal(40, 10)
    assert page(SAMPLES["three"], records) == page(SAMPLES["three"], [*records[:25], *records[10:]])


def test_the_confusion_of_entities_names_its_edges() -> None:
    counts = [[5, 1, 2], [0, 7, 1], [3, 0, 0]]
    square = {"task": "tag", "confusion": {"labels": ["PER", "LOC", "missed/spurious"], "counts": counts}}
    found = confusion_of(square)
    assert found is not None
    assert (found.rows, found.columns) == (["PER", "LOC", "spurious"], ["PER", "LOC", "missed"])
    assert found.mistakes()[0] == ("spurious", "PER", 3, 3)
    wide = [[5, 1, 2, 0], [0, 7, 1, 0], [0, 0, 0, 0], [3, 0, 0, 0]]
    both = {"task": "tag", "confusion": {"labels": ["PER", "LOC", "missed", "spurious"], "counts": wide}}
    assert confusion_of(both) == found
    plain = {"task": "classify", "confusion": {"labels": ["none", "O"], "counts": [[1, 2], [0, 0]]}}
    kept = confusion_of(plain)
    assert kept is not None
    assert kept.columns == ["none", "O"]
