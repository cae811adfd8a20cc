"""`cloze compare`: train several arms under an equal budget with several seeds, and report how they differ."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    recipe: Annotated[str, typer.Argument(help="Comparison: a TOML file, or the name of a shipped one.")],
    data: Annotated[Path, typer.Option(help="Token store made by `cloze prepare`.")],
    out: Annotated[Path, typer.Option(help="Directory of the comparison; one of the same settings is resumed.")],
    heldout: Annotated[
        Path | None, typer.Option(help="Token store to measure on; DATA/held_out where there is one.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="compare.key=value, measure.key=value, base.section.key=value or arms.NAME...."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Train this arm alone; repeatable.")] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Train nothing; measure and report what is finished.")
    ] = False,
    pairs: Annotated[
        list[str] | None, typer.Option(help="File of minimal pairs (BLiMP) to judge on; repeatable.")
    ] = None,
    probe: Annotated[
        str | None, typer.Option(help="Labelled texts (.csv, .tsv, .jsonl) for a linear probe to learn from.")
    ] = None,
    probe_dev: Annotated[str | None, typer.Option(help="Labelled texts to judge the probe on.")] = None,
    probe_text: Annotated[str | None, typer.Option(help="Field of the text in both.")] = None,
    probe_label: Annotated[str | None, typer.Option(help="Field of the label in both.")] = None,
    finetune: Annotated[bool | None, typer.Option("--finetune", help="Fine-tune on the probe's texts too.")] = None,
    entities: Annotated[
        str | None, typer.Option(help="Sentences with tags (CoNLL) to fine-tune for named entities.")
    ] = None,
    entities_dev: Annotated[str | None, typer.Option(help="Sentences with tags to judge entities on.")] = None,
) -> None:
    """Train the arms of RECIPE on DATA with every seed, measure them alike and leave a report in OUT."""
    from rich.console import Console

    from clozelm.flows.compare import begin, train_arms
    from clozelm.flows.compare_report import PAGE, report, show
    from clozelm.flows.compare_settings import check_arms, load_comparison
    from clozelm.flows.measures import check_measures

    console = Console(highlight=False, markup=False)
    measures: dict[str, object] = {
        "probe": probe,
        "probe_dev": probe_dev,
        "probe_text": probe_text,
        "probe_label": probe_label,
    }
    measures |= {"finetune": finetune, "entities": entities, "entities_dev": entities_dev}
    given = {name: value for name, value in measures.items() if value is not None}
    comparison = load_comparison(recipe, set_ or [], measure=given | ({"pairs": pairs} if pairs else {}))
    check_arms(only or [], comparison)
    check_measures(comparison.settings.measure)
    plan = begin(comparison, data=data, out=out, heldout=heldout)
    for warning in plan.warnings:
        console.print(warning, style="yellow", soft_wrap=True)
    if not report_only and not train_arms(plan, only=only or [], console=console):
        console.print(
            f"Stopped with {len(plan.unfinished)} of {len(plan.jobs)} runs to go; the same command goes on."
        )
        return
    show(report(plan, console=console), console)
    console.print(f"\nReport: {out / PAGE}", soft_wrap=True)
