"""`cloze fetch`: download a model directory."""

from pathlib import Path
from typing import Annotated

import typer


def fetch(
    name: Annotated[str, typer.Argument(help="A model on the Hugging Face Hub: NAME or OWNER/NAME.")],
    to: Annotated[Path, typer.Option(help="Directory to write.")],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
    endpoint: Annotated[
        str | None, typer.Option(help="Address of a mirror; HF_ENDPOINT or https://huggingface.co by default.")
    ] = None,
) -> None:
    """Download a model from the Hugging Face Hub: the only command that uses the network."""
    from clozelm.hub.fetch import fetch as run

    fetched = run(name, to, revision=revision, endpoint=endpoint)
    megabytes = sum(file.num_bytes for file in fetched.files) / 1e6
    typer.echo(f"{to}: {name} at commit {fetched.revision}, {len(fetched.files)} files, {megabytes:,.1f} MB")
    typer.echo(f"Try:   cloze inspect {to}")
