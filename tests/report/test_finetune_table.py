"""The same results as tables and lines for a terminal."""

import re

from hypothesis import given
from hypothesis import strategies as st

from clozelm.report.finetune_answers import shortened
from clozelm.report.finetune_table import (
    figure_grid,
    grids,
    hardest_lines,
    lines,
    seed_grid,
    trial_grid,
    worst_grid,
)
from tests.report.finetune_samples import TRIALS, numbers, single, tagged

MANY = single([f"label {i}" for i in range(30)])


def test_the_figure_that_chose_comes_first() -> None:
    grid = figure_grid(MANY)
    assert grid is not None
    assert grid.rows[0] == ("accuracy", "87.1%", "85.1% to 89.1%")


def test_the_five_worst_labels() -> None:
    grid = worst_grid(MANY)
    assert grid is not None
    worst = sorted(MANY["per_class"], key=lambda one: one["f1"])[:5]
    assert [row[0] for row in grid.rows] == [one["label"] for one in worst]
    assert worst_grid(single(["a", "b"])) is None


def test_seeds_and_trials() -> None:
    seeds = seed_grid(tagged())
    assert seeds is not None
    assert seeds.rows[0][:3] == ("F1", "81.8%", "81.0% to 82.6%")
    assert seeds.head[3:] == tuple(f"seed {seed}" for seed in range(5))
    trials = trial_grid(MANY | {"trials": TRIALS})
    assert trials is not None
    assert [row[0] for row in trials.rows] == ["1", "0", "2"]  # best first, what did not finish last
    assert "batch" not in trials.head  # all trials had the same
    assert trials.rows[2][1] == "–"
    assert trial_grid(MANY) is None
    lower = trial_grid(numbers() | {"metric": "rmse", "trials": TRIALS})
    assert lower is not None
    assert [row[0] for row in lower.rows] == ["0", "1", "2"]


def test_three_hardest_examples_a_line_each() -> None:
    found = hardest_lines(MANY)
    assert len(found) == 3
    assert found[0].startswith("dev.csv:2: answered label 29 (99.8%), truth label 0: the film")
    nasty = hardest_lines({"hardest": [{"text": "a\n\x1b[31mb", "truth": "x\ny", "predicted": "z"}]})
    assert nasty == ["answered z, truth x y: a \ufffd[31mb"]


def test_rows_are_of_one_width() -> None:
    assert all(len(row) == len(grid.head) for grid in grids(tagged() | {"trials": TRIALS}) for row in grid.rows)
    said = lines(single(["短い", "long label", "x"]))
    at = said.index("Worst labels")
    ends = [len(re.sub("[短い]", "..", line)) for line in said[at + 1 : at + 5]]
    assert len(set(ends)) == 1


def test_nothing_to_say() -> None:
    assert lines({}) == ["The model learned to label texts.", "Nothing has been measured."]
    assert grids({}) == []


@given(st.text(), st.integers(2, 40))
def test_a_shortened_text_fits(text: str, longest: int) -> None:
    cut = shortened(text, longest)
    assert len(cut) <= longest
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))
