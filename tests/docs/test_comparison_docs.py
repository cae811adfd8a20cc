"""Finished comparisons are published by one command, which changes nothing when nothing changed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clozelm.report.comparison import build
from tests.report.test_comparison import FACTS, arm
from tools import comparison_docs

DOCS = comparison_docs.DOCS
REPORTS = sorted((DOCS / "comparisons").glob("*/report.json"))
PAGE = "# Objectives\n\nBefore.\n\n<!-- one: begin -->\nold\n<!-- one: end -->\n\nAfter.\n"


def report() -> dict[str, Any]:
    made = build(FACTS, [arm("first", [3.0, 3.1, 3.2]), arm("other", [3.5, 3.61, 3.7])])
    return json.loads(json.dumps(made))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "explanation").mkdir()
    (tmp_path / "explanation" / "objectives.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.parent.name)
def test_the_page_has_what_the_reports_say(path: Path, tmp_path: Path) -> None:
    for folder in ("explanation", "comparisons"):
        shutil.copytree(DOCS / folder, tmp_path / folder)
    assert comparison_docs.publish(comparison_docs.read_report(path), path.parent.name, tmp_path) == []
    assert files(tmp_path / "explanation") == files(DOCS / "explanation")


def test_there_are_reports() -> None:
    assert REPORTS


def test_the_second_time_changes_nothing(docs: Path) -> None:
    assert len(comparison_docs.publish(report(), "one", docs)) == 4
    once = files(docs)
    assert comparison_docs.publish(report(), "one", docs) == []
    assert files(docs) == once
    page = (docs / "explanation" / "objectives.md").read_text(encoding="utf-8")
    assert page.startswith("# Objectives\n\nBefore.\n\n<!-- one: begin -->\n")
    assert page.endswith("<!-- one: end -->\n\nAfter.\n")
    assert "\nold\n" not in page
    assert "| masked loss, nats a piece ↓ | 3.100 ± 0.248 | 3.603 ± 0.249 ▼ |" in page
    assert "| *FLOPs* | 1 T | 1 T |" in page
    assert "Masked loss: the &lt;other> against the &lt;first>: worse (+0.503 nats a piece" in page
    assert "Not measured: linear probe (no labels were given)." in page
    assert (
        '<img src="img/one-loss-tokens.svg" alt="Held-out loss over tokens seen" width="49%" align="top">' in page
    )


def test_another_choice_of_plots_stays(docs: Path) -> None:
    comparison_docs.publish(report(), "one", docs)
    kept = docs / "explanation" / "img" / "one-other-thing.svg"
    kept.write_text("of another comparison", encoding="utf-8")
    comparison_docs.publish(report(), "one", docs, chosen=["loss-flops"])
    comparison_docs.publish(report(), "one", docs)
    assert sorted(path.name for path in kept.parent.iterdir()) == ["one-loss-flops.svg", "one-other-thing.svg"]


def test_a_new_comparison_gets_a_section(docs: Path) -> None:
    comparison_docs.publish(report(), "two", docs)
    once = files(docs)
    assert comparison_docs.publish(report(), "two", docs) == []
    page = once["explanation/objectives.md"].decode()
    assert page.startswith(f"{PAGE}\n## a &lt; b\n\n<!-- two: begin -->\n")


@pytest.mark.parametrize(
    ("name", "chosen", "said"),
    [
        ("One", None, "'One' names files: use small letters"),
        ("one", ["loss-hours"], "There is no plot 'loss-hours' in this report. The plots are loss-tokens, "),
        ("half", None, "must hold '<!-- half: begin -->' and '<!-- half: end -->' once each"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(
    name: str, chosen: list[str] | None, said: str, docs: Path
) -> None:
    page = docs / "explanation" / "objectives.md"
    page.write_text(PAGE + "<!-- half: begin -->\n", encoding="utf-8")
    before = files(docs)
    with pytest.raises(SystemExit, match=said):
        comparison_docs.publish(report(), name, docs, chosen=chosen)
    assert files(docs) == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read as a report"),
        ("[]", "cannot be read as a report"),
        ("{}", r"is no report of a comparison \(no arms\)"),
        ("unfinished", "not finished are other, seed 1; publish it when they are"),
    ],
)
def test_what_is_no_finished_report_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    if content == "unfinished":
        content = json.dumps(report() | {"missing": ["other, seed 1"]})
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit, match=said):
        comparison_docs.read_report(path)
