"""Fine-tuning beside transformers' Trainer: the same examples, checkpoint, epochs, batch size and seeds, in turn.

    python -m bench.finetune classify MODEL train.jsonl dev.jsonl --seeds 5
    python -m bench.finetune tag MODEL train.conll dev.conll --seeds 5

Every side is a process of its own that reads the data, encodes it and trains; times are of encoding and training,
without imports, evaluation and saving. `processor` compares seconds of processor time, our one evaluation included:
with OMP_NUM_THREADS=1 it is the better measure on a machine with other work. Sides: `ours`; `trainer`, Trainer as
it is, which pads every batch to its longest text; `trainer-grouped`, with batches of like lengths, its fastest
setting in fp32; `trainer-max`, which pads all to 128 pieces as its run_glue example does; if asked for,
`trainer-best`, in bf16 with batches of like lengths. Figures are of the development set at the last epoch.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIDES = ("ours", "trainer", "trainer-grouped", "trainer-max", "trainer-best")


def main() -> None:
    options = parse_options()
    if options.side:
        if options.side == "ours":
            from clozelm.process import tune_process

            tune_process()  # as the cloze command does
        import torch

        torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # the first one imports the compiler for seconds
        found = ours(options) if options.side == "ours" else trainer(options)
        print("RESULT " + json.dumps(found), flush=True)
        return
    sides = options.sides.split(",")
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for seed in range(options.seeds):
        for side in sides if seed % 2 == 0 else sides[::-1]:
            found[side].append(run_side(side, seed))
            print(f"{side} seed {seed}: {json.dumps(found[side][-1])}", flush=True)
    report(found, sides)
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


def parse_options() -> argparse.Namespace:
    parse = argparse.ArgumentParser(description="fine-tuning beside transformers' Trainer")
    parse.add_argument("task", choices=("classify", "tag"))
    parse.add_argument("model", type=Path)
    parse.add_argument("train", type=Path)
    parse.add_argument("dev", type=Path)
    parse.add_argument("--seeds", type=int, default=5)
    parse.add_argument("--epochs", type=float, default=3)
    parse.add_argument("--batch-size", type=int, default=32)
    parse.add_argument("--learning-rate", type=float, default=5e-5)
    parse.add_argument("--most", type=int, default=None, help="examples to learn from")
    parse.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="fp32", help="of ours")
    parse.add_argument("--sides", default=",".join(SIDES[:-1]))
    parse.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parse.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parse.add_argument("--out", type=Path, help="write every figure here")
    return parse.parse_args()


def run_side(side: str, seed: int) -> dict[str, float]:
    """Run one side in a process of its own and return what it measured."""
    command = [sys.executable, "-m", "bench.finetune", *sys.argv[1:], "--side", side, "--seed", str(seed)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        sys.exit(f"{side} failed:\n{done.stdout}\n{done.stderr}")
    found: dict[str, float] = json.loads(line.removeprefix("RESULT "))
    return found


def report(found: dict[str, list[dict[str, float]]], sides: list[str]) -> None:
    """Print seconds, ratios paired by seed, and the mean figure of every side."""
    print(f"\n{'side':<16} {'seconds':>8} {'of ours':>8} {'processor':>9}  figure (mean, standard deviation)")
    for side in sides:
        seconds = statistics.median(one["seconds"] for one in found[side])
        pairs = list(zip(found[side], found[sides[0]], strict=True))
        ratios = [theirs["seconds"] / own["seconds"] for theirs, own in pairs]
        work = statistics.median(theirs["processor"] / own["processor"] for theirs, own in pairs)
        figures = [one["figure"] for one in found[side]]
        spread = statistics.stdev(figures) if len(figures) > 1 else 0.0
        print(
            f"{side:<16} {seconds:8.1f} {statistics.median(ratios):7.2f}x {work:8.2f}x  "
            f"{statistics.mean(figures):.4f}  {spread:.4f}"
        )


def read(options: argparse.Namespace) -> tuple[Any, Any]:
    """Return the task and its examples, by the readers of `cloze finetune`."""
    from clozelm.flows.task_data import ClassifyRequest, TagRequest, classify_data, tag_data

    if options.task == "classify":
        data = classify_data(ClassifyRequest(train=options.train, dev=options.dev))
    else:
        data = tag_data(TagRequest(train=options.train, dev=options.dev))
    split = data.split
    if options.most is not None:
        chosen = np.random.default_rng(0).permutation(len(split.train))[: options.most]
        split = dataclasses.replace(split, train=[split.train[index] for index in chosen])
    return data.task, split


def ours(options: argparse.Namespace) -> dict[str, float]:
    """Fine-tune with clozelm."""
    import tempfile

    from clozelm.hub.classifier import new_classifier
    from clozelm.settings import load
    from clozelm.train.finetune import finetune
    from clozelm.train.finetune_settings import FinetuneSettings
    from clozelm.train.tuning import Tuning

    task, split = read(options)
    settings = load(
        FinetuneSettings,
        None,
        [
            f"budget.epochs={options.epochs}",
            f"evaluation.every={options.epochs}",
            f"data.batch_size={options.batch_size}",
            f"optim.learning_rate={options.learning_rate}",
            "optim.weight_decay=0",
            "optim.eps=1e-8",
            "schedule.warmup=0",
            "data.max_length=128",
            f"run.seed={options.seed}",
            f"run.precision={options.precision}",
        ],
    )
    start = new_classifier(
        options.model, kind=task.kind, labels=task.labels, problem=task.problem, seed=options.seed
    )
    with tempfile.TemporaryDirectory() as folder:
        begin, processor = time.perf_counter(), time.process_time()
        run = Tuning(settings, task=task, start=start, split=split, out=Path(folder) / "run")
        encoding = time.perf_counter() - begin
        run.open()
        reports = list(finetune(run))
        processor = time.process_time() - processor
    figures = reports[-1].dev
    assert figures is not None
    return {
        "seconds": encoding + run.seconds,
        "processor": processor,
        "encoding": encoding,
        "figure": float(figures[task.metric] or 0.0),
    }


def trainer(options: argparse.Namespace) -> dict[str, float]:
    """Fine-tune with transformers' Trainer, as its run_glue and run_ner examples do."""
    import tempfile

    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    task, split = read(options)
    set_seed(options.seed)
    is_tag = options.task == "tag"
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    factory = AutoModelForTokenClassification if is_tag else AutoModelForSequenceClassification
    model = factory.from_pretrained(options.model, num_labels=len(task.labels))
    index = {label: number for number, label in enumerate(task.labels)}
    padding = "max_length" if options.side == "trainer-max" else False
    begin, processor = time.perf_counter(), time.process_time()
    encode = encode_sentences if is_tag else encode_texts
    train, dev = (encode(tokenizer, part, index, padding) for part in (split.train, split.dev))
    encoding = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_size,
            per_device_eval_batch_size=64,
            learning_rate=options.learning_rate,
            seed=options.seed,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            train_sampling_strategy="group_by_length"
            if options.side in ("trainer-grouped", "trainer-best")
            else "random",
            bf16=options.side == "trainer-best",
            use_cpu=True,
            disable_tqdm=True,
        )
        collate = (DataCollatorForTokenClassification if is_tag else DataCollatorWithPadding)(tokenizer)
        runner = Trainer(model=model, args=arguments, train_dataset=train, data_collator=collate)
        seconds = runner.train().metrics["train_runtime"]
        processor = time.process_time() - processor
        found = runner.predict(dev)
    figure = tag_figure(task.labels, found) if is_tag else (found.predictions.argmax(-1) == found.label_ids).mean()
    return {"seconds": encoding + seconds, "processor": processor, "encoding": encoding, "figure": float(figure)}


