"""From raw text to the end of the first optimiser step: clozelm and transformers, whole processes, imports and all.

    python -m bench.first_step --megabytes 100 --data ../shared/data/pretrain/enwiki

Both begin with one plain text file and a trained tokenizer. Ours are the commands `cloze prepare` and
`cloze pretrain --steps 1`; the peer is run_mlm's recipe: `datasets.map(num_proc=2)`, grouping into 128, Trainer.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import prepare
from bench.workload import SHAPES, Shape

CLOZE = str(Path(sys.executable).parent / "cloze")
RECIPE = """\
[model]
family = "bert"
size = "tiny"
[data]
tokens_per_step = 4096
"""


def main() -> None:
    options = parse_options()
    if options.peer:
        peer(Path(options.peer[0]), Path(options.peer[1]), Path(options.peer[2]))
        return
    with tempfile.TemporaryDirectory(prefix="bench-first-step-") as folder:
        work = Path(folder)
        corpus = prepare.corpus_of(options.data, work / "corpus.txt", int(options.megabytes * 1e6))
        tokenizer = prepare.tokenizer_of(corpus, work / "tokenizer", SHAPES["tiny"].vocab_size)
        recipe = work / "recipe.toml"
        recipe.write_text(RECIPE)
        store, run = str(work / "tokens"), str(work / "run")
        ours = seconds_of(
            [CLOZE, "prepare", str(corpus), "--tokenizer", str(tokenizer), "--out", store],
            [CLOZE, "pretrain", str(recipe), "--data", store, "--out", run, "--steps", "1"],
        )
        module = [sys.executable, "-m", "bench.first_step", "--peer"]
        theirs = seconds_of([*module, str(corpus), str(tokenizer), str(work / "peer")])
    print(
        f"{options.megabytes:g} MB of text to the first step: clozelm {ours:.1f} s, transformers {theirs:.1f} s, "
        f"{theirs / ours:.1f}x sooner"
    )


def seconds_of(*commands: list[str]) -> float:
    started = time.perf_counter()
    for command in commands:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def peer(corpus: Path, tokenizer: Path, out: Path) -> None:
    """Tokenise, group and take one step, as run_mlm does."""
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainingArguments,
    )

    prepare.BLOCK = 128
    grouped = prepare.grouped_by_datasets(corpus, tokenizer, out, 2)
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    shape: Shape = SHAPES["tiny"]
    config = BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
    )
    arguments = TrainingArguments(
        output_dir=str(out / "trainer"),
        max_steps=1,
        per_device_train_batch_size=32,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    collator = DataCollatorForLanguageModeling(loaded, mlm=True)
    Trainer(BertForMaskedLM(config), arguments, collator, grouped).train()


def parse_options() -> argparse.Namespace:
    parse = argparse.ArgumentParser(description="from raw text to the first optimiser step")
    parse.add_argument("--megabytes", type=float, default=100)
    parse.add_argument("--data", type=Path, default=Path("../shared/data/pretrain/enwiki"))
    parse.add_argument("--peer", nargs=3, help=argparse.SUPPRESS)
    return parse.parse_args()


if __name__ == "__main__":
    main()
