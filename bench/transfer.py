"""What pretraining buys: models, and the same architectures from random weights, on many sets, with many seeds.

    python -m bench.transfer table --data DIR --model bert=runs/bert/model --model none=random:runs/bert/model \\
        --out runs/transfer.jsonl
    python -m bench.transfer curves --data DIR --model ... --sets SST-2,WNUT-17 --shares 0.01,0.1,1 --most 100000
    python -m bench.transfer report --out runs/transfer.jsonl --png runs/transfer.png

A seed draws the examples, the head and the order; the examples are the same for all models, and a smaller draw is
part of a larger one. Every run is judged on the development set after its last step, nothing is chosen there, and
adds a line to `--out`; what that file has is not run again. With few examples a run has at least `--steps` steps.
The sets are in `bench/transfer.toml`. `--inner` judges on a tenth of train instead of dev: for choosing settings.
"""

import argparse
import json
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.tuned import epochs_for, tuned
from clozelm.flows.task_data import ClassifyRequest, TagRequest, TaskData, classify_data, tag_data
from clozelm.hub.load import model_directory
from clozelm.report.learning_curves import learning_picture
from clozelm.report.statistics import mean_of
from clozelm.rng import generator
from clozelm.text.labelled import Wanted
from clozelm.text.overlap import hold_out
from clozelm.text.record_files import TableForm
from clozelm.train.tuning import Split

SETS = Path(__file__).with_suffix(".toml")
RANDOM = "random:"
Record = dict[str, Any]


def main() -> None:
    options = parse_options()
    if options.command != "report":
        shares = [1.0] if options.command == "table" else [float(each) for each in options.shares.split(",")]
        run_all(options, shares)
    records = read_records(options.out)
    report(records)
    if options.png:
        picture(records, options)


def parse_options() -> argparse.Namespace:
    parse = argparse.ArgumentParser(description="what pretraining buys")
    parse.add_argument("command", choices=("table", "curves", "report"))
    parse.add_argument("--data", type=Path, help="folder of the sets")
    parse.add_argument("--sets", help="some of transfer.toml's, with commas; else all")
    parse.add_argument("--model", action="append", default=[], help="NAME=DIR or NAME=random:DIR")
    parse.add_argument("--shares", default="0.01,0.1,1")
    parse.add_argument("--most", type=int, default=5000, help="examples to learn from")
    parse.add_argument("--seeds", type=int, default=3)
    parse.add_argument("--epochs", type=float, default=3)
    parse.add_argument("--steps", type=int, default=200, help="fewest steps")
    parse.add_argument("--batch-size", type=int, default=32)
    parse.add_argument("--max-length", type=int, default=128)
    parse.add_argument("--rate-factor", type=float, default=1.0, help="of the default learning rate")
    parse.add_argument("--precision", choices=("fp32", "bf16", "auto"), default="fp32")
    parse.add_argument("--inner", action="store_true", help="judge on a tenth of train")
    parse.add_argument("--out", type=Path, required=True)
    parse.add_argument("--png", type=Path, help="draw the curves of the first of --sets")
    return parse.parse_args()


def run_all(options: argparse.Namespace, shares: list[float]) -> None:
    with SETS.open("rb") as file:
        sets = tomllib.load(file)
    models = dict(each.split("=", 1) for each in options.model)
    done = {key(record) for record in read_records(options.out)} if options.out.is_file() else set()
    for name in options.sets.split(",") if options.sets else sets:
        data = read(options, sets[name])
        for seed in range(options.seeds):
            for share in shares:
                for model, directory in models.items():
                    record = {"set": name, "model": model, "share": share, "seed": seed, "inner": options.inner}
                    record |= {"epochs": options.epochs, "rate_factor": options.rate_factor}
                    if key(record) in done:
                        continue
                    record |= one(options, data, directory, share, seed)
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(record) + "\n")
                    print(json.dumps(record), flush=True)


