"""Pretraining: a generator of step reports, readable from top to bottom."""

from __future__ import annotations

import copy
import math
import statistics
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from clozelm.errors import TrainingError
from clozelm.nn.dropout import reseed_dropout
from clozelm.rng import seed_for
from clozelm.train import checkpoint
from clozelm.train.denormals import flushed_denormals
from clozelm.train.plan import StepData
from clozelm.train.run import Run
from clozelm.train.settings import PretrainSettings
from clozelm.train.signals import stop_signals
from clozelm.train.tally import Tally


@dataclass(frozen=True)
class StepReport:
    """What one optimiser update did. Losses are nats per prediction; times are seconds of this update alone.

    ``flops`` are the floating-point operations that the update had to do, however it was computed.
    ``loss`` and ``accuracy`` are of the objective's first term, masked pieces where there are some. ``terms`` has
    the losses, accuracies and shares of class 1 of the other terms, such as ``nsp_loss``; ``heldout_nsp_loss`` is
    the same on held-out text, which an objective that fills no masks has for its first term too.
    """

    step: int
    num_steps: int
    loss: float
    accuracy: float
    predictions: int
    tokens: int
    tokens_seen: int
    seconds: float
    tokens_per_second: float
    peak_share: float
    gradient_norm: float
    learning_rate: float
    mask_rate: float
    flops: float
    heldout_loss: float | None = None
    heldout_accuracy: float | None = None
    is_saved: bool = False
    terms: Mapping[str, float] = field(default_factory=dict)


def pretrain(
    settings: PretrainSettings,
    *,
    data: Path | str,
    out: Path | str,
    heldout: Path | str | None = None,
    stop_after: int | None = None,
) -> Iterator[StepReport]:
    """Train on the token store ``data``, leaving checkpoints, a journal and the model in ``out``.

    A run of the same settings found in ``out`` is resumed, bit for bit; one of other settings is refused. At
    the end ``out/model`` is a Hugging Face directory. SIGTERM or Ctrl-C saves and ends the generator; so does
    ``stop_after`` steps of this call. Of several processes (see ``clozelm.train.ranks``) the first alone evaluates
    and writes. A damaged checkpoint is a warning. Raises ``SettingsError``,
    ``DataError``, and ``TrainingError`` when the loss is not finite.
    """
    run = Run.open(settings, data=data, out=out, heldout=heldout)
    for problem in run.problems:
        warnings.warn(problem, stacklevel=2)
    yield from train(run, stop_after=stop_after)


def train(run: Run, *, stop_after: int | None = None) -> Iterator[StepReport]:
    """Drive an opened run to its last step; see ``pretrain``."""
    last = run.num_steps if stop_after is None else min(run.num_steps, run.step + stop_after)
    with closing(run), stop_signals() as stop:
        while run.step < last:
            with flushed_denormals():
                report = _step(run, run.mask_rate())
            must_stop, is_due = run.ranks.any(stop.is_set(), run.ranks.is_first and run.checkpoint_due())
            is_saved = run.step == last or must_stop or is_due
            report = replace(_evaluated(run, report), is_saved=is_saved)
            run.record(_flat(report))
            if is_saved:
                run.save_checkpoint()
            yield report
            if must_stop:
                break
    if run.step == run.num_steps and run.ranks.is_first:
        run.save_models()


def _step(run: Run, rate: float) -> StepReport:
    """Do one optimiser update under a masking rate and move the run on by one step."""
    begin = time.perf_counter()
    data = run.batches.step(run.cursor, rate)
    run.objective.train()
    reseed_dropout(run.objective, seed_for(run.settings.run.seed, "dropout", run.step, *run.ranks.key))
    tally = _accumulate(run, data)
    norm = run.optimisers.clip(run.settings.optim.clip_norm)
    _check_finite(run, data, tally.loss, norm)
    factor = run.schedule_factor()
    run.optimisers.set_scale(factor)
    run.optimisers.step()
    run.optimisers.zero_grad()
    run.masks.after_step(run.step + 1)
    run.advance(data, time.perf_counter() - begin)
    seconds = time.perf_counter() - begin
    main, *others = data.counts
    return StepReport(
        step=run.step,
        num_steps=run.num_steps,
        loss=tally.mean(main),
        accuracy=tally.accuracy(main),
        predictions=data.counts[main],
        tokens=data.tokens,
        tokens_seen=run.tokens_seen,
        seconds=seconds,
        tokens_per_second=data.tokens / seconds,
        peak_share=data.flops / seconds / (run.matrix_rate * run.ranks.world),
        gradient_norm=norm,
        learning_rate=run.optimisers.learning_rates()["adamw"],
        mask_rate=rate,
        flops=data.flops,
        terms=tally.means(others),
    )


def rehearse(run: Run, *, seconds: float) -> float:
    """Return the seconds of an update: do some for about ``seconds`` and put everything back as it was.

    They are done at the run's mean masking rate, since more predictions take longer. The first two warm caches
    up and are not counted; the result is the median of the others, of which there are at least four.
    """
    begin = copy.deepcopy(run.weights())
    times: list[float] = []
    run.num_steps = sys.maxsize  # the learning rate of a first step is as good as any
    while run.ranks.agree(lambda: len(times) < 6 or sum(times) < seconds):
        with flushed_denormals():
            times.append(_step(run, run.mean_mask_rate()).seconds)
    run.restart(begin)
    return statistics.median(times[2:])


def _accumulate(run: Run, data: StepData) -> Tally:
    """Add up gradients over micro-batches and ranks, every term's sum divided by its count in the whole step."""
    tally = Tally(run.objective.weights, data.counts, run.device)
    for example in data.micro_batches:
        scores = run.objective(example.to(run.device))
        run.masks.see(scores)
        total = tally.add(scores)
        if total is not None:
            total.backward()  # type: ignore[no-untyped-call]
            run.optimisers.collect()
    tally.sum_over(run.ranks)
    run.ranks.sum_gradients(run.optimisers.parameters)
    return tally


def _check_finite(run: Run, data: StepData, loss: float, norm: float) -> None:
    """Stop before the update when it would be poisoned, naming the batch so that it can be recomputed."""
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = "loss" if not math.isfinite(loss) else "gradient norm"
    at = run.cursor
    raise TrainingError(
        f"The {what} is not finite at step {run.step} (seed {run.settings.run.seed}, epoch {at.epoch}, window "
        f"{at.window}, rows {at.row} to {at.row + data.rows - 1}); weights are unchanged since the last step and "
        f"{run.out / checkpoint.FOLDER} is kept. Start a run in another --out with a lower optim.learning_rate "
        f"(now {run.settings.optim.learning_rate}) or a longer schedule.warmup."
    )


def _evaluated(run: Run, report: StepReport) -> StepReport:
    """Add the held-out loss to a report when it is due."""
    if not (run.ranks.is_first and run.evaluation_due()):
        return report
    evaluation = run.evaluate() if run.objective.fills_masks else None
    terms = dict(report.terms) | {f"heldout_{name}": value for name, value in run.evaluate_terms().items()}
    if evaluation is None:
        return replace(report, terms=terms)
    return replace(report, heldout_loss=evaluation.loss, heldout_accuracy=evaluation.accuracy, terms=terms)


def _flat(report: StepReport) -> dict[str, Any]:
    values = asdict(report)
    return {**{key: value for key, value in values.items() if key != "terms"}, **report.terms}
