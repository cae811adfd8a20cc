"""`cloze doctor`: the checks an expert makes of a run, a token store or a model."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from clozelm.flows.doctor_finding import Diagnosis, Finding

_SIGNS = {"error": ("✖", "bold red"), "warning": ("▲", "bold yellow"), "note": ("·", "bold cyan")}


class Level(StrEnum):
    """The severity from which on a finding makes the command fail."""

    note = "note"
    warning = "warning"
    error = "error"


def doctor(
    path: Annotated[Path, typer.Argument(help="A run, a token store, or a model directory.")],
    data: Annotated[Path | None, typer.Option(help="Token store that the run or model was trained on.")] = None,
    row_length: Annotated[
        int | None, typer.Option(min=16, help="Of a token store: tokens in a packed row; 128 unless given.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of a run: what an hour of the machine costs.")] = None,
    fail_on: Annotated[Level, typer.Option(help="Exit with 1 from this severity on.")] = Level.error,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Examine a run, a token store or a model: what is wrong with it, why that matters and what to do."""
    from clozelm.flows.doctor import examine
    from clozelm.flows.doctor_finding import SEVERITIES

    found = examine(path, data=data, row_length=row_length, price=price)
    if as_json:
        typer.echo(json.dumps(found.plain(), ensure_ascii=False, allow_nan=False))
    else:
        _show(found)
    worst = found.worst()
    if worst is not None and SEVERITIES.index(worst) >= SEVERITIES.index(fail_on.value):
        raise typer.Exit(1)


def _show(found: "Diagnosis") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    console.print(Text(f"{found.path}: {' and '.join(found.kinds)}", style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in found.facts.items():
        table.add_row(name, value)
    console.print(table)
    for finding in found.sorted():
        _show_finding(console, finding)
    _show_rest(console, found)


def _show_finding(console: "Console", finding: "Finding") -> None:
    from rich.padding import Padding
    from rich.text import Text

    sign, style = _SIGNS[finding.severity]
    console.print()
    console.print(Text.assemble((f"{sign} {finding.severity}", style), (f"  {finding.check}", "dim")))
    for label, text, how in (("", finding.what, "bold"), ("why  ", finding.why, ""), ("do   ", finding.do, "")):
        console.print(Padding(Text.assemble((label, "dim"), (text, how)), (0, 0, 0, 2)))


def _show_rest(console: "Console", found: "Diagnosis") -> None:
    from rich.text import Text

    console.print()
    said = {level: sum(one.severity == level for one in found.findings) for level in ("error", "warning", "note")}
    counts = ", ".join(f"{number} {level}{'s' * (number > 1)}" for level, number in said.items() if number)
    console.print(Text(f"{counts or 'Nothing found'}; {len(found.passed)} checks passed.", style="bold"))
    if found.passed:
        console.print(Text(f"passed: {', '.join(found.passed)}", style="dim"))
    reasons: dict[str, list[str]] = {}
    for name, reason in found.not_checked.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        console.print(Text(f"not checked: {', '.join(names)} ({reason})", style="dim"))