def key(record: Record) -> tuple[Any, ...]:
    names = ("set", "model", "share", "seed", "inner", "epochs", "rate_factor")
    return tuple(record[name] for name in names)


def read(options: argparse.Namespace, entry: dict[str, Any]) -> TaskData:
    """Return a set by the readers of `cloze finetune`."""
    train = options.data / entry["train"]
    dev = options.data / entry["dev"] if "dev" in entry else None
    if entry["task"] == "tag":
        return tag_data(TagRequest(train, dev))
    wanted = Wanted(text=entry.get("text"), label=entry.get("label"), problem=entry.get("problem", "single"))
    form = TableForm(header=False) if entry.get("no_header") else TableForm()
    return classify_data(ClassifyRequest(train, dev, wanted, form))


def one(options: argparse.Namespace, data: TaskData, directory: str, share: float, seed: int) -> Record:
    """Fine-tune one model and return its figures."""
    split = data.split
    if options.inner:
        split = Split(*hold_out(split.train, share=0.1, seed=0))
    order = generator(seed, "examples to learn from").permutation(len(split.train))[: options.most]
    chosen = order[: max(1, round(share * len(order)))]
    split = Split([split.train[place] for place in chosen], split.dev)
    size = options.batch_size
    epochs = epochs_for(len(chosen), epochs=options.epochs, steps=options.steps, batch_size=size)
    found = tuned(
        model_directory(directory.removeprefix(RANDOM)),
        data.task,
        split,
        epochs=epochs,
        overrides=[
            f"data.batch_size={size}",
            f"data.max_length={options.max_length}",
            f"run.seed={seed}",
            f"run.precision={options.precision}",
        ],
        rate_factor=options.rate_factor,
        is_random=directory.startswith(RANDOM),
    )
    metric = data.task.metric
    return {"examples": len(chosen), "metric": metric, "value": found[metric] or 0.0, "seconds": found["seconds"]}


def read_records(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def report(records: list[Record]) -> None:
    """Print a table of means with 95% t-intervals: a line for every set and share, a column for every model."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        found[line_of(record)][record["model"]].append(record["value"])
    models = list(dict.fromkeys(record["model"] for record in records))
    print("\n| set | " + " | ".join(models) + " |\n|---|" + "--:|" * len(models))
    for name, values in found.items():
        print(f"| {name} | {' | '.join(said(values[model]) for model in models)} |")


def line_of(record: Record) -> str:
    """Return what a line of the table is called: the set, its figure, and what is not as usual."""
    share, factor = record["share"], record["rate_factor"]
    parts = [record["set"], record["metric"]]
    parts += [f"{share:.0%} of labels"] if share < 1 else []
    parts += [f"learning rate x{factor:g}"] if factor != 1 else []
    return ", ".join([*parts, *(["inner"] if record["inner"] else [])])


def said(values: list[float]) -> str:
    """Return a mean with the half of its interval, in percent."""
    if not values:
        return ""
    mean = mean_of(values)
    return f"{100 * mean.mean:.1f}" + ("" if mean.high is None else f" ± {100 * (mean.high - mean.mean):.1f}")


def picture(records: list[Record], options: argparse.Namespace) -> None:
    """Draw the curves of one set: a line for every model over the number of examples."""
    name = options.sets.split(",")[0] if options.sets else records[0]["set"]
    of_set = [record for record in records if record["set"] == name]
    lines = []
    for model in dict.fromkeys(record["model"] for record in of_set):
        values: dict[int, list[float]] = defaultdict(list)
        for record in of_set:
            if record["model"] == model:
                values[record["examples"]].append(record["value"])
        means = {examples: mean_of(each) for examples, each in sorted(values.items())}
        points = [{"x": x, "value": m.mean, "low": m.low, "high": m.high} for x, m in means.items()]
        lines.append({"name": model, "points": points})
    curves = {"title": f"Labels needed: {name}", "metric": of_set[0]["metric"], "lines": lines}
    learning_picture(curves, options.png)


if __name__ == "__main__":
    main()
