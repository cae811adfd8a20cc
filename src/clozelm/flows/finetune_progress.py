"""What a person sees while a model is fine-tuned."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from clozelm.flows.progress import clock
from clozelm.train.finetune import FinetuneReport, finetune
from clozelm.train.tuning import Tuning

_LINE_SECONDS = 10.0
_SMOOTHING = 0.9


def show_tuning(run: Tuning[Any], console: Console) -> None:
    """Train to the end; a terminal gets a live line, anything else a line every 10 s; each evaluation gets one."""
    loss: float | None = None
    printed, begun, first = time.monotonic(), time.monotonic(), run.step
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        for report in finetune(run):
            loss = report.loss if loss is None else _SMOOTHING * loss + (1 - _SMOOTHING) * report.loss
            done = report.step - first
            left = (time.monotonic() - begun) / done * (report.num_steps - report.step)
            text = Text(f"step {report.step:,}/{report.num_steps:,}  loss {loss:.3f}  ")
            text.append(f"{report.examples / report.seconds:,.0f} examples/s  {clock(left)} left")
            live.update(text)
            if not console.is_terminal and time.monotonic() - printed > _LINE_SECONDS:
                console.print(text, soft_wrap=True)
                printed = time.monotonic()
            if report.dev is not None:
                console.print(_evaluation(report, run.metric), style="cyan", soft_wrap=True)


def _evaluation(report: FinetuneReport, metric: str) -> str:
    assert report.dev is not None
    value = report.dev[metric]
    shown = "undefined" if value is None else f"{value:.4f}"
    best = ", the best so far" if report.is_best else ""
    return f"  epoch {report.epoch:.2f}: dev loss {report.dev_loss:.3f}, {metric} {shown}{best}"
