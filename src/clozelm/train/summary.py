"""What a run would be, before it is begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clozelm.data.loader import Cursor
from clozelm.train import checkpoint
from clozelm.train.assemble import Given, build_objective, encoder_config
from clozelm.train.evaluate import unigram_entropy
from clozelm.train.hardware import choose_device, describe_machine
from clozelm.train.masks import build_select
from clozelm.train.plan import Batches
from clozelm.train.record import check_out, open_data, open_heldout
from clozelm.train.settings import PretrainSettings


def summarise(
    settings: PretrainSettings, *, data: Path | str, out: Path | str, heldout: Path | str | None = None
) -> dict[str, Any]:
    """Return what a run would be, having checked everything it needs; nothing is trained or written."""
    store, tokenizer = open_data(Path(data))
    held = open_heldout(Path(data), heldout, tokenizer)
    record = check_out(settings, store, Path(out))
    given = Given.open(settings, tokenizer)
    config = encoder_config(settings, tokenizer, given)
    device = choose_device(settings.run.device)
    objective = build_objective(settings, config, store, tokenizer, given)
    select = build_select(settings, store, tokenizer, keep=False).select
    first = Batches(settings, store, tokenizer.vocabulary, objective, select).step(Cursor(), settings.masking.rate)
    parameters = sum(parameter.numel() for parameter in objective.parameters())
    asked = ", ".join(f"{count:,} {term}" for term, count in first.counts.items())
    place, damaged = ("new", []) if record is None else _place(record, Path(out))
    return {
        "family": settings.model.family,
        "parameters": f"{parameters:,}",
        "encoder": f"{config.num_layers} layers x {config.hidden_size}, vocabulary {config.vocab_size:,}",
        "tokens": f"{store.num_tokens:,} in {store.num_documents:,} documents",
        "tokens a step": f"{first.tokens:,} of {settings.data.tokens_per_step:,} (to predict: {asked})",
        "steps an epoch": f"{store.num_tokens / first.tokens:,.0f}",
        "TFLOP a step": f"{first.flops / 1e12:.3f}",
        "held out": "nothing" if held is None else f"{held.num_tokens:,} tokens",
        "out": f"{out}, {place}",
        **({"damaged": "; ".join(damaged)} if damaged else {}),
        "unigram loss": f"{unigram_entropy(store.unigram_counts()):.3f} nats",
        "device": describe_machine(device),
        "budget": ", ".join(f"{k} {v}" for k, v in settings.budget.model_dump(exclude_none=True).items()),
    }


def _place(record: dict[str, Any], out: Path) -> tuple[str, list[str]]:
    """Say where the run in ``out`` would go on, and which checkpoints it would pass over; nothing is changed."""
    step, damaged = 0, []
    for path, damage in checkpoint.states(out):
        if damage is None:
            step = checkpoint.opened(path).step
            break
        damaged.append(f"{path}: {damage}")
    done = step == record["num_steps"]
    return f"{'finished' if done else 'resumes'} at step {step:,} of {record['num_steps']:,}", damaged
