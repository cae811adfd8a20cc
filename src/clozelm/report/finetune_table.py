"""What a fine-tuning found, for a terminal: tables as plain data, and all of it as lines of text."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clozelm.report.comparison import shown
from clozelm.report.figures import (
    Results,
    figure,
    headline,
    interval_text,
    names_of,
    number,
    over_seeds,
    percent,
    short_name,
    value_of,
    written,
)
from clozelm.report.finetune_answers import shortened
from clozelm.report.page_parts import printable

_TEXT, _CELL = 100, 40


@dataclass(frozen=True)
class Grid:
    """A table of text: its title, the heads of its columns, and rows of as many cells, names first."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def grids(results: Results) -> list[Grid]:
    """Return all tables a terminal shows: figures, seeds, trials, and the labels that fare worst."""
    every = (figure_grid(results), seed_grid(results), trial_grid(results), worst_grid(results))
    return [grid for grid in every if grid is not None]


def figure_grid(results: Results) -> Grid | None:
    """Return the figures with their intervals."""
    figures = results.get("figures") or {}
    rows = [
        (figure(name).title, written(value_of(figures[name]), name), interval_text(figures[name], name) or "–")
        for name in names_of(results)
    ]
    return Grid("Quality", ("figure", "value", "95% interval"), rows) if rows else None


def seed_grid(results: Results) -> Grid | None:
    """Return the figures' means over seeds with t-intervals, and each seed's; None for fewer than two seeds."""
    means = over_seeds(results)
    seeds = list(dict.fromkeys(seed for _, each in means.values() for seed, _ in each))
    rows = []
    for name, (mean, each) in means.items():
        values, reach = dict(each), interval_text({"low": mean.low, "high": mean.high}, name)
        singles = [written(values.get(seed), name) for seed in seeds]
        rows.append((figure(name).title, written(mean.mean, name), reach or "–", *singles))
    head = ("figure", "mean", "95% t-interval", *(f"seed {seed}" for seed in seeds))
    return Grid("Over seeds", head, rows) if rows else None


def trial_grid(results: Results) -> Grid | None:
    """Return the trials of a search, best first, with the settings in which they differ; None without trials.

    Of each trial in ``results["trials"]`` are read "trial", "settings", "value" (None where it did not finish, last
    then), "seconds" and "state".
    """
    trials = list(results.get("trials") or [])
    if not trials:
        return None
    metric = str(results.get("metric") or "value")
    better = figure(metric).better
    trials.sort(
        key=lambda one: -better * value if (value := number(one.get("value"))) is not None else float("inf")
    )
    settings = [one.get("settings") or {} for one in trials]
    names = [
        name
        for name in dict.fromkeys(name for each in settings for name in each)
        if len({str(each.get(name)) for each in settings}) > 1 or len(trials) == 1
    ]
    extra = [name for name in ("seconds", "state") if any(one.get(name) is not None for one in trials)]
    rows = [
        (
            str(one.get("trial", place)),
            written(one.get("value"), metric),
            *(_setting(each.get(name)) for name in names),
            *(_extra(one, name) for name in extra),
        )
        for place, (one, each) in enumerate(zip(trials, settings, strict=True))
    ]
    head = ("trial", figure(metric).title, *names, *({"seconds": "time"}.get(name, name) for name in extra))
    return Grid(f"{len(trials):,} trial{'s' * (len(trials) > 1)}", head, rows)


def worst_grid(results: Results, count: int = 5) -> Grid | None:
    """Return the labels or types of entities with the lowest F1; None where there are no more than two."""
    known = [one for one in results.get("per_class") or [] if number(one.get("f1")) is not None]
    if len(known) < 3:
        return None
    worst = sorted(known, key=lambda one: (one["f1"], -(number(one.get("support")) or 0)))[:count]
    rows = [
        (
            _cell(one.get("label")),
            *(written(one.get(name), name) for name in ("precision", "recall", "f1")),
            "–" if number(one.get("support")) is None else f"{one['support']:,}",
        )
        for one in worst
    ]
    what = "entity" if results.get("task") == "tag" else "label"
    plural = "types of entities" if what == "entity" else "labels"
    return Grid(f"Worst {plural}", (what, "precision", "recall", "F1", "support"), rows)


def hardest_lines(results: Results, count: int = 3) -> list[str]:
    """Return the mistakes the model was surest of, a line each, texts cut to fit."""
    said = []
    for one in (results.get("hardest") or [])[:count]:
        probability = number(one.get("probability"))
        sure = "" if probability is None else f" ({percent(probability)})"
        where = f"{short_name(printable(one['source']))}: " if one.get("source") else ""
        text = shortened(" ".join(printable(one.get("text") or "").split()), _TEXT)
        answered, truth = (_cell(one.get(key)) for key in ("predicted", "truth"))
        said.append(f"{where}answered {answered}{sure}, truth {truth}: {text}")
    return said


def lines(results: Results) -> list[str]:
    """Return all of it as lines of text: the sentences, the tables, the hardest examples and the notes."""
    said = [printable(sentence) for sentence in headline(results)]
    for grid in grids(results):
        said += ["", grid.title, *_aligned(grid)]
    hardest = hardest_lines(results)
    if hardest:
        said += ["", "Largest errors" if results.get("problem") == "regression" else "Most confident mistakes"]
        said += [f"- {line}" for line in hardest]
    notes = [printable(note) for note in results.get("notes") or []]
    return [*said, *(["", *(f"- {note}" for note in notes)] if notes else [])]


def _aligned(grid: Grid) -> list[str]:
    """Return a table as lines: names on the left, the rest flush right."""
    table = [list(grid.head), *(list(row) for row in grid.rows)]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    said = []
    for row in table:
        spaces = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [row[0] + spaces[0], *(space + cell for cell, space in zip(row[1:], spaces[1:], strict=True))]
        said.append("  ".join(cells).rstrip())
    return said


def _width(text: str) -> int:
    """Return the columns a text takes in a terminal: two for wide characters, none for combining ones."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def _cell(value: object) -> str:
    return shortened(" ".join(printable(value).split()), _CELL)


def _setting(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else _cell(value)


def _extra(trial: Mapping[str, Any], name: str) -> str:
    value = trial.get(name)
    return shown(number(value), "s") if name == "seconds" else _cell(value or "–")
