"""The loss curve of a run as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = NDArray[np.float64]

_TRAINING, _HELD_OUT, _BASELINE, _FAINT = "#2a6f97", "#d1495b", "#6c757d", "#dee2e6"
_NICE_MINUTES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440, 2880, 10080)


def loss_curve(
    records: Iterable[Mapping[str, Any]],
    out_png: Path,
    *,
    unigram_nats: float | None,
    title: str,
    log: bool,
    held_out: str = "heldout_loss",
) -> None:
    """Draw the training loss, the held-out loss and the unigram line over the tokens seen; save a PNG.

    Reads of each record: "tokens_seen", "elapsed_seconds" (of training), "loss" (nats, of the step) and
    ``held_out`` (nats). What a record lacks is not drawn, nor is a loss that is not finite. ``log``
    makes the axis of tokens logarithmic. The minutes stand above, where they fell.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(records)
    figure = Figure(figsize=(8.0, 4.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_training(axes, *_series(rows, "loss"))
    _draw_held_out(axes, *_series(rows, held_out))
    if unigram_nats is not None:
        axes.axhline(unigram_nats, color=_BASELINE, linestyle=(0, (5, 4)), linewidth=1.2)
        axes.annotate(
            f"knowing only how frequent each piece is: {unigram_nats:.2f}",
            (1.0, unigram_nats),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 4),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=_BASELINE,
        )
    _finish(axes, title=title, log=log)
    _mark_minutes(axes, *_series(rows, "elapsed_seconds"))
    figure.savefig(out_png)


def smoothed(values: Sequence[float] | Series, share: float = 0.02) -> Series:
    """Return the running mean over about ``share`` of all values, as many before as after each.

    At the start, where a loss falls steeply, the window shrinks on both sides alike so as not to lower it; at
    the end it has no values after and keeps those before, so that the last step's noise does not stand out.
    """
    array = np.asarray(values, dtype=np.float64)
    index = np.arange(len(array))
    reach = np.minimum(math.ceil(share * len(array) / 2), index)
    starts, ends = index - reach, np.minimum(index + reach + 1, len(array))
    sums = np.concatenate(([0.0], np.cumsum(array)))
    means: Series = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def tidy(axes: Axes, title: str) -> None:
    """Give a plot its title, a faint grid and no box."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=10, parse_math=False)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.margins(y=0.08)


def _series(rows: list[Mapping[str, Any]], key: str) -> tuple[Series, Series]:
    """Return the tokens and values of the records that have both."""
    pairs = [
        (row["tokens_seen"], row[key])
        for row in rows
        if _is_number(row.get("tokens_seen")) and _is_number(row.get(key))
    ]
    array = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _draw_training(axes: Axes, tokens: Series, loss: Series) -> None:
    if len(tokens) == 0:
        return
    axes.plot(tokens, loss, color=_TRAINING, alpha=0.18, linewidth=0.7)
    axes.plot(tokens, smoothed(loss), color=_TRAINING, linewidth=1.8, label="training, running mean")


def _draw_held_out(axes: Axes, tokens: Series, loss: Series) -> None:
    if len(tokens) == 0:
        return
    axes.plot(
        tokens,
        loss,
        color=_HELD_OUT,
        linewidth=1.0,
        marker="o",
        markersize=4.5,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label="held out",
        zorder=3,
    )
    axes.annotate(
        f"{loss[-1]:.2f}",
        (tokens[-1], loss[-1]),
        xytext=(0, -15),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        fontweight="bold",
        color=_HELD_OUT,
    )


def _finish(axes: Axes, *, title: str, log: bool) -> None:
    from matplotlib.ticker import EngFormatter

    if log:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlabel("tokens seen")
    axes.set_ylabel("loss in nats per predicted piece")
    tidy(axes, title)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower left", fontsize=9)


def _mark_minutes(axes: Axes, tokens: Series, seconds: Series) -> None:
    """Put round minutes above the plot, at the tokens that had been seen by then."""
    order = np.argsort(tokens, kind="stable")
    tokens, minutes = tokens[order], np.maximum.accumulate(seconds[order] / 60)
    if len(tokens) == 0 or minutes[-1] < _NICE_MINUTES[0]:
        return
    marks = np.asarray([nice for nice in _NICE_MINUTES if nice <= minutes[-1]])
    if axes.get_xscale() == "linear":
        spacing = next((nice for nice in _NICE_MINUTES if minutes[-1] / nice <= 7), _NICE_MINUTES[-1])
        marks = np.arange(spacing, minutes[-1] * (1 + 1e-9), spacing)
    above = axes.twiny()
    above.set_xscale(axes.get_xscale())
    above.set_xlim(axes.get_xlim())
    above.minorticks_off()
    above.set_xticks(np.interp(marks, minutes, tokens), [f"{mark:g}" for mark in marks], fontsize=8.5)
    above.set_xlabel("minutes of training", fontsize=8.5, color=_BASELINE)
    above.tick_params(colors=_BASELINE, length=3)
    above.spines[:].set_visible(False)
