"""Pretraining with transformers' Trainer, as its run_mlm example does it; prints one JSON line.

    python -m bench.peer_trainer rows.npy --shape tiny --rows-per-step 32 --steps 20

Trainer, collator and data loader are as they come; only logging, saving and reports are turned off.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench import workload
from bench.workload import CLS, MASK, PAD, SEP, SHAPES, SPECIAL_TOKENS, UNK, Result

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def main() -> None:
    import torch
    from transformers import set_seed

    options = workload.parser("transformers' Trainer on given rows").parse_args()
    if options.precision == "auto":
        options.precision = workload.probe_precision()
    if options.threads:
        torch.set_num_threads(options.threads)
    set_seed(options.seed)
    rows = workload.read_rows(options.rows)
    collator = CountingCollator(tokenizer_of(SHAPES[options.shape].vocab_size), options.rate)
    clock = clock_callback()
    with tempfile.TemporaryDirectory() as folder:  # Trainer makes its output folder, wanted or not
        train(options, rows, collator, clock, folder)
    workload.say(result_of(options, collator, clock))


class CountingCollator:
    """transformers' masking collator, which also notes how many real tokens each batch has."""

    def __init__(self, tokenizer: Any, rate: float) -> None:
        from transformers import DataCollatorForLanguageModeling

        self.collate = DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=rate)
        self.tokens: list[int] = []
        self.positions: list[int] = []

    def __call__(self, examples: Sequence[dict[str, Any]]) -> Any:
        batch = self.collate(examples)
        self.tokens.append(sum(len(example["input_ids"]) for example in examples))
        self.positions.append(batch["input_ids"].numel())
        return batch


def tokenizer_of(vocab_size: int) -> Any:
    """A tokenizer with the special ids of the rows; the collator asks it for nothing else."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL_TOKENS, *(f"t{i}" for i in range(len(SPECIAL_TOKENS), vocab_size))]
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, SPECIAL_TOKENS[UNK])),
        pad_token=SPECIAL_TOKENS[PAD],
        unk_token=SPECIAL_TOKENS[UNK],
        cls_token=SPECIAL_TOKENS[CLS],
        sep_token=SPECIAL_TOKENS[SEP],
        mask_token=SPECIAL_TOKENS[MASK],
    )


def model_of(options: argparse.Namespace) -> Any:
    """The stock model of the configuration that the other side trains."""
    from transformers import AutoConfig, AutoModelForMaskedLM

    from clozelm.families import FAMILIES
    from clozelm.vocab import Vocabulary

    shape = SHAPES[options.shape]
    vocabulary = Vocabulary(shape.vocab_size, pad_id=PAD, cls_id=CLS, sep_id=SEP, mask_id=MASK, unk_id=UNK)
    config = FAMILIES[options.family].write_config(workload.encoder_config(options), vocabulary)
    return AutoModelForMaskedLM.from_config(AutoConfig.for_model(**config), attn_implementation=options.attention)


def examples_of(rows: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """What run_mlm's tokenised dataset gives: lists of ids, and which of them are special."""
    return [
        {"input_ids": row.tolist(), "special_tokens_mask": (row < len(SPECIAL_TOKENS)).astype(int).tolist()}
        for row in rows
    ]


def clock_callback() -> Any:
    """A callback that notes when each optimiser step ended and what the loss was."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []
            self.losses: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            self.ends.append(time.perf_counter())
            control.should_log = state.global_step in (1, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))

    return Clock()


def train(options: argparse.Namespace, rows: Sequence[np.ndarray], collator: Any, clock: Any, folder: str) -> None:
    import torch
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=options.warm_up + options.steps,
        per_device_train_batch_size=options.rows_per_step,
        bf16=options.precision == "bf16",
        torch_compile=options.compile,
        use_cpu=not torch.cuda.is_available(),
        seed=options.seed,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    examples: Any = examples_of(rows)
    Trainer(model_of(options), arguments, collator, examples, callbacks=[clock]).train()


def result_of(options: argparse.Namespace, collator: CountingCollator, clock: Any) -> Result:
    """Sum up the measured steps; the loader works one batch ahead, so batch i is matched to step i."""
    measured = slice(options.warm_up, options.warm_up + options.steps)
    tokens, positions = sum(collator.tokens[measured]), sum(collator.positions[measured])
    seconds = clock.ends[-1] - clock.ends[options.warm_up - 1]
    return Result(
        side="transformers",
        tokens_per_second=tokens / seconds,
        tokens=tokens,
        seconds=seconds,
        steps=options.steps,
        padding=1 - tokens / positions,
        first_loss=clock.losses[0],
        mean_loss=clock.losses[-1],
        peak_rss_bytes=workload.peak_rss_bytes(),
        settings={key: str(value) if key == "rows" else value for key, value in vars(options).items()},
    )


if __name__ == "__main__":
    main()
