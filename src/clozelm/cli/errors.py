"""`cloze errors`: where a model fails on text, and where another does."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clozelm.cli.default_model import MODEL_HELP, split_model
from clozelm.errors import DataError, SettingsError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

TEXT_HELP = "Then text, such as the held-out text of a token store."
_BAR = 10
_SHOWN = 5
_CONFUSIONS = 12


def errors(
    arguments: Annotated[list[str], typer.Argument(metavar="[MODEL] TEXT", help=f"{MODEL_HELP} {TEXT_HELP}")],
    against: Annotated[Path | None, typer.Option(help="A second model of the same tokenizer.")] = None,
    html: Annotated[Path | None, typer.Option(help="Page to write.")] = None,
    counts: Annotated[
        Path | None, typer.Option(help="Token store to count how frequent words are in; else TEXT.")
    ] = None,
    documents: Annotated[str, typer.Option(help="auto, line, block, record or file.")] = "auto",
    field: Annotated[str, typer.Option(help="Field of the text; several are joined.")] = "text",
    rate: Annotated[float, typer.Option(help="Share of tokens hidden.")] = 0.15,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the fixed masks.")] = 0,
    max_documents: Annotated[int | None, typer.Option(help="Most documents read.", min=1)] = None,
    row_length: Annotated[int, typer.Option(help="Tokens of context.", min=16)] = 128,
    show: Annotated[int, typer.Option(help="Mistakes and confusions listed in page and JSON.", min=0)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Show where MODEL fails on TEXT: by frequency, kind of word, place; confidence, mistakes, confusions."""
    from clozelm.data.prepare import PrepareSettings
    from clozelm.flows.errors import check_text, find_errors, save_page
    from clozelm.flows.model import load
    from clozelm.masking.rates import checked_rate
    from clozelm.settings import load as load_settings

    model, text = split_model(arguments, "files")
    if not text:
        raise DataError(f"There is no text beside the model {model}: name files, directories or globs.")
    checked_rate(rate, name="--rate")
    if html is not None and html.is_dir():
        raise SettingsError(f"--html {html} is a directory: name a file, such as {html / 'errors.html'}.")
    check_text(text)
    given = {"documents": documents, "field": field, "invalid_utf8": "refuse"}
    reading = load_settings(PrepareSettings, given).reading()
    report = find_errors(
        load(model, device=device),
        text,
        against=None if against is None else load(against, device=device),
        names=_names(model, against),
        reading=reading,
        counts=counts,
        rate=rate,
        seed=seed,
        max_documents=max_documents,
        row_length=row_length,
        show=show,
    )
    if html is not None:
        save_page(report, html)
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False, allow_nan=False))
        return
    _show(report)
    if html is not None:
        typer.echo(f"Page: {html}")


def _names(model: str, against: Path | None) -> list[str]:
    """Name models by the last parts of their paths, as many as tell them apart."""
    from clozelm.report.figures import model_name

    if against is None:
        return [model_name({"model": model})]
    names = [model_name({"model": path}) for path in (model, against)]
    return names if names[0] != names[1] else [str(model), str(against)]


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from clozelm.report.error_text import findings, headline, missing_intervals, notes

    console = Console(highlight=False, markup=False)
    console.print(Text(" ".join(headline(report)), style="bold"), end="\n\n")
    if report["all"]["difference"] is None:
        console.print(_table(report))
    else:
        console.print(_compared(report))
        console.print(Text("▲ better and ▼ worse, significant after Holm's correction.", style="dim"))
    if (missing := missing_intervals(report)) is not None:
        console.print(Text(missing, style="dim"))
    console.print()
    for line in findings(report):
        console.print(Padding(Text(line), (0, 0, 0, 2)))
    _show_examples(console, report)
    console.print()
    console.print(Text(notes(report)[0], style="dim"))


def _table(report: dict[str, Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from clozelm.report.error_text import percent, percent_interval

    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True, max_width=30, overflow="ellipsis")
    for name in ("share", "right", "95%", "loss", "freq."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    most = max(cell["models"][0]["accuracy"]["value"] for group in report["groups"] for cell in group["cells"])
    for group in report["groups"]:
        table.add_row(_title(group))
        for cell in group["cells"]:
            model = cell["models"][0]
            right = model["accuracy"]
            bar = Text("█" * round(_BAR * right["value"] / (most or 1.0)), style="rgb(42,111,151)")
            table.add_row(
                f"  {cell['name']}",
                percent(cell["share"]),
                percent(right["value"]),
                percent_interval(right, 0) if right["low"] is not None else "",
                f"{model['loss']['value']:.2f}",
                f"{cell['unigram']:.2f}",
                bar,
            )
    return table


def _compared(report: dict[str, Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from clozelm.report.error_text import is_significant, percent, signed

    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True, max_width=26, overflow="ellipsis")
    for name in ("share", *(f"right {letter}" for letter in "AB"), "loss A", "loss B", "B − A"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for letter, name in zip("AB", report["models"], strict=True):
        table.add_row(Text(f"{letter}: {name}", style="dim"))
    for group in report["groups"]:
        table.add_row(Text(group["title"], style="bold"))
        for cell in group["cells"]:
            one = cell["difference"]["loss"]
            sign = ("▲" if one["value"] < 0 else "▼") if is_significant(one) else ""
            table.add_row(
                f"  {cell['name']}",
                percent(cell["share"]),
                *(percent(model["accuracy"]["value"]) for model in cell["models"]),
                *(f"{model['loss']['value']:.2f}" for model in cell["models"]),
                signed(one["value"]),
                Text(sign, style="green" if sign == "▲" else "red"),
            )
    return table


def _title(group: dict[str, Any]) -> Any:
    from rich.text import Text

    return Text(group["title"] if not group["about"] else f"{group['title']} ({group['about']})", style="bold")


def _cut(text: str, most: int) -> str:
    """Return the whole words of the first ``most`` characters."""
    return text if len(text) <= most else text[: most + 1].rpartition(" ")[0] or text[:most]


def _show_examples(console: "Console", report: dict[str, Any]) -> None:
    from rich.text import Text

    from clozelm.report.error_text import percent

    mistakes = report["mistakes"][0][:_SHOWN]
    if mistakes:
        console.print(Text(f"\nMost confident mistakes of {report['models'][0]}", style="bold"))
        console.print(Text("[word] was hidden; ·word joins on to the piece before it.", style="dim"))
    for one in mistakes:
        said = one["answers"][0]
        line = Text(f"… {_cut(one['left'][::-1], 50)[::-1]} ")
        line.append(f"[{one['truth']}]", style="bold green")
        line.append(f" {_cut(one['right'], 40)} …\n    said ")
        line.append(said["answer"], style="bold red")
        line.append(f" {percent(said['confidence'])}, gave the truth {percent(said['truth'], 2)}")
        console.print(line)
    rows = report["confusions"][0][:_CONFUSIONS]
    if rows:
        console.print(Text("\nWhat is taken for what", style="bold"))
        console.print(Text(", ".join(f"{row['truth']} → {row['answer']} {row['count']:,}" for row in rows)))
