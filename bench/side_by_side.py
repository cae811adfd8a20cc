"""Two trainings at the same time, one pinned core each: clozelm and transformers' Trainer, same architecture.

    python -m bench.side_by_side run TOKENS --minutes 30 --folder runs/side      both, and then the scores
    python -m bench.side_by_side score --folder runs/side --text held.txt        the scores alone

TOKENS is a token store made by `cloze prepare`; both read its tokens with its tokenizer. Our side is
`cloze pretrain starter`; the Trainer side is ModernBertForMaskedLM of the same shape under AdamW with a linear
schedule, in fp32 or bf16 by measurement, on rows grouped as transformers' run_mlm example groups them. Both keep a
model every few minutes; each is scored in bits per byte on the same hidden words.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.workload import probe_precision

PROBES = (
    "Machine learning is a [MASK] technology.",
    "The capital of France is [MASK].",
    "She opened the [MASK] and walked into the room.",
    "He was born in London in the [MASK] century.",
    "The river flows into the [MASK] Ocean.",
)
ROW_LENGTH = 128
ROWS_PER_STEP = 16


def main() -> None:
    options = parse_options()
    if options.command == "run":
        run_both(options)
        score(options)
    elif options.command == "peer":
        train_peer(options)
    else:
        score(options)


def parse_options() -> argparse.Namespace:
    parse = argparse.ArgumentParser(description="two trainings side by side, one core each")
    parse.add_argument("command", choices=("run", "peer", "score"))
    parse.add_argument("tokens", type=Path, nargs="?", help="token store")
    parse.add_argument("--minutes", type=float, default=30)
    parse.add_argument("--keep-every", type=float, default=3, help="minutes between kept models")
    parse.add_argument("--folder", type=Path, default=Path("runs/side"))
    parse.add_argument("--text", type=Path, help="held-out text to score on")
    parse.add_argument("--documents", default="auto")
    parse.add_argument("--max-documents", type=int, default=None)
    parse.add_argument("--peer-rate", type=float, default=1e-3, help="the Trainer's peak learning rate")
    parse.add_argument("--size", default="tiny")
    parse.add_argument("--set", action="append", default=[], help="more settings of our side")
    return parse.parse_args()


def run_both(options: argparse.Namespace) -> None:
    """Start both sides at once, each pinned to a core of its own, and wait for both."""
    options.folder.mkdir(parents=True, exist_ok=True)
    threads = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    every = options.keep_every
    ours = [str(Path(sys.executable).parent / "cloze"), "pretrain", "starter"]
    ours += [
        "--data",
        str(options.tokens),
        "--out",
        str(options.folder / "ours"),
        "--minutes",
        str(options.minutes),
    ]
    for setting in (
        f"model.size={options.size}",
        "budget.tokens=none",
        "run.threads=1",
        f"checkpoint.every_minutes={every}",
        "checkpoint.keep=1000",
        *options.set,
    ):
        ours += ["--set", setting]
    peer = [
        sys.executable,
        "-m",
        "bench.side_by_side",
        "peer",
        str(options.tokens),
        "--minutes",
        str(options.minutes),
    ]
    peer += ["--folder", str(options.folder), "--keep-every", str(every), "--peer-rate", str(options.peer_rate)]
    peer += ["--size", options.size, *(part for setting in options.set for part in ("--set", setting))]
    started = [
        subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            env=threads,
            stdout=open(log, "w"),  # noqa: SIM115
            stderr=subprocess.STDOUT,
        )
        for core, (command, log) in enumerate(
            [(ours, options.folder / "ours.log"), (peer, options.folder / "peer.log")]
        )
    ]
    codes = [process.wait() for process in started]
    if any(codes):
        raise SystemExit(f"a side failed: see {options.folder}/ours.log and peer.log (exit codes {codes})")


def train_peer(options: argparse.Namespace) -> None:
    """Train with transformers' Trainer for the given minutes, its schedule fitted by timing the first steps."""
    import torch
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast, Trainer

    torch.set_num_threads(1)
    rows = grouped_rows(options.tokens)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.tokens / "tokenizer")
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=0.15)
    precision = probe_precision()
    folder = options.folder / "peer"
    trial = trainer_arguments(folder, 12, precision, options.peer_rate)
    clock = time.perf_counter()
    Trainer(peer_model(options, tokenizer), trial, collator, rows[: 12 * ROWS_PER_STEP]).train()
    seconds = (time.perf_counter() - clock) / 12
    steps = round(60 * options.minutes / seconds)
    print(f"{seconds:.3f} s a step, {steps} steps, {precision}", flush=True)
    order = np.random.default_rng(0).permutation(len(rows))
    chosen = [rows[index] for index in order[: steps * ROWS_PER_STEP]]
    model = peer_model(options, tokenizer)
    keeper = keep_callback(model, tokenizer, folder, options)
    Trainer(
        model, trainer_arguments(folder, steps, precision, options.peer_rate), collator, chosen, callbacks=[keeper]
    ).train()
    keeper.keep(steps)


