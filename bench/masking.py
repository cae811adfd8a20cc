"""What choosing masks costs: milliseconds per 4,096 tokens of every strategy, beside a training step of a recipe.

    python -m bench.masking --data ../shared/data/pretrain/enwiki

Tables are those of a real run: collocations mined from the store, a list of the corpus's own middling words,
weights by piece; adaptive masks count predictions and make new weights in every round, where a run does so every
`masking.adaptive.every` steps. Span corruption cuts spans of its own and packs both sides anew. Every round has
rows of its own; the median of the rounds is set beside the best of the steps, which are computed as in a run, in
bf16 where that is faster. Ends with 1 if a strategy takes more than 3% of a step.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bench import prepare
from clozelm.data.loader import Cursor, RowLoader
from clozelm.data.prepare import PrepareSettings
from clozelm.data.prepare import prepare as make_store
from clozelm.data.rows import Rows
from clozelm.data.store import TokenStore
from clozelm.masking import IGNORED, SELECTORS, Corruption, mask
from clozelm.masking.sentinels import choose_spans, take_out
from clozelm.objectives import Scores
from clozelm.settings import load
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.masks import build_select
from clozelm.train.pretrain import pretrain
from clozelm.train.settings import PretrainSettings

TOKENS, ROW_LENGTH, RATE, MOST = 4096, 128, 0.15, 0.03
MEAN_SPAN, SENTINELS = 3.0, 100
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
        batches = some_batches(store, tokenizer, options.rounds)
        rounds = {name: masking_round(name, batches, store, tokenizer) for name in SELECTORS}
        rounds["span corruption"] = corruption_round(batches, tokenizer)
        is_over = False
        for name, once in rounds.items():
            seconds = median_seconds(once, options.rounds)
            is_over |= seconds > MOST * step
            print(f"{name:>15}: {1000 * seconds:6.2f} ms per {TOKENS:,} tokens, {seconds / step:.2%} of a step")
    if is_over:
        sys.exit(f"Choosing masks takes more than {MOST:.0%} of a step.")


def some_batches(store: TokenStore, tokenizer: Tokenizer, count: int) -> list[Rows]:
    """Rows for every round, each of text that was not masked before, as far as the store goes."""
    loader, cursor, batches = RowLoader(store, tokenizer.vocabulary, row_length=ROW_LENGTH, seed=0), Cursor(), []
    for _ in range(count):
        rows, cursor = loader.batch(cursor, TOKENS // ROW_LENGTH)
        batches.append(rows)
    return batches


def median_seconds(once: Callable[[int], object], rounds: int) -> float:
    """The median of some rounds."""
    spent = []
    for number in range(rounds):
        started = time.perf_counter()
        once(number)
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def masking_round(
    name: str, batches: list[Rows], store: TokenStore, tokenizer: Tokenizer
) -> Callable[[int], object]:
    """What a strategy does in a step, given the number of the step."""
    more = ["masking.adaptive.every=1"] if name == "adaptive" else []
    if name == "chosen":
        words = ", ".join(f'"{word}"' for word in listed_words(store, tokenizer))
        more = [f"masking.chosen.words=[{words}]", r"masking.chosen.patterns=['\d+']"]
    settings = load(PretrainSettings, {}, [f"masking.strategy={name}", *more])
    masks = build_select(settings, store, tokenizer)

    def once(number: int) -> None:
        masked = mask(
            batches[number], tokenizer.vocabulary, masks.select, rate=RATE, corruption=Corruption(), seed=number
        )
        if masks.adaptive is not None:
            labels = torch.from_numpy(masked.labels[masked.labels != IGNORED]).long()
            right = labels % 3 == 0
            masks.see({"mlm": Scores(torch.zeros(()), right.sum(), len(labels), None, labels, right)})
            masks.after_step(number + 1)

    return once


def corruption_round(batches: list[Rows], tokenizer: Tokenizer) -> Callable[[int], object]:
    """What span corruption does in a step in place of masks."""

    def once(number: int) -> None:
        rows = batches[number]
        chosen = choose_spans(rows, tokenizer.vocabulary, rate=RATE, mean_span=MEAN_SPAN, seed=number)
        first, pad_id = tokenizer.vocab_size, tokenizer.vocabulary.pad_id
        take_out(rows, chosen, first_sentinel=first, sentinels=SENTINELS, pad_id=pad_id)

    return once


def listed_words(store: TokenStore, tokenizer: Tokenizer, count: int = 2000) -> list[str]:
    """Pieces that are words, neither the most frequent nor the rarest."""
    order = np.argsort(-store.unigram_counts(), kind="stable")[200 : 200 + 2 * count]
    words = [tokenizer.token(int(piece)) for piece in order if not tokenizer.vocabulary.is_special[piece]]
    return [word for word in words if word.isalpha()][:count]


def step_seconds(work: Path, steps: int) -> float:
    """The best step of a run of the recipe, masks included."""
    settings = load(PretrainSettings, RECIPE, [f"budget.steps={steps}", f"run.threads={torch.get_num_threads()}"])
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
