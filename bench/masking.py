"""What choosing masks costs: milliseconds per 4,096 tokens of every strategy, beside a training step of a recipe.

    python -m bench.masking --data ../shared/data/pretrain/enwiki

Tables are those of a real run: collocations mined from the store, a list of the corpus's own middling words,
weights by piece. The best of several rounds counts, since other work on the machine only ever slows a round down.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bench import prepare
from clozelm.data.loader import Cursor, RowLoader
from clozelm.data.prepare import PrepareSettings
from clozelm.data.prepare import prepare as make_store
from clozelm.data.store import TokenStore
from clozelm.masking import SELECTORS, Corruption, mask
from clozelm.settings import load
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.masks import build_select
from clozelm.train.pretrain import pretrain
from clozelm.train.settings import PretrainSettings

TOKENS, ROW_LENGTH, RATE = 4096, 128, 0.15
RECIPE = Path(__file__).resolve().parents[1] / "src" / "clozelm" / "recipes" / "tiny.toml"


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="bench-masking-") as folder:
        work = Path(folder)
        corpus = prepare.corpus_of(options.data, work / "corpus.txt", int(options.megabytes * 1e6))
        directory = prepare.tokenizer_of(corpus, work / "tokenizer", options.vocab_size)
        tokenizer = Tokenizer.load(directory)
        make_store([corpus], tokenizer, work / "tokens", PrepareSettings())
        store = TokenStore.open(work / "tokens", tokenizer)
        step = step_seconds(work, options.steps) / options.step_tokens * TOKENS
        print(f"a step of tiny: {1000 * step:.1f} ms per {TOKENS:,} tokens, {options.threads} threads")
        for name in SELECTORS:
            seconds = masking_seconds(name, store, tokenizer, options.rounds)
            print(f"{name:>11}: {1000 * seconds:6.2f} ms per {TOKENS:,} tokens, {seconds / step:.2%} of a step")


def masking_seconds(name: str, store: TokenStore, tokenizer: Tokenizer, rounds: int) -> float:
    """The best of some rounds over rows that are read once."""
    more = ["masking.adaptive.mode=balanced"] if name == "adaptive" else []
    if name == "chosen":
        words = ", ".join(f'"{word}"' for word in listed_words(store, tokenizer))
        more = [f"masking.chosen.words=[{words}]", r"masking.chosen.patterns=['\d+']"]
    settings = load(PretrainSettings, {}, [f"masking.strategy={name}", *more])
    select = build_select(settings, store, tokenizer).select
    rows, _ = RowLoader(store, tokenizer.vocabulary, row_length=ROW_LENGTH, seed=0).batch(
        Cursor(), TOKENS // ROW_LENGTH
    )
    best = float("inf")
    for seed in range(rounds):
        started = time.perf_counter()
        mask(rows, tokenizer.vocabulary, select, rate=RATE, corruption=Corruption(), seed=seed)
        best = min(best, time.perf_counter() - started)
    return best


def listed_words(store: TokenStore, tokenizer: Tokenizer, count: int = 2000) -> list[str]:
    """Pieces that are words, neither the most frequent nor the rarest."""
    order = np.argsort(-store.unigram_counts(), kind="stable")[200 : 200 + 2 * count]
    words = [tokenizer.token(int(piece)) for piece in order if not tokenizer.vocabulary.is_special[piece]]
    return [word for word in words if word.isalpha()][:count]


def step_seconds(work: Path, steps: int) -> float:
    """The best step of a run of the recipe, masks included."""
    settings = load(PretrainSettings, RECIPE, [f"budget.steps={steps}", "run.precision=fp32"])
    reports = pretrain(settings, data=work / "tokens", out=work / "run")
    return min(report.seconds for report in reports)


def parse_options() -> argparse.Namespace:
    parse = argparse.ArgumentParser(description="the cost of choosing masks")
    parse.add_argument("--data", type=Path, default=Path("../shared/data/pretrain/enwiki"))
    parse.add_argument("--megabytes", type=float, default=20)
    parse.add_argument("--vocab-size", type=int, default=8192)
    parse.add_argument("--threads", type=int, default=2)
    parse.add_argument("--steps", type=int, default=20)
    parse.add_argument("--step-tokens", type=int, default=2048, help="tokens of a step of the recipe")
    parse.add_argument("--rounds", type=int, default=30)
    return parse.parse_args()


if __name__ == "__main__":
    main()
