"""Compare filling masks with the fill-mask pipeline of `transformers`: same sentences, weights and machine.

    taskset -c 1 python -m bench.fill                               random BERTs of 6 x 384 and 12 x 768
    taskset -c 1 python -m bench.fill --models 12x768 --precision bf16

`one` asks for one sentence of 14 tokens at a time; the median of many alternating calls counts. `many` asks for a
thousand sentences of 6 to 30 tokens at once: the pipeline as it comes (one at a time), and with the best of some
values of its `batch_size`. Answers are compared before anything is timed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers

from clozelm import hub
from clozelm.families import FAMILIES
from clozelm.infer.fill_mask import FillMask
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TOLERANCE = {"fp32": 2e-5, "bf16": 2e-2}
SENTENCE = "The quick brown fox [MASK] over the lazy dog in our yard"
WORDS = ["the", "a", "of", "in", "house", "water", "people", "music", "city", "small", "old", "river", "stone"]


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    tokenizer = Tokenizer.load(options.shared / "checkpoints" / "tokenizers" / "bert-base-uncased")
    length = len(tokenizer.encode(SENTENCE).ids) + 2
    for size in options.models:
        layers, width = (int(part) for part in size.split("x"))
        with tempfile.TemporaryDirectory(prefix="bench-fill-") as folder:
            directory = _random_bert(tokenizer, layers, width, Path(folder) / "model")
            dtype = DTYPES[options.precision]
            loaded = hub.load(directory, dtype=dtype)
            pipeline = transformers.pipeline("fill-mask", str(directory), device="cpu", dtype=dtype)
        fill = FillMask(loaded.model, loaded.tokenizer)
        print(f"BERT {layers} x {width}, {options.precision}")
        _one(fill, pipeline, length, options)
        if options.sentences:
            _many(fill, pipeline, options)


def _one(fill: FillMask, pipeline, length: int, options: argparse.Namespace) -> None:
    _same(fill([SENTENCE]), [pipeline(SENTENCE)], TOLERANCE[options.precision])
    ways: dict[str, Callable[[], object]] = {
        "clozelm": lambda: fill(SENTENCE),
        "pipeline": lambda: pipeline(SENTENCE),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.calls):
        for name, way in ways.items():
            seconds[name].append(_seconds(way))
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    for name, each in middle.items():
        print(f"  one sentence of {length} tokens   {name:10} p50 {1000 * each:8.2f} ms")
    print(f"  {middle['pipeline'] / middle['clozelm']:.2f} times as fast as the pipeline")


def _many(fill: FillMask, pipeline, options: argparse.Namespace) -> None:
    texts = _sentences(options.sentences)
    _same(fill(texts[:20]), [pipeline(text) for text in texts[:20]], TOLERANCE[options.precision])
    ways: dict[str, Callable[[], object]] = {"clozelm": lambda: fill(texts), "pipeline": lambda: pipeline(texts)}
    for size in options.batch_sizes:
        ways[f"pipeline, batch_size={size}"] = lambda size=size: pipeline(texts, batch_size=size)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            seconds[name].append(_seconds(way))
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    for name, each in middle.items():
        print(f"  {len(texts):,} sentences   {name:26} {len(texts) / each:8.1f} sentences/s")
    best = min((name for name in middle if "batch_size" in name), key=lambda name: middle[name])
    for name in ("pipeline", best):
        print(f"  {middle[name] / middle['clozelm']:.2f} times as fast as {name}")


def _same(ours, theirs, tolerance: float) -> None:
    for filled, answers in zip(ours, theirs, strict=True):
        (mask,) = filled.masks
        given = np.array([one.probability for one in mask])
        expected = np.array([one["score"] for one in answers])
        assert np.abs(given / expected - 1).max() < max(tolerance, 1e-3), "the two do not answer alike"


def _seconds(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def _sentences(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    texts = []
    for length in rng.integers(4, 29, count):
        words = list(rng.choice(WORDS, length))
        words[rng.integers(length)] = "[MASK]"
        texts.append(" ".join(words))
    return texts


def _random_bert(tokenizer: Tokenizer, layers: int, width: int, directory: Path) -> Path:
    model = MaskedLM(
        FAMILIES["bert"].preset(
            "base",
            tokenizer.vocab_size,
            num_layers=layers,
            hidden_size=width,
            num_heads=width // 64,
            intermediate_size=4 * width,
        )
    )
    model.initialise(torch.Generator().manual_seed(0))
    hub.save(model, tokenizer, directory, family="bert")
    return directory


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["6x384", "12x768"], help="layers x width of random BERTs")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds checkpoints/")
    parser.add_argument("--precision", choices=DTYPES, default="fp32")
    parser.add_argument("--calls", type=int, default=100, help="calls with one sentence, of each way")
    parser.add_argument("--sentences", type=int, default=1000, help="0 leaves out the many sentences")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
