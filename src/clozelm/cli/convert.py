"""`cloze convert`: write a model anew, in today's names and file format."""

from pathlib import Path
from typing import Annotated

import typer


def convert(
    model: Annotated[Path, typer.Argument(help="A run, or a Hugging Face model directory.")],
    to: Annotated[Path, typer.Option(help="Directory to write, a new one.")],
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16; as it is by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the model that is there.")] = False,
) -> None:
    """Write MODEL as safetensors under today's names, with its tokenizer and a card; say what is dropped."""
    from clozelm.hub.convert import convert as run

    converted = run(model, to, dtype=dtype, force=force)
    if converted.dropped:
        typer.echo(f"not used, and left out: {', '.join(converted.dropped)}")
    typer.echo(f"{to}: {converted.family}, {converted.num_tensors} tensors in {converted.dtype}")
