"""Curves over the number of training examples, as a section and as a picture."""

from pathlib import Path
from typing import Any

import pytest

from clozelm.report.learning_curves import learning_picture, learning_section
from clozelm.report.page_parts import document
from tests.report.finetune_samples import CURVES
from tests.report.test_finetune_page import read

NASTY: dict[str, Any] = {
    "title": "<b>$x^2$",
    "metric": "rmse",
    "lines": [
        {"name": "_<script>", "points": [{"x": 10, "value": 0.5}, {"x": 0, "value": 1.0}, {"x": 5, "value": None}]},
        {"name": "$\\frac", "points": []},
    ],
}


def test_the_section_has_all_names_and_numbers() -> None:
    html = learning_section(CURVES)
    words = read(document("curves", [html])).words
    for said in ("Labels needed", "pretrained here", "random weights", "6,734", "85.3%", "84.3% to 86.3%"):
        assert said in words, said
    assert html.count("<polygon") == html.count("<polyline") == 2


def test_points_that_cannot_be_drawn_are_left_out() -> None:
    reader = read(document("curves", [learning_section(NASTY)]))
    assert "script" not in reader.tags
    assert "<b>$x^2$" in reader.words
    assert "0.500" in reader.words
    assert learning_section(NASTY | {"lines": NASTY["lines"][1:]}) == ""


def test_the_order_of_points_does_not_matter() -> None:
    shuffled = [line | {"points": line["points"][::-1]} for line in CURVES["lines"]]
    assert learning_section(CURVES | {"lines": shuffled}) == learning_section(CURVES)


@pytest.mark.parametrize("curves", [CURVES, NASTY, NASTY | {"lines": []}])
def test_a_picture_comes_of_any_curves(tmp_path: Path, curves: dict[str, Any]) -> None:
    learning_picture(curves, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
