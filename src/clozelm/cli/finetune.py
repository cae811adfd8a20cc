"""`cloze finetune`: make a classifier or a tagger of a pretrained model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clozelm.cli.reading import (
    DelimiterOption,
    EncodingOption,
    HeaderOption,
    LabelOption,
    Problem,
    Quoting,
    QuotingOption,
    TagOption,
    TextOption,
    WordOption,
    fields,
    table,
)

if TYPE_CHECKING:
    from clozelm.flows.task_data import TaskData
    from clozelm.tasks.prompt import Prompt
    from clozelm.train.finetune_settings import FinetuneSettings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Make a classifier or a tagger of a pretrained model."
)

ModelArgument = Annotated[Path, typer.Argument(help="A run, or a Hugging Face model directory.")]
TextsArgument = Annotated[
    Path, typer.Argument(help="Texts with labels: csv, tsv, json, jsonl, parquet, or a directory of them.")
]
SentencesArgument = Annotated[
    Path, typer.Argument(help="Words with tags: CoNLL columns, jsonl, or a data set's directory.")
]
OutOption = Annotated[
    Path, typer.Option(help="Directory for model and report; one of the same settings is resumed.")
]
DevOption = Annotated[Path | None, typer.Option(help="Examples to judge on; else a tenth of TRAIN is held out.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value; see `cloze settings finetune`.")
]
EpochsOption = Annotated[
    float | None,
    typer.Option(
        help="Times that every example is seen; with --search the only value tried; 0 only measures a prompt."
    ),
]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Seed of head, order, dropout; the first of --seeds.")]
SeedsOption = Annotated[
    int | None, typer.Option(min=1, help="Train with as many seeds, report mean and interval, keep the best.")
]
SearchOption = Annotated[
    int | None, typer.Option(min=1, help="Try as many learning rates, epochs and batch sizes first; needs Optuna.")
]
FewOption = Annotated[
    int | None, typer.Option(min=1, help="Learn from so many examples of every class, drawn by the seed.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Read and show the examples, train nothing.")]


@dataclass(frozen=True)
class Job:
    """What is asked of every task: a model, a place, and how many runs."""

    model: Path
    out: Path
    seeds: int | None
    search: int | None
    dry_run: bool


@app.command("classify")
def classify(
    model: ModelArgument,
    train: TextsArgument,
    out: OutOption,
    dev: DevOption = None,
    text: TextOption = None,
    label: LabelOption = None,
    problem: Annotated[
        Problem, typer.Option(help="One label of several; any number of labels; a number to be met.")
    ] = Problem.single,
    separator: Annotated[str | None, typer.Option(help="What separates several labels in one field.")] = None,
    delimiter: DelimiterOption = None,
    quoting: QuotingOption = Quoting.auto,
    encoding: EncodingOption = None,
    header: HeaderOption = True,
    prompt: Annotated[
        str | None, typer.Option(help='Ask at a mask: "{text} It was [MASK]."; {a} and {b} for pairs.')
    ] = None,
    words: Annotated[
        str | None, typer.Option(help="Words at the mask for each label: negative=bad|awful,positive=great.")
    ] = None,
    few: FewOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    seeds: SeedsOption = None,
    search: SearchOption = None,
    set_: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Learn classes of texts or pairs from TRAIN, leaving a model, its figures and a page in OUT."""
    from clozelm.errors import SettingsError
    from clozelm.flows.task_data import ClassifyRequest, classify_data
    from clozelm.text.labelled import Wanted

    if separator is not None and problem is not Problem.multi:
        raise SettingsError(f"--separator has no use with --problem {problem}: several labels are --problem multi.")
    settings = _settings(epochs, seed, set_, is_searched=search is not None)
    request = ClassifyRequest(
        train=train,
        dev=dev,
        wanted=Wanted(text=fields(text), label=label, problem=problem.value, separator=separator),
        form=table(delimiter, quoting, encoding, header),
        class_weights=settings.loss.class_weights,
        seed=settings.run.seed,
        few=few,
        prompt=_prompt(prompt, words),
    )
    _run(settings, classify_data(request), Job(model, out, seeds, search, dry_run))


