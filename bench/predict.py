"""Prediction beside transformers' pipeline: the same fine-tuned directory, the same texts, in turn.

    python -m bench.predict runs/reviews/model texts.jsonl          a classifier, field `text` or `sentence`
    python -m bench.predict runs/names/model dev.conll --rounds 5   a tagger, on its sentences joined by blanks

Both sides go from texts to labels with probabilities, tokenisation included, in one process, warmed up. `pipeline`
is transformers.pipeline(batch_size=32); `pipeline-sorted` gets the texts by length, its best order; with
`--precision bf16` ours computes in bf16 beside them, and `pipeline-best` is sorted and in bf16. The largest
difference between the probabilities of both is printed.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    options = parse_options()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    from clozelm.infer.predict import Predictor
    from clozelm.tasks.tag import Tag

    predictor = Predictor.open(options.model)
    if options.precision == "bf16":
        predictor.round_weights()
    is_tagger = isinstance(predictor.task, Tag)
    texts = read(options, is_tagger)
    sides = tagging(predictor, options, texts) if is_tagger else classifying(predictor, options, texts)
    times: dict[str, list[float]] = {side: [] for side in sides}
    answers: dict[str, Any] = {}
    for each in sides.values():
        each(texts[:64])
    for number in range(options.rounds):
        for side in list(sides) if number % 2 == 0 else list(sides)[::-1]:
            begin = time.perf_counter()
            answers[side] = sides[side](texts)
            times[side].append(time.perf_counter() - begin)
    for side, seconds in times.items():
        ratios = [one / own for one, own in zip(seconds, times["ours"], strict=True)]
        print(
            f"{side:<16} {len(texts) / statistics.median(seconds):9.1f} texts/s  {statistics.median(ratios):6.2f}x "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    if not is_tagger:
        theirs, ours = np.array(answers["pipeline"]), np.array(answers["ours"])
        print(f"largest difference of probabilities {abs(theirs - ours).max():.1e}")


def parse_options() -> argparse.Namespace:
    parse = argparse.ArgumentParser(description="prediction beside transformers' pipeline")
    parse.add_argument("model", type=Path)
    parse.add_argument("file", type=Path)
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of ours")
    parse.add_argument("--most", type=int, default=2000, help="texts used")
    return parse.parse_args()


def read(options: argparse.Namespace, is_tagger: bool) -> list[str]:
    """Return the texts of a file, or its sentences as texts."""
    if is_tagger:
        from clozelm.text.conll import read_tagged

        return [" ".join(one.words) for one in read_tagged(options.file).sentences][: options.most]
    from clozelm.text.labelled import Wanted, read_examples

    return [one.texts[0] for one in read_examples(options.file, Wanted(labelled=False)).examples][: options.most]


def classifying(predictor: Any, options: argparse.Namespace, texts: list[str]) -> dict[str, Callable[..., Any]]:
    from transformers import pipeline

    labels = list(predictor.task.labels)
    theirs = pipeline("text-classification", model=str(options.model), top_k=None, device="cpu")

    def rows(found: list[list[dict[str, Any]]]) -> list[list[float]]:
        return [[{each["label"]: each["score"] for each in row}[label] for label in labels] for row in found]

    def sorted_first(given: list[str], pipe: Any = theirs) -> list[list[float]]:
        order = sorted(range(len(given)), key=lambda index: len(given[index]))
        found = rows(pipe([given[index] for index in order], batch_size=32, truncation=True))
        return [row for _, row in sorted(zip(order, found, strict=True))]

    best = {}
    if options.precision == "bf16":
        import torch

        rounded = pipeline(
            "text-classification", model=str(options.model), top_k=None, device="cpu", dtype=torch.bfloat16
        )
        best["pipeline-best"] = lambda given: sorted_first(given, rounded)
    return {
        "ours": lambda given: [[one.probabilities[label] for label in labels] for one in predictor(given)],
        "pipeline": lambda given: rows(theirs(given, batch_size=32, truncation=True)),
        "pipeline-sorted": sorted_first,
        **best,
    }


def tagging(predictor: Any, options: argparse.Namespace, texts: list[str]) -> dict[str, Callable[..., Any]]:
    from transformers import pipeline

    theirs = pipeline("token-classification", model=str(options.model), aggregation_strategy="first", device="cpu")
    return {
        "ours": lambda given: predictor.tags([text.split() for text in given]),
        "pipeline": lambda given: theirs(given, batch_size=32),
        "pipeline-sorted": lambda given: theirs(sorted(given, key=len), batch_size=32),
    }


if __name__ == "__main__":
    main()
