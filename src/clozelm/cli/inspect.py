"""`cloze inspect`: what a model directory holds."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

_MOST_LABELS = 20


def inspect(
    model: Annotated[Path, typer.Argument(help="A run, or a Hugging Face model directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show family, sizes, parameters and tokenizer of MODEL, and what of its file would not be used."""
    from clozelm.hub.inspect import inspect as look

    facts = look(model)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        _show(facts)


def _show(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(facts).items():
        table.add_row(name, value)
    Console(highlight=False, markup=False).print(table)


def _rows(facts: dict[str, Any]) -> dict[str, str]:
    parameters, tokenizer = facts["parameters"], facts["tokenizer"]
    narrow = f", embeddings {facts['embedding_size']:,}" if facts["embedding_size"] != facts["hidden_size"] else ""
    rows = {
        "model": f"{facts['directory']}",
        "family": f"{facts['family']}, {facts['architecture']} ({facts['paper']})",
        "shape": f"{facts['layers']} layers x {facts['hidden_size']:,}{narrow}, {facts['heads']} heads, "
        f"perceptron {facts['intermediate_size']:,}",
        "longest text": f"{facts['longest_text']:,} tokens",
        "vocabulary": f"{facts['vocab_size']:,} pieces embedded",
        "parameters": f"{parameters['all']:,}: embeddings {parameters['embeddings']:,}, layers "
        f"{parameters['layers']:,}, head {parameters['head']:,}",
        "weights": f"{facts['bytes'] / 1e6:,.1f} MB in {', '.join(facts['precision'])}",
    }
    if "problem" in tokenizer:
        rows["tokenizer"] = tokenizer["problem"]
    else:
        special = " ".join(tokenizer["special"].values())
        rows["tokenizer"] = (
            f"{tokenizer['kind']}, {tokenizer['pieces']:,} pieces, hash {tokenizer['hash']}, {special}"
        )
    rows["not used"] = ", ".join(facts["dropped"]) or "nothing: every tensor of the file is used"
    if facts["task"]:
        rows["task"] = _task(facts["task"])
    rows["fills masks"] = "yes" if facts["opens"] else f"no: {facts['problem']}"
    return rows


def _task(task: dict[str, Any]) -> str:
    if not task["opens"]:
        return str(task["problem"])
    labels = task["labels"]
    rest = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
    return f"{task['answers']}: {', '.join(labels[:_MOST_LABELS])}{rest}"
