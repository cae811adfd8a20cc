"""The plots of a comparison, in its page and as files."""

import re
from xml.etree import ElementTree

import pytest

from clozelm.report.comparison import ArmResult, build
from clozelm.report.page import page
from clozelm.report.page_style import FILE_STYLE
from clozelm.report.plots import plots
from clozelm.report.svg import WIDTH, Line, _apart, line_chart, point_chart
from clozelm.report.svg_shapes import matrix, reliability, scatter
from tests.report.test_comparison import FACTS, arm

SVG = "{http://www.w3.org/2000/svg}"
REPORT = build(
    FACTS, [arm("first", [3.0, 3.1, 3.2]), arm("other", [3.5, 3.61, 3.7]), ArmResult("n", "n", "", {}, [])]
)


def test_every_plot_is_in_the_page_and_a_file() -> None:
    html, drawn = page(REPORT), plots(REPORT)
    assert [plot.name for plot in drawn] == [
        *(f"loss-{axis}" for axis in ("tokens", "steps", "flops", "seconds")),
        "difference-masked-loss",
        *(f"quality-masked-loss-{cost}" for cost in ("flops", "seconds")),
    ]
    for plot in drawn:
        assert plot.chart.inline() in html
        assert plot.chart.inner in plot.file()


def test_a_file_stands_alone() -> None:
    for plot in plots(REPORT):
        content = plot.file()
        root = ElementTree.fromstring(content)
        assert root.tag == f"{SVG}svg"
        assert not re.search(r"var\(|url\(|href|<script|@import", content)
        style = root.findtext(f"{SVG}style") or ""
        light, dark = style.split("@media(prefers-color-scheme:dark)")
        assert light.count("{") == light.count("}") == dark.count("{") - 1 == dark.count("}") - 1
        used = {name for each in root.iter() for name in (each.get("class") or "").split()} - {"tick"}
        assert all(f".{name}" in light and f".{name}" in dark for name in used)
        texts = {each.text for each in root.iter(f"{SVG}text")}
        assert {plot.chart.title, "the <other>"} <= texts
        if not plot.name.startswith("difference"):
            assert "the <first>" in texts
        assert "n" not in texts, "an arm without a number is not drawn"
        x, _, width, height = map(float, (root.get("viewBox") or "").split())
        assert (width, height) == (float(root.get("width") or 0), float(root.get("height") or 0))
        assert x == 0.0
        assert width > WIDTH


def test_charts_of_a_fine_tuning_could_be_files_too() -> None:
    bins = [{"low": 0.8, "high": 1.0, "count": 5, "confidence": 0.9, "accuracy": 0.8}]
    line = Line(1, [(1.0, 2.0), (10.0, 3.0)], [(1.0, 2.5), (2.0, 4.0)], is_marked=True)
    for chart in (
        reliability(bins, title="t"),
        scatter([(0.0, 0.1), (1.0, 0.9)], title="t"),
        matrix(["a", "b"], ["a", "b"], [[3, 1], [0, 2]], title="t"),
        line_chart([line], x_label="x", y_label="y", title="t", is_log=True, uprights=[(2.0, "best")]),
    ):
        root = ElementTree.fromstring(chart.standalone(FILE_STYLE, [(1, "a")]))
        used = {name for each in root.iter() for name in (each.get("class") or "").split()} - {"tick"}
        assert [name for name in used if f".{name}" not in FILE_STYLE] == []


def test_names_of_many_arms_take_rows() -> None:
    lines = [Line(number, [(1.0, 2.0), (2.0, 1.0 + number)]) for number in range(8)]
    chart = line_chart(lines, x_label="x", y_label="y", title="t")
    few, many = (chart.standalone("", [(i, "an arm of a long name") for i in range(n)]) for n in (1, 8))
    heights = [float(ElementTree.fromstring(each).get("height") or 0) for each in (few, many)]
    assert heights[1] == heights[0] + 3 * 22
    places = [float(x) for x in re.findall(r'class="name" x="(\d+)"', many)]
    assert max(places) + 21 * 7 < WIDTH + 32


def test_points_that_would_hide_each_other_stand_apart() -> None:
    assert _apart([100.0, 300.0, 100.0, 104.0]) == pytest.approx(
        [101.33 - 11, 300.0, 101.33, 101.33 + 11], abs=0.01
    )
    assert _apart([5.0, 50.0]) == [5.0, 50.0]
    lines = [Line(number, [(2.0, 1.0)], [(0.5, 1.5)]) for number in range(3)]
    chart = point_chart([*lines, Line(3, [(1.0, 2.0)])], x_label="x", y_label="y", title="t")
    marks = re.findall(r'class="mark f\d" x="([\d.]+)"', chart.inner)
    assert len(set(marks)) == 4