def tag_figure(labels: Sequence[str], found: Any) -> float:
    """Return seqeval's strict F1 of a prediction of Trainer."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    truth, said = (
        [
            [labels[number] for number, true in zip(row, truths, strict=True) if true != -100]
            for row, truths in zip(rows, found.label_ids, strict=True)
        ]
        for rows in (found.label_ids, found.predictions.argmax(-1))
    )
    return float(f1_score(truth, said, mode="strict", scheme=IOB2, zero_division=0))


def encode_texts(tokenizer: Any, examples: Any, index: dict[str, int], padding: Any) -> list[dict[str, Any]]:
    texts = [list(column) for column in zip(*(example.texts for example in examples), strict=True)]
    encoded = tokenizer(*texts, truncation=True, max_length=128, padding=padding)
    labels = [index[example.label] for example in examples]
    return [{**{key: encoded[key][i] for key in encoded}, "labels": label} for i, label in enumerate(labels)]


def encode_sentences(tokenizer: Any, sentences: Any, index: dict[str, int], padding: Any) -> list[dict[str, Any]]:
    words = [list(sentence.words) for sentence in sentences]
    encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=128, padding=padding)
    rows = []
    for i, sentence in enumerate(sentences):
        labels, last = [], None
        for word in encoded.word_ids(i):
            labels.append(-100 if word is None or word == last else index[sentence.tags[word]])
            last = word
        rows.append({**{key: encoded[key][i] for key in encoded}, "labels": labels})
    return rows


if __name__ == "__main__":
    main()
