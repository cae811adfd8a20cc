"""`cloze generate`: text written by a masked language model, mask by mask."""

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clozelm.cli.default_model import MODEL_HELP, one_text, split_model

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from clozelm.infer.generate import Generated, Step

TEXT_HELP = "Then a text with a [MASK] for every piece wanted, or one to go on after."
EXAMPLE = "The [MASK] was [MASK] by the king."


def generate(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL TEXT", help=f"{MODEL_HELP} {TEXT_HELP}")
    ] = None,
    text: Annotated[str | None, typer.Option(help="The same text, as an option.")] = None,
    length: Annotated[int | None, typer.Option(help="Pieces to write, after the text where there is one.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps; by default one a piece.")] = None,
    order: Annotated[
        Literal["confident", "random"] | None,
        typer.Option(help="Which predictions a step keeps: the most probable, which is the default, or any."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the best piece; more is more varied.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from the k best pieces only.")] = None,
    samples: Annotated[int, typer.Option(help="How many texts.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    show: Annotated[bool, typer.Option("--show", help="Show the page after every step.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per sample.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Write text with MODEL, from a page of masks that is filled over several steps.

    Any masked language model will do; best is one trained with objective.name=diffusion, which knows pages with
    many masks.
    """
    from clozelm.flows.generating import notice
    from clozelm.flows.model import load

    name, texts = split_model(arguments, "sentences", may_be_word=text is None and length is None)
    if text is not None or texts:
        text = one_text([*texts, *([] if text is None else [text])], EXAMPLE)
    model = load(name, device=device)
    written = model.generate(
        text,
        length=length,
        steps=steps,
        order=order,
        temperature=temperature,
        top_k=top_k,
        samples=samples,
        seed=seed,
    )
    if said := notice(name, model.masked_lm.reading.context, written[0], example=EXAMPLE):
        typer.echo(f"notice: {said}", err=True)
    for number, generated in enumerate(written):
        if as_json:
            typer.echo(json.dumps(to_json(generated), ensure_ascii=False))
        else:
            _show(generated, number if samples > 1 else None, with_steps=show)


def to_json(generated: "Generated") -> dict[str, object]:
    """Return a text and its steps as plain data."""
    steps = [
        {"text": step.text, "ids": step.ids, "filled": step.filled, "confidences": step.confidences}
        for step in generated.steps
    ]
    return {"text": generated.text, "steps": steps}


def _show(generated: "Generated", number: int | None, *, with_steps: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    if number is not None:
        console.print(Text(f"sample {number + 1}", style="dim"))
    if with_steps:
        _show_steps(generated.steps, console)
    console.print(Text(generated.text, style="bold" if with_steps else ""), soft_wrap=True)
    if number is not None or with_steps:
        console.print()


def _show_steps(steps: "list[Step]", console: "Console") -> None:
    from rich.text import Text

    if not console.is_terminal:
        console.print("⟦word⟧ filled in this step   __ still masked\n")
    for number, step in enumerate(steps, start=1):
        mean = sum(step.confidences) / len(step.confidences)
        console.print(Text(f"step {number} of {len(steps)}, mean confidence {mean:.0%}", style="dim"))
        console.print(_page(step, console.is_terminal), end="\n\n")


def _page(step: "Step", is_coloured: bool) -> "Text":
    """Return a page with its masks as bars and what is new in colour, or in brackets where there is none."""
    from rich.text import Text

    page = Text()
    for part in step.parts:
        bare = part.text.lstrip()
        page.append(part.text[: len(part.text) - len(bare)])
        if part.state == "masked":
            page.append("__", style="dim")
        elif part.state == "new":
            page.append(bare if is_coloured else f"⟦{bare}⟧", style="bold black on green")
        else:
            page.append(bare, style="" if part.state == "filled" else "bold")
    return page
