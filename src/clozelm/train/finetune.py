"""Fine-tuning: a generator of step reports, readable from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from clozelm.errors import ModelError, SettingsError, TrainingError
from clozelm.nn.dropout import reseed_dropout
from clozelm.rng import seed_for
from clozelm.tasks.batches import batches, longest_first
from clozelm.tasks.metrics import LESS_IS_BETTER
from clozelm.text.atomic import disk_errors
from clozelm.train.denormals import flushed_denormals
from clozelm.train.signals import stop_signals
from clozelm.train.tuning import Tuning


@dataclass(frozen=True)
class FinetuneReport:
    """What one optimiser update did: mean loss per answer, seconds of this update alone.

    After an evaluation ``dev_loss`` and ``dev``, figures of the development set by name, are there, and
    ``is_best`` says whether no evaluation before was better.
    """

    step: int
    num_steps: int
    epoch: float
    loss: float
    examples: int
    tokens: int
    seconds: float
    learning_rate: float
    gradient_norm: float
    dev_loss: float | None = None
    dev: Mapping[str, float | None] | None = None
    is_best: bool = False
    is_saved: bool = False


def finetune(run: Tuning[Any]) -> Iterator[FinetuneReport]:
    """Train from where ``run`` stands to its end, answering the development set from time to time.

    A model that answers as it is, by a prompt, is kept where no evaluation is better than it was before training.
    SIGTERM or Ctrl-C saves and ends the generator. Raises ``TrainingError`` when the loss is not finite.
    """
    if run.answers_untrained and run.step == 0 and not run.is_finished:
        _take_stock(run)
    with closing(run.open_journal()) as journal, stop_signals() as stop:
        while not run.is_finished:
            with flushed_denormals():
                report = _step(run)
            report = _evaluated(run, report)
            must_stop = stop.is_set()
            is_saved = must_stop or (not run.is_finished and run.checkpoint_due())
            report = replace(report, is_saved=is_saved)
            with disk_errors(run.out):
                journal.write(_flat(report))
            if is_saved:
                journal.sync()
                run.save_checkpoint()
            yield report
            if must_stop:
                break


def _step(run: Tuning[Any]) -> FinetuneReport:
    """Do one optimiser update; every micro-batch's sum is divided by the count of the whole step."""
    begin = time.perf_counter()
    run.model.train()
    reseed_dropout(run.model, seed_for(run.settings.run.seed, "finetune dropout", run.step))
    units = run.units(run.step)
    pad_id, limit = run.tokenizer.vocabulary.pad_id, run.settings.data.micro_batch_tokens
    parts = [(laid, run.targets.of(laid)) for laid in batches(longest_first(units), pad_id=pad_id, tokens=limit)]
    count = sum(run.task.count(targets) for _, targets in parts)
    total = 0.0
    for laid, targets in parts:
        if not len(laid.scored):
            continue
        logits = run.model(laid.batch.to(run.device), laid.scored.to(run.device))
        loss = run.task.loss(logits, targets.to(run.device)) / count
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimisers.collect()
        total += float(loss.detach())
    norm = run.optimisers.clip(run.settings.optim.clip_norm)
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise _diverged(run, "The loss or its gradient is")
    run.optimisers.set_scale(run.schedule_factor())
    run.optimisers.step()
    run.optimisers.zero_grad()
    tokens = sum(len(unit.ids) for unit in units)
    run.step += 1
    run.tokens += tokens
    seconds = time.perf_counter() - begin
    run.seconds += seconds
    return FinetuneReport(
        step=run.step,
        num_steps=run.num_steps,
        epoch=run.step / run.steps_per_epoch,
        loss=total,
        examples=len({unit.owner for unit in units}),
        tokens=tokens,
        seconds=seconds,
        learning_rate=run.optimisers.learning_rates()["adamw"],
        gradient_norm=norm,
    )


def _evaluated(run: Tuning[Any], report: FinetuneReport) -> FinetuneReport:
    """Answer the development set when it is due, and keep the weights if they are the best yet."""
    if not run.evaluation_due():
        return report
    dev, dev_loss, is_best = _take_stock(run)
    return replace(report, dev_loss=dev_loss, dev=dev, is_best=is_best)


def _take_stock(run: Tuning[Any]) -> tuple[dict[str, float | None], float, bool]:
    """Return figures and loss of the development set, and whether the weights are kept as the best yet."""
    try:
        found = run.answer_dev()
    except ModelError as error:
        raise _diverged(run, "What the model answers to dev is") from error
    figures = run.task.measure(found, run.split.dev)["figures"]
    dev, dev_loss = {name: figure["value"] for name, figure in figures.items()}, run.dev_loss(found)
    if run.metric not in dev:
        raise SettingsError(f"evaluation.metric={run.metric} is none of this task's figures: {', '.join(dev)}.")
    value = dev[run.metric]
    sign = -1.0 if run.metric in LESS_IS_BETTER else 1.0
    return dev, dev_loss, run.take_stock(math.nan if value is None else sign * value, dev_loss)


def _diverged(run: Tuning[Any], what: str) -> TrainingError:
    return TrainingError(
        f"{what} not finite at step {run.step} (seed {run.settings.run.seed}): start again in another --out with a "
        "lower optim.learning_rate or a longer schedule.warmup."
    )


def _flat(report: FinetuneReport) -> dict[str, Any]:
    """Return a report as a record of the journal; where a run was interrupted leaves no trace."""
    return {name: value for name, value in asdict(report).items() if name != "is_saved"}