def grouped_rows(tokens: Path) -> list[dict[str, Any]]:
    """Concatenate all documents, [CLS] and [SEP] around each, and cut into rows of 128, as run_mlm does."""
    from clozelm.data.store import TokenStore
    from clozelm.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(tokens / "tokenizer")
    store = TokenStore.open(tokens, tokenizer)
    vocabulary = tokenizer.vocabulary
    ends = np.arange(1, store.num_documents + 1)
    flat = np.insert(store.tokens(0, store.num_tokens), store.offsets[ends], vocabulary.sep_id)
    flat = np.insert(flat, store.offsets[ends - 1] + ends - 1, vocabulary.cls_id)
    rows = flat[: len(flat) // ROW_LENGTH * ROW_LENGTH].reshape(-1, ROW_LENGTH).astype(np.int64)
    return Rows(rows)  # type: ignore[return-value]


class Rows:
    """A data set that makes its examples when they are asked for."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Rows(self.rows[index])
        return {"input_ids": self.rows[index].tolist()}


def peer_model(options: argparse.Namespace, tokenizer: Any) -> Any:
    """The architecture of our side's recipe, made and initialised by transformers."""
    from transformers import AutoModelForMaskedLM, ModernBertConfig, set_seed

    from clozelm.families import FAMILIES
    from clozelm.flows.training import recipe_path
    from clozelm.settings import load
    from clozelm.text.tokenizer import Tokenizer
    from clozelm.train.assemble import Given, encoder_config
    from clozelm.train.settings import PretrainSettings

    ours = Tokenizer.load(options.tokens / "tokenizer")
    settings = load(PretrainSettings, recipe_path("starter"), [f"model.size={options.size}", *options.set])
    config = encoder_config(settings, ours, Given.open(settings, ours))
    config = dataclasses.replace(config, init_std=0.02)  # the stock initialisation
    written = FAMILIES["modernbert"].write_config(config, ours.vocabulary)
    set_seed(0)
    return AutoModelForMaskedLM.from_config(ModernBertConfig(**written))


def trainer_arguments(folder: Path, steps: int, precision: str, rate: float) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=steps,
        per_device_train_batch_size=ROWS_PER_STEP,
        learning_rate=rate,
        warmup_steps=max(1, steps // 20),
        lr_scheduler_type="linear",
        weight_decay=0.01,
        bf16=precision == "bf16",
        use_cpu=True,
        seed=0,
        logging_steps=50,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def keep_callback(model: Any, tokenizer: Any, folder: Path, options: argparse.Namespace) -> Any:
    """A callback that writes the model every few minutes, with the seconds of training it took."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):
        def __init__(self) -> None:
            self.started = self.last = time.perf_counter()
            self.paused = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            if time.perf_counter() - self.last > 60 * options.keep_every:
                self.keep(state.global_step)

        def keep(self, step: int) -> None:
            begin = time.perf_counter()
            place = folder / f"step-{step:06d}"
            model.save_pretrained(place)
            tokenizer.save_pretrained(place)
            facts = {"seconds": begin - self.started - self.paused, "tokens": step * ROWS_PER_STEP * ROW_LENGTH}
            (place / "facts.json").write_text(json.dumps(facts))
            self.last = time.perf_counter()
            self.paused += self.last - begin

    return Keeper()


def score(options: argparse.Namespace) -> None:
    """Print a table of bits per byte over time, and what the last model of each side answers."""
    import clozelm

    texts = held_out(options)
    print("| side | minutes | tokens | bits per byte | 95% interval | words right |\n|---|--:|--:|--:|---|--:|")
    last: dict[str, Any] = {}
    for side, seconds, tokens, model in models(options.folder):
        from clozelm.train.words import evaluate_words

        words = evaluate_words(model.masked_lm, model.tokenizer, texts)
        low, high = words.interval
        print(
            f"| {side} | {seconds / 60:.1f} | {tokens / 1e6:.2f}M | {words.bits_per_byte:.3f} | "
            f"{low:.3f} to {high:.3f} | {words.words_right:.1%} |",
            flush=True,
        )
        last[side] = model
    for side, model in last.items():
        assert isinstance(model, clozelm.Model)
        print(f"\n{side}:")
        for probe in PROBES:
            print("  " + probe, ", ".join(f"{c.token} {c.probability:.0%}" for c in model.fill(probe)[0]))


def held_out(options: argparse.Namespace) -> list[str]:
    from itertools import islice

    from clozelm.text.normalize import normalize
    from clozelm.text.readers import documents

    found = documents([options.text], unit=options.documents)
    return [normalize(document.text) for document in islice(found, options.max_documents)]


def models(folder: Path) -> Iterator[tuple[str, float, int, Any]]:
    """Open every kept model: ours from its checkpoints, the peer's from its directories."""
    import clozelm
    from clozelm.train import checkpoint

    for path in sorted((folder / "ours" / "checkpoints").glob("step-*")):
        model = clozelm.load(folder / "ours")
        kept = checkpoint.opened(path)
        weights = kept.load("model")
        masters = kept.load("optimisers").get("masters", {})  # in bf16 the weights proper are there
        kept_weights = {name.removeprefix("masked_lm."): value for name, value in {**weights, **masters}.items()}
        model.masked_lm.load_state_dict(kept_weights)
        yield "clozelm", kept.meta["elapsed_seconds"], kept.meta["tokens_seen"], model
    for path in sorted((folder / "peer").glob("step-*")):
        facts = json.loads((path / "facts.json").read_text())
        yield "Trainer", facts["seconds"], facts["tokens"], clozelm.load(path)


if __name__ == "__main__":
    main()
