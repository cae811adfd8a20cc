"""What a person sees while a model trains: one live line, and from time to time what it has learned."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from clozelm.infer.fill_mask import FillMask
from clozelm.train.pretrain import StepReport, train
from clozelm.train.run import Run

_LINE_SECONDS = 10.0
_SMOOTHING = 0.9


class ProgressLine:
    """The running figures of a run as one line of text; the loss is averaged over recent steps."""

    def __init__(self, run: Run) -> None:
        self.unigram = run.unigram_nats if run.objective.fills_masks else None
        self.loss: float | None = None
        self.seconds: float | None = None

    def update(self, report: StepReport) -> Text:
        """Take a step in and return the line."""
        self.loss = _mixed(self.loss, report.loss)
        self.seconds = _mixed(self.seconds, report.seconds)
        left = self.seconds * (report.num_steps - report.step)
        line = Text(f"step {report.step:,}/{report.num_steps:,}  loss ")
        is_below = self.unigram is None or self.loss < self.unigram
        line.append(f"{self.loss:.3f}", style="bold green" if is_below else "bold yellow")
        line.append("  " if self.unigram is None else f" (unigram {self.unigram:.2f})  ")
        line.append(f"{report.tokens / self.seconds:,.0f} tokens/s  ")
        line.append(f"{report.peak_share * report.seconds / self.seconds:.0%} of matrix peak  {clock(left)} left")
        return line


def show_run(
    run: Run, *, probes: Sequence[str] = (), probe_every: float = 0.125, console: Console | None = None
) -> None:
    """Train to the end, showing progress; a terminal gets a live line, anything else a line every 10 s.

    Every ``probe_every`` share of the run the model answers ``probes``, so that one watches it learn. Of several
    processes the first alone shows anything.
    """
    console = console or Console(highlight=False, markup=False, quiet=not run.ranks.is_first)
    for notice in run.notices:
        console.print(notice, style="yellow", soft_wrap=True)
    line, printed = ProgressLine(run), time.monotonic()
    between = max(1, round(probe_every * run.num_steps))
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        for report in train(run):
            text = line.update(report)
            live.update(text)
            if not console.is_terminal and time.monotonic() - printed > _LINE_SECONDS:
                console.print(text, soft_wrap=True)
                printed = time.monotonic()
            held_out = {**report.terms, "heldout_loss": report.heldout_loss}.get(run.heldout_key)
            if held_out is not None:
                console.print(f"  step {report.step:,}: held-out loss {held_out:.3f} nats", style="cyan")
            if probes and report.step % between == 0 and report.step < report.num_steps:
                show_answers(run, probes, console)


def show_answers(run: Run, probes: Sequence[str], console: Console, top: int = 3) -> None:
    """Print what the model would write into each probe."""
    for filled in FillMask(run.model, run.tokenizer)(list(probes), top):
        words = Text("  " + filled.text.replace("[MASK]", "____") + "  ", style="dim")
        for candidate in filled.masks[0]:
            words.append(f"{candidate.token} ", style="bold")
            words.append(f"{candidate.probability:.0%}  ", style="dim")
        console.print(words, soft_wrap=True)


def _mixed(old: float | None, new: float) -> float:
    return new if old is None else _SMOOTHING * old + (1 - _SMOOTHING) * new


def clock(seconds: float) -> str:
    """Write seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
