"""Few labels: a prompt beside ordinary fine-tuning, on the same few examples of every class, with the same seeds.

    python -m bench.few_labels MODEL train.jsonl dev.jsonl --prompt "{text} It was [MASK]." \\
        --words "negative=bad,positive=great" --few 16,64,256 --seeds 3 --out runs/few

A seed draws the examples (a smaller draw is part of a larger one), the head, the order and dropout, for both sides
alike. Both train for as many steps: at least `--steps`, and at least `--epochs` over their examples. Figures are of
the development set after the last step: nothing is chosen on it, no epoch and no learning rate.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from bench.tuned import epochs_for, tuned, tuning
from clozelm.flows.task_data import ClassifyRequest, TaskData, classify_data
from clozelm.hub.load import model_directory
from clozelm.report.learning_curves import learning_picture
from clozelm.report.statistics import mean_of, paired_difference
from clozelm.rng import generator
from clozelm.tasks.classify import Classify
from clozelm.tasks.prompt import Prompt, parse_words
from clozelm.text.few import draw_few
from clozelm.text.labelled import Wanted
from clozelm.train.tuning import Split

SIDES = ("fine-tuning", "prompt")
Found = dict[str, dict[int, list[float]]]


def main() -> None:
    options = parse_options()
    data = read(options)
    counts = [int(each) for each in options.few.split(",")]
    found: Found = {side: {few: [] for few in counts} for side in SIDES}
    before = zero_shot(options, data)
    print(f"zero-shot: {data.task.metric} {before:.4f}", flush=True)
    sizes = {}
    for few in counts:
        for seed in range(options.seeds):
            train, _ = draw_few(data.split.train, few, seed=seed)
            sizes[few] = len(train)
            for side in SIDES:
                value = one(options, data, side, train, seed)
                found[side][few].append(value)
                print(f"{side}, {few} of every class, seed {seed}: {value:.4f}", flush=True)
    report(found, before, data.task.metric)
    if options.out:
        write(options, found, before, sizes, data.task.metric)


def parse_options() -> argparse.Namespace:
    parse = argparse.ArgumentParser(description="prompts beside ordinary fine-tuning, with few labels")
    parse.add_argument("model", type=Path)
    parse.add_argument("train", type=Path)
    parse.add_argument("dev", type=Path)
    parse.add_argument("--prompt", required=True)
    parse.add_argument("--words", required=True)
    parse.add_argument("--text", help="field of the text; two, with a comma, for pairs")
    parse.add_argument("--label", help="field of the label")
    parse.add_argument("--few", default="16,64,256", help="examples of every class")
    parse.add_argument("--seeds", type=int, default=3)
    parse.add_argument("--steps", type=int, default=200, help="fewest steps (Gao et al. 2021: 1000)")
    parse.add_argument("--epochs", type=float, default=5, help="fewest times that every example is seen")
    parse.add_argument("--batch-size", type=int, default=8)
    parse.add_argument("--learning-rate", type=float, help="of both sides; else the default of `cloze finetune`")
    parse.add_argument("--max-length", type=int, default=128)
    parse.add_argument("--most-dev", type=int, help="examples of dev that are judged on, drawn; else all")
    parse.add_argument("--device", default="auto")
    parse.add_argument("--out", type=Path, help="folder for few_labels.json and few_labels.png")
    return parse.parse_args()


def read(options: argparse.Namespace) -> TaskData:
    """Return the prompt's task with all examples."""
    fields = None if options.text is None else tuple(options.text.split(","))
    prompt = Prompt(options.prompt, parse_words(options.words))
    wanted = Wanted(text=fields, label=options.label)
    data = classify_data(ClassifyRequest(options.train, options.dev, wanted, prompt=prompt))
    order = generator(0, "examples to be judged on").permutation(len(data.split.dev))[: options.most_dev]
    dev = [data.split.dev[place] for place in sorted(order)]
    return dataclasses.replace(data, split=dataclasses.replace(data.split, dev=dev))


def overrides(options: argparse.Namespace, seed: int) -> list[str]:
    rate = "none" if options.learning_rate is None else options.learning_rate
    return [
        f"data.batch_size={options.batch_size}",
        f"data.max_length={options.max_length}",
        f"optim.learning_rate={rate}",
        f"run.seed={seed}",
        f"run.device={options.device}",
    ]


def zero_shot(options: argparse.Namespace, data: TaskData) -> float:
    """Return the figure of the prompt before anything is learned."""
    split = Split(data.split.train[:1], data.split.dev)
    model, settings = model_directory(options.model), overrides(options, 0)
    run = tuning(model, data.task, split, out=Path("unused"), epochs=0, overrides=settings)
    return float(data.task.measure(run.answer_dev(), data.split.dev)["figures"][data.task.metric]["value"])


def one(options: argparse.Namespace, data: TaskData, side: str, train: Any, seed: int) -> float:
    """Train one side and return its figure after the last step."""
    assert isinstance(data.task, Classify)
    task = data.task if side == "prompt" else dataclasses.replace(data.task, prompt=None)
    size = options.batch_size
    epochs = epochs_for(len(train), epochs=options.epochs, steps=options.steps, batch_size=size)
    split, model = Split(train, data.split.dev), model_directory(options.model)
    found = tuned(model, task, split, epochs=epochs, overrides=overrides(options, seed))
    return float(found[task.metric] or 0.0)


def report(found: Found, before: float, metric: str) -> None:
    """Print the means with their t-intervals, and the differences paired by seed."""
    counts = list(found[SIDES[0]])
    print(f"\n{metric}: mean (95% t-interval); zero-shot {before:.4f}")
    print(f"{'of every class':<16}" + "".join(f"{few:>26,}" for few in counts))
    for side in SIDES:
        cells = (said(mean_of(found[side][few])) for few in counts)
        print(f"{side:<16}" + "".join(f"{cell:>26}" for cell in cells))
    differences = (said(paired_difference(found["prompt"][few], found["fine-tuning"][few])) for few in counts)
    print(f"{'prompt gains':<16}" + "".join(f"{cell:>26}" for cell in differences))


def said(mean: Any) -> str:
    if mean.low is None:
        return f"{mean.mean:.4f}"
    return f"{mean.mean:.4f} ({mean.low:.4f}, {mean.high:.4f})"


def write(options: argparse.Namespace, found: Found, before: float, sizes: dict[int, int], metric: str) -> None:
    """Write every figure, and the learning curves."""
    options.out.mkdir(parents=True, exist_ok=True)
    kept = {"metric": metric, "zero_shot": before, "options": {k: str(v) for k, v in vars(options).items()}}
    text = json.dumps(kept | {"examples": sizes, "values": found}, indent=2)
    (options.out / "few_labels.json").write_text(text + "\n", encoding="utf-8")
    lines = []
    for side in SIDES:
        means = {few: mean_of(values) for few, values in found[side].items()}
        points = [{"x": sizes[few], "value": m.mean, "low": m.low, "high": m.high} for few, m in means.items()]
        lines.append({"name": side, "points": points})
    curves = {"title": "Few labels: a prompt beside a new head", "metric": metric, "lines": lines}
    learning_picture(curves, options.out / "few_labels.png")


if __name__ == "__main__":
    main()
