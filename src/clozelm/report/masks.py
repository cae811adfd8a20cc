"""What a masking strategy does, as a picture: shares by kind, runs, the row, and an example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"mask": "#2a6f97", "random": "#d1495b", "keep": "#edae49", "seen": "#f1f3f5"}
_INK, _QUIET, _FAINT = "#212529", "#6c757d", "#dee2e6"
_MEANINGS = {"mask": "[MASK]", "random": "a random piece", "keep": "kept but predicted", "seen": "seen"}
_GROUPS = {
    "all": "",
    "piece": "in its word",
    "word length": "length of the word",
    "writing": "what it is",
    "frequency": "how frequent",
    "annotation": "annotation",
    "chosen": "by the strategy",
    "place": "in the row",
}
_CELL_LINES, _LINE_WIDTH, _LONGEST = 7, 134, 8


def mask_picture(facts: Mapping[str, Any], out_png: Path) -> None:
    """Draw a mask report and save a PNG; see ``clozelm.flows.masks.MaskReport.plain`` for what it reads.

    Characters that the font lacks are drawn as boxes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 9.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 2, height_ratios=(1.0, 1.0, 0.78), width_ratios=(1.0, 1.0))
    _draw_kinds(figure.add_subplot(grid[:2, 0]), facts)
    _draw_runs(figure.add_subplot(grid[0, 1]), facts)
    _draw_places(figure.add_subplot(grid[1, 1]), facts)
    if facts["examples"]:
        _draw_example(figure.add_subplot(grid[2, :]), facts["examples"][0])
    _entitle(figure, facts)
    figure.savefig(out_png, format="png")


def _entitle(figure: Figure, facts: Mapping[str, Any]) -> None:
    everything = facts["kinds"]["all"][0]
    shares = ", ".join(f"{_MEANINGS[fate]} {share:.0%}" for fate, share in facts["fates"].items())
    figure.suptitle(
        f"{facts['strategy']}: {everything['rate']:.1%} of the tokens hidden (asked for {facts['rate']:.1%})\n\n",
        x=0.01,
        ha="left",
        fontsize=12.5,
        fontweight="bold",
        color=_INK,
    )
    figure.text(
        0.011,
        0.966,
        f"measured on {everything['tokens']:,} tokens in {facts['pieces']:,} document pieces, "
        f"{facts['rows']:,} rows of {facts['row_length']}; bars and bands are 95% intervals\n"
        f"of the hidden tokens: {shares}",
        fontsize=9,
        color=_QUIET,
        va="top",
    )


def _draw_kinds(axes: Axes, facts: Mapping[str, Any]) -> None:
    """Draw a dot with its interval for every kind, the groups apart."""
    y, ticks, labels = 0.0, [], []
    for group, shares in facts["kinds"].items():
        if group != "all":
            y += 0.55
            axes.annotate(
                _GROUPS[group],
                (1.0, y - 0.52),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                fontsize=7.5,
                color=_QUIET,
                style="italic",
            )
        for share in shares:
            low, high = share["interval"]
            axes.plot([100 * low, 100 * high], [y, y], color=COLOURS["mask"], linewidth=2.4, alpha=0.45)
            axes.plot(100 * share["rate"], y, "o", color=COLOURS["mask"], markersize=6)
            ticks.append(y)
            labels.append(f"{share['name']} ({share['note']})" if share["note"] else share["name"])
            y += 1.0
    axes.axvline(100 * facts["rate"], color=_QUIET, linestyle=(0, (5, 4)), linewidth=1.1, zorder=0)
    axes.set_yticks(ticks, labels, fontsize=8.5)
    axes.set_ylim(y - 0.4, -0.7)
    axes.set_xlabel("% of the tokens hidden (dashed: asked for)")
    _finish(axes, "Which tokens are hidden", grid="x")
    _around(axes, 100 * facts["rate"], "x")


def _draw_runs(axes: Axes, facts: Mapping[str, Any]) -> None:
    """Draw the shares of run lengths in tokens and words, what is longer together."""
    lengths = facts["lengths"]
    series = (("run tokens", "tokens", COLOURS["mask"]), ("run words", "words touched", "#89c2d9"))
    for index, (key, label, colour) in enumerate(series):
        shares = _binned(lengths[key])
        mean = sum(int(n) * count for n, count in lengths[key].items()) / sum(lengths[key].values())
        axes.bar(
            np.arange(1, _LONGEST + 1) + (index - 0.5) * 0.38,
            shares,
            width=0.36,
            color=colour,
            label=f"in {label} (mean {mean:.2f})",
        )
    axes.set_xticks(range(1, _LONGEST + 1), [*map(str, range(1, _LONGEST)), f"{_LONGEST}+"])
    axes.set_xlabel("length of a run of hidden tokens")
    axes.set_ylabel("% of the runs")
    axes.legend(frameon=False, fontsize=8.5)
    _finish(axes, "How they cling together", grid="y")


