"""`cloze minimal-pairs`: how often a model prefers the good sentence of a pair."""

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clozelm.cli.default_model import MODEL_HELP, split_model
from clozelm.cli.score import METHOD_HELP, PRECISION_HELP
from clozelm.errors import DataError

if TYPE_CHECKING:
    from clozelm.infer.minimal_pairs import Accuracy, PairsResult

FILE_HELP = "Then files, directories or globs of .jsonl, .csv or .tsv pairs."


def minimal_pairs(
    arguments: Annotated[list[str], typer.Argument(metavar="[MODEL] FILE", help=f"{MODEL_HELP} {FILE_HELP}")],
    good: Annotated[str | None, typer.Option(help="Column of good sentences: sentence_good or good.")] = None,
    bad: Annotated[str | None, typer.Option(help="Column of bad sentences: sentence_bad or bad.")] = None,
    group: Annotated[str | None, typer.Option(help="Column of groups: UID or group, else one a file.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most pairs of each file.", min=1)] = None,
    method: Annotated[str | None, typer.Option(help=METHOD_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help=PRECISION_HELP)] = "fp32",
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Report how often MODEL finds the good sentence of a minimal pair more probable, per group and in all."""
    from clozelm.flows.scoring import open_scorer
    from clozelm.infer.minimal_pairs import minimal_pairs as compare
    from clozelm.infer.precision import in_bf16
    from clozelm.text.pair_files import read_pairs

    model, file = split_model(arguments, "files")
    if not file:
        raise DataError(f"There are no pairs beside the model {model}: name files, directories or globs.")
    pairs = list(read_pairs(file, good=good, bad=bad, group=group, limit=limit))
    scorer = open_scorer(model, method=method, device=device)
    if precision == "bf16":
        _, said = in_bf16(scorer, (sentence for pair in pairs for sentence in (pair.good, pair.bad)))
        typer.echo(f"precision: {said}", err=True)
    result = compare(scorer.model, scorer.tokenizer, pairs, method=scorer.method)
    if as_json:
        typer.echo(json.dumps(to_json(result), ensure_ascii=False))
    else:
        _show(result)


def to_json(result: "PairsResult") -> dict[str, object]:
    """Return the figures as plain data."""
    return {
        "method": result.method,
        "mean": {"accuracy": result.mean, "interval": list(result.mean_interval)},
        "pooled": _figures(result.pooled),
        "groups": {name: _figures(one) for name, one in result.groups.items()},
    }


def _figures(one: "Accuracy") -> dict[str, object]:
    return {
        "accuracy": one.accuracy,
        "interval": list(one.interval),
        "pairs": one.pairs,
        "wins": one.wins,
        "ties": one.ties,
    }


def _show(result: "PairsResult") -> None:
    """Print a line per group, then the mean over groups and all pairs together."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("group")
    for name in ("accuracy", "95% interval", "pairs", "ties"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in result.groups.items():
        table.add_row(Text(name), f"{one.accuracy:.1%}", _span(one.interval), f"{one.pairs:,}", f"{one.ties:,}")
    if len(result.groups) > 1:
        total = f"{result.pooled.pairs:,}", f"{result.pooled.ties:,}"
        table.add_row("mean of groups", f"{result.mean:.1%}", _span(result.mean_interval), *total)
        table.add_row("all pairs", f"{result.pooled.accuracy:.1%}", _span(result.pooled.interval), *total)
    Console(highlight=False).print(table)


def _span(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{low:.1%} to {high:.1%}"
