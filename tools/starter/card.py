"""The model card of the starter: of what text it is made and how, how good it is, what it is not."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clozelm.errors import DataError
from clozelm.train.run import Run
from tools.starter.corpus import Recipe
from tools.starter.measure import EXPECTED

WATTS = 20.0
"""Of two cores of a server's processor under full load, its share of memory and cooling included: an assumption."""
_ROWS = 20


Part = dict[str, Any]
"""What is known of one part of the training: its recipe, its facts, and its curve."""


def part(run: Run, name: str) -> Part:
    """Return what is known of a finished run."""
    return {"recipe": name, **facts(run), "curve": list(history(run.out / "journal.jsonl"))}


def earlier_parts(directory: Path) -> list[Part]:
    """Return the parts by which a packaged model was made, as its figures have them."""
    path = directory / "measured.json"
    try:
        parts: list[Part] = json.loads(path.read_text(encoding="utf-8"))["parts"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} does not say how the first part was made ({error!r}).") from None
    return parts


def write_card(
    directory: Path, files: Recipe, run: Run, parts: list[Part], leaks: dict[str, Any], figures: dict[str, Any]
) -> None:
    """Write README.md and, for programs, measured.json; ``run`` is the last of the ``parts``."""
    making = parts[-1]
    curve = joined(parts)
    measured = {"parts": parts, "leaks": leaks, "figures": figures}
    (directory / "measured.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    sections = (
        _HEAD.format(layers=run.config.num_layers, width=run.config.hidden_size, parameters=making["parameters"]),
        _text(files, leaks, making),
        _good(figures),
        _made(parts),
        _curve(curve),
        _TAIL,
    )
    (directory / "README.md").write_text("\n".join(sections), encoding="utf-8")


def joined(parts: list[Part]) -> list[dict[str, float]]:
    """Return the curves of all parts as one, with what was spent from the beginning."""
    before = {"tokens": 0.0, "minutes": 0.0, "petaflops": 0.0}
    rows = []
    for one in parts:
        rows += [{**row, **{name: row[name] + spent for name, spent in before.items()}} for row in one["curve"]]
        spent = {"tokens": one["tokens"], "minutes": 60 * one["hours"], "petaflops": one["petaflops"]}
        before = {name: before[name] + spent[name] for name in before}
    return rows