def _binned(histogram: Mapping[Any, int]) -> list[float]:
    counts = [0] * _LONGEST
    for length, count in histogram.items():
        counts[min(int(length), _LONGEST) - 1] += count
    return [100 * count / sum(counts) for count in counts]


def _draw_places(axes: Axes, facts: Mapping[str, Any]) -> None:
    """Draw the share along the row."""
    firsts = [int(share["name"]) for share in facts["places"]]
    stops = [*firsts[1:], facts["row_length"]]
    middle = [(first + stop) / 2 for first, stop in zip(firsts, stops, strict=True)]
    bounds = 100 * np.array([share["interval"] for share in facts["places"]])
    axes.fill_between(middle, bounds[:, 0], bounds[:, 1], color=COLOURS["mask"], alpha=0.18, linewidth=0)
    rates = [100 * share["rate"] for share in facts["places"]]
    axes.plot(middle, rates, color=COLOURS["mask"], marker="o", markersize=4, linewidth=1.5)
    axes.axhline(100 * facts["rate"], color=_QUIET, linestyle=(0, (5, 4)), linewidth=1.1, zorder=0)
    axes.set_xlim(0, facts["row_length"])
    axes.set_xlabel("column of the row")
    axes.set_ylabel("% of the tokens hidden")
    _finish(axes, "Where in the row", grid="y")
    _around(axes, 100 * facts["rate"], "y")


def _around(axes: Axes, centre: float, which: str) -> None:
    """Keep at least a fifth of the rate on both sides in view, so that noise does not look like an effect."""
    low, high = getattr(axes, f"get_{which}lim")()
    getattr(axes, f"set_{which}lim")(max(0.0, min(low, 0.8 * centre)), max(high, 1.2 * centre))


def _draw_example(axes: Axes, example: Mapping[str, Any]) -> None:
    """Draw a text as cells, a colour for what becomes of each stretch; what does not fit is left out."""
    axes.set_axis_off()
    axes.set_xlim(0, _LINE_WIDTH)
    axes.set_ylim(_CELL_LINES + 0.2, -0.6)
    axes.set_title("A text, as it is hidden", loc="left", fontsize=10.5, fontweight="bold", color=_INK)
    _draw_legend(axes)
    covered = _covered()
    x, line = 0.0, 0
    for text, fate in _cells(example["stretches"]):
        width = len(text) + 1.0
        if x + width > _LINE_WIDTH:
            x, line = 0.0, line + 1
        if line >= _CELL_LINES:
            break
        _draw_cell(axes, (x, line, width), "".join(c if ord(c) in covered else "□" for c in text), fate)
        x += width + 0.25


def _draw_cell(axes: Axes, place: tuple[float, float, float], text: str, fate: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, line, width = place
    box = FancyBboxPatch(
        (x, line + 0.12), width, 0.76, boxstyle="round,pad=0,rounding_size=0.25", mutation_aspect=0.3
    )
    box.set(facecolor=COLOURS[fate], linewidth=0)
    axes.add_patch(box)
    axes.text(
        x + width / 2,
        line + 0.5,
        text,
        ha="center",
        va="center_baseline",
        fontsize=7.4,
        family="DejaVu Sans Mono",
        color="white" if fate in ("mask", "random") else _INK,
        parse_math=False,
    )


def _cells(stretches: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Cut a text into cells: a hidden stretch is one, what is seen goes word by word."""
    cells: list[tuple[str, str]] = []
    for stretch in stretches:
        fate, text = stretch["fate"], stretch["text"].strip()
        if fate == "seen":
            cells += [(word, fate) for word in text.split()]
        else:
            cells.append((f"{text} → {stretch['replacement']}" if fate == "random" else text, fate))
    return cells


def _draw_legend(axes: Axes) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=COLOURS[fate], label=meaning) for fate, meaning in _MEANINGS.items()]
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 0.98),
        ncols=len(handles),
        frameon=False,
        fontsize=8.5,
        handlelength=1.2,
        handleheight=1.0,
    )


def _covered() -> set[int]:
    """Return the characters that the cells' font can draw."""
    from matplotlib.font_manager import findfont, get_font

    return set(get_font(findfont("DejaVu Sans Mono")).get_charmap())


def _finish(axes: Axes, title: str, *, grid: Literal["x", "y"]) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=_INK)
    axes.grid(axis=grid, color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, length=3, color=_FAINT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(_FAINT)
