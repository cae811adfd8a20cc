"""Measure what is finished of a comparison, and write what it shows: a table, a JSON file and a page."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clozelm import __version__
from clozelm.flows.caveats import caveats
from clozelm.flows.compare import Job, Plan, write_json
from clozelm.flows.compare_settings import Arm, own_settings, shared_settings
from clozelm.flows.measures import Measured, Measurer, curve
from clozelm.report.comparison import ArmResult, RunResult, build, shown
from clozelm.report.page import page
from clozelm.report.plots import plots
from clozelm.text.atomic import disk_errors
from clozelm.train.record import read_record

JSON, PAGE, PLOTS = "report.json", "report.html", "plots"


def report(plan: Plan, *, console: Console) -> dict[str, Any]:
    """Measure every finished run, write ``report.json``, ``report.html`` and ``plots/``, and return the data.

    A run that was measured so before is not measured again. What is not finished is named in the report.
    """
    measurer, notes = Measurer(plan), dict[str, None]()
    own = own_settings(plan.comparison)
    arms = []
    for arm in plan.comparison.arms:
        runs = []
        for job in plan.done(arm.name):
            measured = measurer(job, lambda said: console.print(said, style="dim"))
            runs.append(_run(job, measured))
            notes |= dict.fromkeys(f"{arm.label}: {note}." for note in measured.notes)
        arms.append(ArmResult(arm.name, arm.label, arm.about, own[arm.name], runs, caveats(arm.settings)))
    result = build(_facts(plan, list(notes)), arms)
    write_json(plan.out / JSON, result)
    with disk_errors(plan.out / PAGE):
        (plan.out / PAGE).write_text(page(result), encoding="utf-8")
    _write_plots(plan.out / PLOTS, result)
    return result


def _write_plots(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the page's plots as files; those of an earlier report that are no more are removed."""
    drawn = {f"{plot.name}.svg": plot.file() for plot in plots(result)}
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.svg"):
            if path.name not in drawn:
                path.unlink()
        for name, content in drawn.items():
            (folder / name).write_text(content, encoding="utf-8")


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the table and the reading of a report.

    Arms are columns if they fit beside each other, else rows, with as many measures at a time as fit.
    """
    console.print(result["title"], style="italic", soft_wrap=True)
    for table in _tables(result, console):
        console.print(table)
        console.print()
    for line in result["caveats"]:
        console.print(f"* {line}", style="dim", soft_wrap=True)
    console.print(result["summary"], soft_wrap=True)
    for line in result["reading"]:
        console.print(f"- {line}", soft_wrap=True)
    if result["missing"]:
        console.print(f"Not finished: {', '.join(result['missing'])}.", style="yellow", soft_wrap=True)


def _tables(result: Mapping[str, Any], console: Console) -> Iterator[Table]:
    """Lay out what was measured and what it cost, in one table or several."""
    names, labels = ([arm[key] for arm in result["arms"]] for key in ("name", "label"))
    kept = [one for one in result["costs"] if one["name"] != "steps"]
    columns = [
        [one["title"], *(_shown(one, name) for name in names)]
        for one in result["measures"]
        if any(one["arms"].values())
    ]
    columns += [[one["title"], *(shown(one["arms"].get(name), one["unit"]) for name in names)] for one in kept]
    whole = _table([list(row) for row in zip(["", *labels], *columns, strict=True)])
    if _fits(whole, console):
        yield whole
        return
    block: list[list[str]] = []
    for column in columns:
        if block and not _fits(_table([["", *labels], *block, column]), console):
            yield _table([["", *labels], *block])
            block = []
        block.append(column)
    yield _table([["", *labels], *block])


def _table(columns: Sequence[Sequence[str]]) -> Table:
    """Make a table of columns, each with its head first; the first one is of names."""
    table = Table(box=None, pad_edge=False)
    for number, (head, *_) in enumerate(columns):
        table.add_column(head, justify="right" if number else "left", overflow="fold")
    for row in zip(*(cells for _, *cells in columns), strict=True):
        table.add_row(*row)
    return table


def _fits(table: Table, console: Console) -> bool:
    endless = console.options.update(max_width=100_000)
    return console.measure(table, options=endless).maximum <= console.width


def _shown(measure: Mapping[str, Any], arm: str) -> str:
    """Write a mean with its interval; a star says that the reading has more to say of it."""
    mean, unit = measure["arms"].get(arm), measure["unit"]
    if mean is None:
        return "–"
    reach = "" if mean["low"] is None else f" ± {shown(mean['high'] - mean['mean'], unit)}"
    return shown(mean["mean"], unit) + reach + "*" * (arm in measure["caveats"])


def _run(job: Job, measured: Measured) -> RunResult:
    return RunResult(job.seed, measured.values, measured.reasons, measured.units, curve(job))


def _facts(plan: Plan, notes: list[str]) -> dict[str, Any]:
    """Return everything of the report that is not a result."""
    section = plan.comparison.settings.compare
    read = [record for job in plan.jobs if job.is_finished and (record := read_record(job.out)) is not None]
    return {
        "format": 1,
        "title": plan.comparison.title,
        "question": section.question,
        "budget": {
            "kind": section.budget,
            "amount": section.amount,
            "text": f"{shown(section.amount, '')} {'FLOPs' if section.budget == 'flops' else section.budget}",
        },
        "seeds": list(section.seeds),
        "data": plan.data.name,
        "shared": shared_settings(plan.comparison),
        "precisions": (precisions := list(dict.fromkeys(str(record["precision"]) for record in read))),
        "missing": [f"{job.arm.label}, seed {job.seed}" for job in plan.unfinished],
        "machines": list(dict.fromkeys(str(record["machine"]) for record in read)),
        "versions": {
            "clozelm": __version__,
            "torch": "/".join(dict.fromkeys(str(record["torch"]) for record in read)) or "none",
            "python": platform.python_version(),
        },
        "measured_with": plan.comparison.settings.measure.model_dump(mode="json"),
        "notes": [*notes, *_notes(plan), *_measured_with(plan), *_mixed(precisions)],
    }


def _notes(plan: Plan) -> list[str]:
    """Say what must be kept in mind when arms are set side by side."""
    arms, section = plan.comparison.arms, plan.comparison.settings.compare
    rate = plan.comparison.settings.measure.rate
    said = [
        f"Masked loss and accuracy are those of the same held-out pieces for every arm, {rate:.0%} of all, drawn "
        f"at random in rows of {plan.comparison.row_length}: 80% of them masked, 10% replaced and 10% left as they "
        "are, which favours arms trained so; a loss per piece compares within one tokenizer only.",
        "Bits per byte and words right are those of whole words, all of whose pieces are masked.",
        "Terms of an objective's own are in its own units and not compared across arms.",
        "Significance is judged at 5% by t-tests paired by seed, with Holm's correction for the number of arms; "
        "measures are not corrected for each other.",
    ]
    if len(section.seeds) == 1:
        said.append("One seed alone: there are no intervals, and no difference can be called significant.")
    elif len(section.seeds) < 5:
        said.append(f"{len(section.seeds)} seeds: intervals are wide, and only large differences can be told.")
    if len({arm.store for arm in arms}) > 1:
        own = ", ".join(arm.label for arm in arms if arm.store is not None)
        said.append(f"Trained on other tokens: {own}. They may hold text that all arms are measured on.")
    said += _equal_budgets(arms, section.budget)
    return [*said, *plan.warnings]


def _measured_with(plan: Plan) -> Iterator[str]:
    """Say on what the measures were taken that a recipe leaves to the command line."""
    given = plan.comparison.settings.measure
    epochs = f"{given.finetune_epochs:g} epoch{'s' * (given.finetune_epochs != 1)}"
    if given.pairs:
        most = "" if given.pairs_limit is None else f", at most {given.pairs_limit:,} of each"
        yield f"Minimal pairs: {', '.join(given.pairs)}{most}."
    if given.probe is not None:
        tuned = f"; fine-tuned for {epochs}" if given.finetune else ""
        yield f"Labels: learned from {given.probe}, judged on {given.probe_dev}{tuned}."
    if given.entities is not None:
        yield f"Entities: learned from {given.entities} in {epochs}, judged on {given.entities_dev}."


def _mixed(precisions: Sequence[str]) -> Iterator[str]:
    """Say in what arithmetic runs were computed, and warn where it was not the same."""
    if len(precisions) == 1:
        yield f"Trained in {precisions[0]}."
    elif precisions:
        yield (
            f"Trained in {' and '.join(precisions)}, not all runs alike: times do not compare, and small "
            "differences may be those of rounding. Set base.run.precision."
        )


def _equal_budgets(arms: tuple[Arm, ...], budget: str) -> list[str]:
    said = {
        "tokens": "Equal tokens are not equal compute: arms differ in FLOPs and time.",
        "steps": "Equal steps are equal tokens only where steps are equally large, and not equal compute.",
        "flops": "FLOPs are those that objectives must do; the machine does not do all equally fast: time differs.",
        "minutes": "Minutes are of optimiser updates on this machine; another, or a busy one, gives other numbers.",
    }
    lines = [said[budget]]
    masking = [arm.settings.masking for arm in arms]
    if len({(each.rate, each.rate_end, each.schedule) for each in masking}) > 1:
        lines.append("All arms are measured at one masking rate, which only some of them were trained at.")
    return lines
