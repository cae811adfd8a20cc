"""The main job end to end on text that ships with the package, in minutes, for a person to watch."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from clozelm.data.prepare import HELD_OUT, PrepareSettings, prepare, training_documents
from clozelm.data.store import is_store
from clozelm.families import FAMILIES
from clozelm.flows.cloze_sentences import FIRST, ask, read_sentences, share_found
from clozelm.flows.model import Model, load
from clozelm.flows.progress import show_answers, show_run
from clozelm.flows.training import draw_curve, recipe
from clozelm.samples import ABSTRACTS
from clozelm.shipped import STARTER
from clozelm.text.readers import documents
from clozelm.text.tokenizer import Tokenizer, is_tokenizer
from clozelm.text.train_tokenizer import train as train_tokenizer
from clozelm.train.run import Run
from clozelm.train.words import evaluate_words

PROBES = (
    "Machine learning is a [MASK] technology.",
    "Deep neural [MASK] have achieved great success.",
    "Our method outperforms the state of the [MASK].",
    "We propose a novel [MASK] for machine translation.",
    "Experiments on three benchmark [MASK] show the effectiveness of our approach.",
)
COMPARED = (*PROBES[:3], "She opened the [MASK] and went in.", "The river flows into the Atlantic [MASK].")
VOCAB_SIZE = 8192
_PREPARE = PrepareSettings(field="title,text", hold_out=0.05)


@dataclass
class Clock:
    """Seconds spent, by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def spent_on(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


def demo(out: Path, *, minutes: float = 3.0, overrides: tuple[str, ...] = ()) -> None:
    """Train a tokenizer and a small encoder on the shipped abstracts, evaluate it, and fill sentences.

    ``minutes`` counts optimiser steps only. What an earlier call with the same settings left in ``out`` is
    used again; an unfinished run is resumed.
    """
    console, clock = Console(highlight=False), Clock()
    settings = recipe("demo", f"budget.minutes={minutes}", *overrides)
    with clock.spent_on("tokenizer"):
        tokenizer = _tokenizer(out / "tokenizer", console)
    with clock.spent_on("tokens"):
        _store(out / "tokens", tokenizer, console)
    with clock.spent_on("set-up of the run"):
        run = Run.open(settings, data=out / "tokens", out=out / "run")
    _introduce(run, console)
    begin = run.elapsed_seconds
    with clock.spent_on("training, with progress"):
        show_run(run, probes=PROBES[:3], console=console)
    clock.seconds["  of that optimiser steps"] = run.elapsed_seconds - begin
    if run.step < run.num_steps:
        console.print(f"Stopped at step {run.step:,} of {run.num_steps:,}; the same command goes on from there.")
        return
    with clock.spent_on("evaluation"):
        _measure(run, out / "tokens", console)
    console.print("\nWhat it answers now:", style="bold")
    show_answers(run, PROBES, console, top=5)
    with clock.spent_on("the starter beside it"):
        _beside_starter(run, console)
    curve = draw_curve(run, "clozelm demo: ACL abstracts")
    _close(run, curve, clock, console)


def _tokenizer(path: Path, console: Console) -> Tokenizer:
    if path.is_dir() and is_tokenizer(path):
        return Tokenizer.load(path)
    console.print(f"Training a WordPiece tokenizer of {VOCAB_SIZE:,} pieces on the abstracts ...")
    learned = training_documents([ABSTRACTS], _PREPARE)
    tokenizer, report = train_tokenizer(learned, kind="wordpiece", vocab_size=VOCAB_SIZE)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(path)
    console.print(f"  {report.fertility:.2f} pieces a word, {report.unknown_rate:.3%} unknown")
    return tokenizer


def _store(path: Path, tokenizer: Tokenizer, console: Console) -> None:
    if path.is_dir() and is_store(path):
        return
    manifest = prepare([ABSTRACTS], tokenizer, path, _PREPARE)
    held = manifest["held_out"]
    console.print(
        f"Prepared {manifest['num_tokens']:,} tokens of {manifest['num_documents']:,} abstracts; "
        f"{held['num_documents']:,} more ({held['num_tokens']:,} tokens) are held out."
    )


def _introduce(run: Run, console: Console) -> None:
    config = run.config
    millions = sum(parameter.numel() for parameter in run.model.parameters()) / 1e6
    console.print(
        f"Training {run.settings.model.family}, {config.num_layers} layers x {config.hidden_size}, "
        f"{millions:.1f}M parameters, {run.num_steps:,} steps of {run.settings.data.tokens_per_step:,} tokens, in "
        f"{run.precision} ({run.matrix_rate / 1e9:,.0f} GFLOP/s of matrix products on this machine).\n"
        f"A model that knows only how frequent each piece is has a loss of {run.unigram_nats:.2f} nats."
    )


def _measure(run: Run, tokens: Path, console: Console) -> None:
    pieces = run.evaluate(whole=True)
    held = documents([tokens / f"{HELD_OUT}.jsonl"])
    words = evaluate_words(run.model, run.tokenizer, (document.text for document in held))
    table = Table(box=None, show_header=False, pad_edge=False, title="Held-out abstracts", title_justify="left")
    low, high = pieces.interval
    table.add_row("loss", f"{pieces.loss:.3f} nats", f"95% interval {low:.3f} to {high:.3f}")
    table.add_row("unigram", f"{pieces.unigram:.3f} nats", "frequencies of the training text, no context")
    table.add_row("accuracy", f"{pieces.accuracy:.1%}", f"of {pieces.predictions:,} hidden pieces")
    table.add_row("bits per byte", f"{words.bits_per_byte:.3f}", f"of {words.words:,} hidden words")
    console.print()
    console.print(table)


def _beside_starter(run: Run, console: Console) -> None:
    """Ask the model and the one that ships with the package the same sentences."""
    models = {
        "these minutes": Model(run.model, run.tokenizer, FAMILIES[run.settings.model.family]),
        STARTER: load(STARTER),
    }
    table = Table("", *models, box=None, pad_edge=False, title_justify="left")
    table.title = "The same sentences, asked of the starter too, which learned general English for longer"
    answers = [model.fill(list(COMPARED), top=3) for model in models.values()]
    for number, sentence in enumerate(COMPARED):
        cells = [" ".join(one.token for one in answer[number][0]) for answer in answers]
        table.add_row(sentence.replace("[MASK]", "____"), *cells)
    asked = [ask(model, read_sentences()) for model in models.values()]
    for kind in ("technical", "everyday"):
        found = ["{} of {}".format(*share_found(one, kind)) for one in asked]
        table.add_row(f"{kind} sentences with the expected word in the first {FIRST}", *found)
    console.print()
    console.print(table)


def _close(run: Run, curve: Path, clock: Clock, console: Console) -> None:
    console.print("\nTime", style="bold")
    for name, seconds in clock.seconds.items():
        console.print(f"  {name:<26}{seconds:7.1f} s")
    cloze = "cloze" if shutil.which("cloze") else os.path.relpath(Path(sys.executable).parent / "cloze")
    model, held = run.out / "model", run.out.parent / "tokens" / f"{HELD_OUT}.jsonl"
    console.print(
        f"\nModel       {model}   (transformers.AutoModelForMaskedLM opens it)\nLoss curve  {curve}\n\nNext:\n"
        f'  {cloze} fill {model} "We train a [MASK] model on large corpora."\n'
        f'  {cloze} explain "She put the key in the lock and opened the [MASK]."\n'
        f"  {cloze} evaluate {model} {held}\n"
        f"  {cloze} settings pretrain masking",
        soft_wrap=True,
    )