def facts(run: Run) -> dict[str, Any]:
    """Return what is known of a finished run, energy as an estimate."""
    record = json.loads((run.out / "run.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (run.out / "journal.jsonl").read_text("utf-8").splitlines()]
    hours = run.elapsed_seconds / 3600
    return {
        "parameters": record["parameters"],
        "machine": record["machine"],
        "torch": record["torch"],
        "precision": record["precision"],
        "data": record["data"],
        "tokenizer": record["tokenizer"],
        "seed": run.settings.run.seed,
        "unit": run.settings.data.unit,
        "step": run.settings.data.tokens_per_step,
        "steps": run.num_steps,
        "tokens": run.tokens_seen,
        "words": round(run.tokens_seen / _fertility(run)),
        "epochs": run.tokens_seen / run.store.num_tokens,
        "petaflops": sum(row.get("flops", 0.0) for row in rows) / 1e15,
        "hours": hours,
        "kilowatt hours": hours * WATTS / 1000,
    }


def _fertility(run: Run) -> float:
    """Return pieces a word of the training text, from its first million pieces."""
    from clozelm.vocab import WORD_START

    flags = run.store.flags(0, min(run.store.num_tokens, 1_000_000))
    return len(flags) / max(1, int(((flags & WORD_START) != 0).sum()))


def history(journal: Path) -> Iterator[dict[str, float]]:
    """Yield held-out figures with what was spent until then: tokens, minutes, FLOPs."""
    flops = 0.0
    for line in journal.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        flops += row.get("flops", 0.0)
        if row.get("heldout_loss") is not None:
            yield {
                "tokens": row["tokens_seen"],
                "minutes": row["elapsed_seconds"] / 60,
                "petaflops": flops / 1e15,
                "loss": row["heldout_loss"],
                "right": row["heldout_accuracy"],
            }


def _text(files: Recipe, leaks: dict[str, Any], making: dict[str, Any]) -> str:
    rows = "\n".join(f"| {one.source} | {one.licence} | {one.times} | `{one.file}` |" for one in files.train)
    held = ", ".join(one.source for one in files.held_out)
    found = len(leaks["sentences"])
    return f"""## What it was trained on

| text | licence | read | file |
|---|---|--:|---|
{rows}

Lower case. Hash of the tokens {making["data"]}, of the tokenizer {making["tokenizer"]}; hashes of the files are in
the recipe. Held out: {held}. The public example ("Machine learning is a ... technology")
and close variants occur {leaks["examples"]} times in the training text; of the {leaks["of"]} sentences below, with
the expected word, {found} do{_listed(leaks)}.
"""


def _listed(leaks: dict[str, Any]) -> str:
    return f" ({'; '.join(leaks['sentences'])})" if leaks["sentences"] else ""


def _good(figures: dict[str, Any]) -> str:
    held, sentences = figures["held out"], figures["sentences"]
    low, high = held["interval"]
    counts = {kind: (one["found"], one["of"]) for kind, one in sentences.items()}
    found, of = (sum(each) for each in zip(*counts.values(), strict=True))
    rows = [
        ("bits per byte of hidden words, held out", f"{held['bits per byte']:.3f} ({low:.3f} to {high:.3f})"),
        ("loss, nats a piece (frequencies alone)", f"{held['nats']:.3f} ({held['unigram nats']:.2f})"),
        ("hidden pieces right", f"{held['pieces right']:.1%}"),
        (
            "of 100 sentences, expected word in the first five",
            f"{found} of {of} ({', '.join(f'{kind} {one[0]}' for kind, one in counts.items())})",
        ),
    ]
    if "minimal pairs" in figures:
        pairs = figures["minimal pairs"]
        low, high = pairs["interval"]
        rows.append(
            (
                f"BLiMP, {pairs['pairs']:,} pairs of {pairs['groups']} paradigms, within-word, ties one half",
                f"{pairs['mean of groups']:.1%} ({low:.1%} to {high:.1%})",
            )
        )
    for text, one in figures["example"].items():
        rows.append((f'"{text}": rank of "{EXPECTED}"', f"{one['rank']:,}"))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""## How good it is

| measured on what it never saw | |
|---|---|
{table}

Intervals are 95%. `measured.json` has every figure, paradigm by paradigm, and the sentences it misses.
"""


def _made(parts: Sequence[Part]) -> str:
    rows = "\n".join(_row(one) for one in parts)
    return f"""## How it was made

`make starter CORPUS=DIR` (recipes `starter` and `starter-sentences`, files in `tools/starter/corpus.toml`), from
raw text to this directory. The second part goes on with the first part's weights, on the same text sentence by
sentence: a model that has read whole rows of documents expects a word of a sentence to come again in it, as
words do in an article.

| part | steps, tokens each | tokens | petaFLOP | hours of updates | precision, PyTorch, seed | energy |
|---|---|---|--:|---|---|--:|
{rows}

Energy: if two cores with their memory and cooling take {WATTS:.0f} W. Stored in half precision. The
tokenizer was learned from the same files; learned again it differs in about one piece of a hundred, for its
learner is not reproducible to the last piece.
"""


def _row(one: Part) -> str:
    cells = (
        f"`{one['recipe']}`, {one['unit']}s",
        f"{one['steps']:,} of {one['step']:,}",
        f"{one['tokens']:,}, about {one['words'] / 1e6:.0f}M words, {one['epochs']:.2f} epochs",
        f"{one['petaflops']:,.2g}",
        f"{one['hours']:.1f} on {one['machine']}",
        f"{one['precision']}, {one['torch']}, {one['seed']}",
        f"{one['kilowatt hours']:.2f} kWh",
    )
    return f"| {' | '.join(cells)} |"


def _curve(curve: Sequence[dict[str, float]]) -> str:
    every = max(1, len(curve) // _ROWS)
    shown = [row for number, row in enumerate(curve) if number % every == 0 or number == len(curve) - 1]
    rows = "\n".join(
        f"| {row['tokens'] / 1e6:.1f}M | {row['petaflops']:.2g} | {row['minutes']:.0f} | {row['loss']:.3f} | "
        f"{row['right']:.1%} |"
        for row in shown
    )
    return f"""## Quality against compute

On the first held-out tokens, while it learned:

| tokens | petaFLOP | minutes | loss, nats | pieces right |
|--:|--:|--:|--:|--:|
{rows}

![Loss against tokens](loss.png)
"""


_HEAD = """---
license: cc-by-sa-3.0
language: en
pipeline_tag: fill-mask
library_name: transformers
---

# clozelm starter

A small English masked language model: ModernBERT's architecture, {layers} layers x {width}, {parameters:,}
parameters, made from nothing on two processor cores. It ships with clozelm, so that `cloze fill` answers at once
and offline.

```sh
cloze fill "She put the key in the lock and opened the [MASK]."
```

`transformers.AutoModelForMaskedLM.from_pretrained` opens this directory as well.
"""

_TAIL = """## What it is not

It has read encyclopaedia articles, old books and abstracts about language technology: no web, no news, little of
the everyday speech of today. It knows few facts, repeats the prejudices of its texts (old books above all), and
must not decide anything about people. It is for learning, testing and as a start for fine-tuning.
"""