@app.command("tag")
def tag(
    model: ModelArgument,
    train: SentencesArgument,
    out: OutOption,
    dev: DevOption = None,
    word_column: WordOption = None,
    tag_column: TagOption = None,
    scheme: Annotated[str | None, typer.Option(help="BIO, IOB1, BIOES, BILOU or IO; else found out.")] = None,
    encoding: EncodingOption = None,
    few: FewOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    seeds: SeedsOption = None,
    search: SearchOption = None,
    set_: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Learn tags of words, such as named entities, from TRAIN, leaving a model, its figures and a page in OUT."""
    from clozelm.flows.task_data import TagRequest, checked_scheme, tag_data
    from clozelm.text.conll import TaggedForm

    settings = _settings(epochs, seed, set_, is_searched=search is not None)
    form = TaggedForm(word=word_column, tag=tag_column, encoding=encoding)
    request = TagRequest(train, dev, form, checked_scheme(scheme), settings.run.seed, few)
    _run(settings, tag_data(request), Job(model, out, seeds, search, dry_run))


@app.command("sentiment")
def sentiment(
    model: ModelArgument,
    train: TextsArgument,
    out: OutOption,
    dev: DevOption = None,
    text: TextOption = None,
    label: LabelOption = None,
    ways: Annotated[
        int | None, typer.Option(help="2 or 5: how labels are read where that is not clear of itself.")
    ] = None,
    delimiter: DelimiterOption = None,
    quoting: QuotingOption = Quoting.auto,
    encoding: EncodingOption = None,
    header: HeaderOption = True,
    few: FewOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    seeds: SeedsOption = None,
    search: SearchOption = None,
    set_: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Learn from TRAIN whether texts are negative or positive, in two ways or five."""
    from clozelm.flows.task_data import ClassifyRequest, sentiment_data
    from clozelm.flows.training import recipe_path
    from clozelm.text.labelled import Wanted
    from clozelm.text.sentiment import checked_ways

    recipe = recipe_path("sentiment", within="finetune")
    settings = _settings(epochs, seed, set_, is_searched=search is not None, recipe=recipe)
    request = ClassifyRequest(
        train=train,
        dev=dev,
        wanted=Wanted(text=fields(text), label=label),
        form=table(delimiter, quoting, encoding, header),
        class_weights=settings.loss.class_weights,
        seed=settings.run.seed,
        few=few,
    )
    data = sentiment_data(request, checked_ways(ways))
    _run(settings, data, Job(model, out, seeds, search, dry_run))


def _prompt(pattern: str | None, words: str | None) -> "Prompt | None":
    from clozelm.errors import SettingsError
    from clozelm.tasks.prompt import Prompt, parse_words

    if pattern is None or words is None:
        if pattern is not None or words is not None:
            given, missing = ("--words", "--prompt") if pattern is None else ("--prompt", "--words")
            raise SettingsError(f"{given} needs {missing}: a pattern with a mask, and a word for every label.")
        return None
    return Prompt(pattern, parse_words(words))


def _settings(
    epochs: float | None,
    seed: int | None,
    overrides: list[str] | None,
    *,
    is_searched: bool,
    recipe: Path | None = None,
) -> "FinetuneSettings":
    """Return the settings of a recipe under those given; a search tries the given number of epochs alone."""
    from clozelm.settings import load
    from clozelm.train.finetune_settings import FinetuneSettings, check_searched

    check_searched(overrides or [], is_searched=is_searched)
    short = {"budget.epochs": epochs, "run.seed": seed}
    given = [f"{name}={value}" for name, value in short.items() if value is not None]
    fixed = [f"search.epochs=[{epochs}]"] if is_searched and epochs is not None else []
    return load(FinetuneSettings, recipe, [*fixed, *(overrides or []), *given])


def _run(settings: "FinetuneSettings", data: "TaskData", job: Job) -> None:
    """Show what was read, train, and show how good the result is."""
    from rich.console import Console

    from clozelm.flows.finetune import MODEL, PAGE, tune
    from clozelm.flows.finetune_sweep import sweep
    from clozelm.flows.task_preview import show_data
    from clozelm.hub.load import model_directory, read_config
    from clozelm.report.finetune_table import lines
    from clozelm.text.atomic import check_writable

    console = Console(highlight=False, markup=False, emoji=False)
    read_config(model_directory(job.model))  # says in one line when there is no model
    check_writable(job.out)
    show_data(data, console)
    if job.dry_run:
        return
    model, out = job.model, job.out
    if job.seeds is None and job.search is None:
        results = tune(settings, model=model, data=data, out=out, console=console)
    else:
        seeds, trials = job.seeds or 1, job.search or 0
        results = sweep(settings, model=model, data=data, out=out, seeds=seeds, trials=trials, console=console)
    if results is None:
        console.print("Stopped; the same command goes on.")
        return
    for line in lines(results):
        console.print(line, soft_wrap=True)
    console.print(f"\nReport: {out / PAGE}\nModel:  {out / MODEL}", soft_wrap=True)
    console.print(f"Try:    cloze predict {out / MODEL} FILE", soft_wrap=True)
