"""The checks of a run: its loss curve, gradients, learning rate, masks, evaluation and speed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clozelm.flows.doctor_files import FILE_CHECKS
from clozelm.flows.doctor_finding import Check, Finding, NotCheckedError
from clozelm.flows.doctor_journal import RunFacts

_ON_THE_LINE = 0.1  # nats
_FAR_ABOVE = 0.5
_MANY_EPOCHS = 40
_FEW = 10  # records: of fewer there is no curve


def _needs_steps(facts: RunFacts, steps: int) -> None:
    if facts.step < steps:
        raise NotCheckedError(f"the run has {facts.step:,} steps, which are too few (at least {steps:,})")
    _known(facts, "loss")


def _known(facts: RunFacts, name: str, least: int = _FEW) -> NDArray[np.float64]:
    """Return a figure of the records where it is a finite number; too few of them are not checked."""
    if not facts.journal:
        raise NotCheckedError("the journal is empty")
    found = facts.finite(name)
    if len(found) < least:
        raise NotCheckedError(
            f"the journal has a finite {name} in only {len(found)} of {len(facts.journal):,} steps"
        )
    return found


def _unigram(facts: RunFacts) -> float:
    if facts.unigram is None:
        raise NotCheckedError("the objective does not predict hidden pieces")
    return facts.unigram


def finite_loss(facts: RunFacts) -> Finding | None:
    """Find losses or gradients that are no numbers."""
    if not facts.journal:
        raise NotCheckedError("the journal is empty")
    is_bad = np.isnan(facts.column("loss")) | np.isnan(facts.column("gradient_norm"))
    what = "Loss or gradient"
    if not is_bad.any():
        what = "The held-out loss"
        for name in _heldout_names(facts):
            is_missing = [each.get(name) is None for each in facts.journal]
            is_bad |= np.isnan(facts.column(name)) & ~np.array(is_missing)
    if not is_bad.any():
        return None
    first = facts.journal[int(np.argmax(is_bad))]["step"]
    return Finding(
        "error",
        f"{what} is not finite in {is_bad.sum():,} steps, first at step {first:,}.",
        "One such update destroys all weights.",
        "Begin again with a lower optim.learning_rate or a longer schedule.warmup, in fp32 to be sure.",
    )


def _heldout_names(facts: RunFacts) -> list[str]:
    written = {name for each in facts.journal for name in each}
    return sorted(name for name in written if name.startswith("heldout") and name.endswith("loss"))


def divergence(facts: RunFacts) -> Finding | None:
    """Find a loss that ends well above where it had been, at masking rates no higher than then."""
    _needs_steps(facts, 40)
    curve, rates = facts.smoothed, facts.column("mask_rate")
    lowest, last = int(np.argmin(curve)), float(curve[-1])
    rise = last - float(curve[lowest])
    noise = float(np.std(curve[-max(5, len(curve) // 10) :])) + float(np.std(np.diff(curve)))
    if rates[-1] > rates[min(lowest, len(rates) - 1)] + 0.01:
        raise NotCheckedError("the masking rate rises, and the loss with it")
    if rise < max(0.25, 4 * noise):
        return None
    return Finding(
        "error" if rise > 1.0 else "warning",
        f"The loss ends {rise:.2f} nats above its lowest point ({last:.2f}, it was {curve[lowest]:.2f}).",
        "The run has come apart: later weights are worse than earlier ones.",
        "Begin again with a lower optim.learning_rate and a longer warmup.",
    )


def spikes(facts: RunFacts) -> Finding | None:
    """Find single steps whose loss jumps out of its surroundings."""
    _needs_steps(facts, 100)
    loss = facts.finite("loss")
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(loss, 10, mode="edge"), 21)
    middle = np.median(windows, axis=1)
    away = loss - middle
    scatter = 1.4826 * float(np.median(np.abs(away)))
    number = int((away > max(1.0, 8 * scatter)).sum())
    if number < 3:
        return None
    return Finding(
        "warning",
        f"In {number} steps the loss jumps by more than {max(1.0, 8 * scatter):.1f} nats.",
        "Spikes come from a learning rate at its limit, from odd rows, or from low precision.",
        "Lower optim.learning_rate or optim.beta2 (0.95), and look at those steps' text.",
    )


def learned_nothing(facts: RunFacts) -> Finding | None:
    """Find a loss at that of guessing blindly, ln of the vocabulary."""
    _unigram(facts)
    _needs_steps(facts, 40)
    if facts.vocab_size is None:
        raise NotCheckedError("the size of the vocabulary is not known before the model is saved")
    uniform, last = math.log(facts.vocab_size), float(facts.smoothed[-1])
    if last < uniform - _ON_THE_LINE:
        return None
    if last > uniform + _FAR_ABOVE:
        raise NotCheckedError("the loss is far above that of guessing blindly, which is no line to stay on")
    return Finding(
        "error",
        f"The loss is {last:.2f}, and guessing blindly costs {uniform:.2f} (ln {facts.vocab_size:,}).",
        "The model has not even learned which pieces are frequent.",
        "Check that gradients flow (gradient norm), that the learning rate is not 0, and the labels.",
    )


def unigram_plateau(facts: RunFacts) -> Finding | None:
    """Find a run that has learned frequencies and nothing of the context."""
    unigram = _unigram(facts)
    _needs_steps(facts, 100)
    measured = facts.measured("heldout_loss")
    last, what = (measured[-1][1], "held-out loss") if measured else (float(facts.smoothed[-1]), "loss")
    if min(last, float(facts.smoothed[-1])) < unigram - _ON_THE_LINE:
        return None
    if min(last, float(facts.smoothed[-1])) > unigram + _FAR_ABOVE:
        raise NotCheckedError("the loss is far above that of frequencies, which is no plateau")
    return Finding(
        "warning",
        f"You are on the unigram plateau: {what} {last:.2f} at step {facts.step:,}, frequencies {unigram:.2f}.",
        "The model answers with frequent pieces whatever the context; all masked models stay there for a while.",
        "Usual causes: too few steps; a learning rate far too high or low; few predictions a step (raise "
        "masking.rate or data.tokens_per_step); documents without context.",
    )


def learning_rate_high(facts: RunFacts) -> Finding | None:
    """Find the signs of a rate that throws the weights about: the loss rises, or the network dies."""
    unigram = _unigram(facts)
    _needs_steps(facts, 40)
    curve, norms = facts.smoothed, _known(facts, "gradient_norm")
    first = max(float(curve[0]), unigram if facts.is_from_scratch else 0.0)
    rate = facts.settings["optim"]["learning_rate"]
    jump, stays = float(curve.max()) - first, float(curve[-1]) > unigram - _ON_THE_LINE
    begin, end = float(np.median(norms[:10])), float(np.median(norms[len(norms) // 2 :]))
    is_dead = stays and end < 0.5 * begin
    if jump < 0.3 and not is_dead:
        return None
    sign = (
        f"the loss rose {jump:.2f} nats above its beginning"
        if jump >= 0.3
        else (f"gradients fell from {begin:.2g} to {end:.2g} while nothing was learned")
    )
    return Finding(
        "error" if stays else "warning",
        f"The learning rate looks too high (optim.learning_rate={rate:g}): {sign}.",
        "Too large steps throw the model to where its layers no longer answer to their input.",
        "Begin again with a tenth of it; 1e-3 to 1e-4 is usual for AdamW, less for larger models.",
    )


def learning_rate_low(facts: RunFacts) -> Finding | None:
    """Find a rate so low that a new model hardly moves."""
    unigram = _unigram(facts)
    _needs_steps(facts, 100)
    if not facts.is_from_scratch:
        raise NotCheckedError("the run began with a trained model, where low rates are usual")
    rate = float(_known(facts, "learning_rate").max())
    if rate >= 5e-5 or float(facts.smoothed[-1]) < unigram - 0.5:
        return None
    return Finding(
        "warning",
        f"The learning rate never exceeds {rate:.1g}, and the loss ends at {facts.smoothed[-1]:.2f}.",
        "A new model needs larger steps; at this rate most of the compute is wasted.",
        "Try optim.learning_rate=1e-3 for small models, 1e-4 to 5e-4 for base size.",
    )


def gradients(facts: RunFacts) -> Finding | None:
    """Find gradients that explode, vanish, or are far above where they are cut."""
    _needs_steps(facts, 40)
    norms = _known(facts, "gradient_norm")
    tenth = max(5, len(norms) // 10)
    early, late = float(np.median(norms[tenth : 4 * tenth])), float(np.median(norms[-tenth:]))
    clip = facts.settings["optim"].get("clip_norm")
    if late > 20 * early:
        what, do = f"Gradients explode: {late:.3g} at the end, {early:.3g} before.", "Lower optim.learning_rate."
    elif late < 1e-3 * early or late < 1e-7:
        what, do = f"Gradients vanish: {late:.3g} at the end, {early:.3g} before.", "Lower optim.learning_rate."
    elif clip and float(np.median(norms)) > 30 * clip:
        what = f"Every gradient is cut to {clip:g}, most from more than {30 * clip:g}."
        do = "Lower optim.learning_rate where the loss rises; where it falls all the same, raise optim.clip_norm."
    else:
        return None
    return Finding("warning", what, "Updates then say little about the loss.", do)


def dead_masks(facts: RunFacts) -> Finding | None:
    """Find steps with nothing hidden, or far less than was asked for."""
    predictions, tokens, rates = (facts.column(name) for name in ("predictions", "tokens", "mask_rate"))
    for name in ("predictions", "tokens", "mask_rate"):
        _known(facts, name, 1)
    empty = int((predictions == 0).sum())
    share = float(np.nansum(predictions) / max(np.nansum(tokens), 1))
    asked = float(np.nanmean(rates))
    if not empty and share > 0.3 * asked:
        return None
    what = f"In {empty:,} steps nothing was hidden." if empty else f"{share:.1%} of the tokens were hidden."
    return Finding(
        "error" if empty > 0.1 * len(predictions) else "warning",
        f"{what} Asked for: {asked:.1%}.",
        "Without predictions there is no gradient: the step is wasted.",
        "Look at `cloze masks` with the same settings; a strategy may find nothing to choose in this text.",
    )


def evaluation(facts: RunFacts) -> Finding | None:
    """Find a run whose held-out loss is never measured."""
    if any(each.get(name) is not None for name in _heldout_names(facts) for each in facts.journal):
        return None
    every = float(facts.settings["evaluation"].get("every") or 0)
    if every and facts.step < every * facts.num_steps:
        raise NotCheckedError("the first evaluation is still to come")
    return Finding(
        "warning",
        "The held-out loss was never measured.",
        "The training loss alone shows neither overfitting nor a leak, and it is not comparable between masks.",
        "Prepare the corpus with --hold-out, or pass --heldout, and set evaluation.every.",
    )


def overfitting(facts: RunFacts) -> Finding | None:
    """Find a held-out loss that rises while the training loss falls."""
    measured = facts.measured("heldout_loss")
    if len(measured) < 3:
        raise NotCheckedError("the held-out loss was measured fewer than three times")
    _known(facts, "loss")
    best_step, best = min(measured, key=lambda one: one[1])
    last = measured[-1][1]
    gap = last - float(facts.smoothed[-1])
    is_same_rate = abs(facts.column("mask_rate")[-1] - facts.settings["evaluation"]["rate"]) < 0.02
    rises = last > best + 0.05
    if not rises and not (is_same_rate and gap > 1.0):
        return None
    sign = f"it was {best:.2f} at step {best_step:,}" if rises else f"the training loss is {gap:.2f} lower"
    return Finding(
        "warning",
        f"The model overfits: the held-out loss is {last:.2f}, {sign}.",
        "It learns its text by heart; more steps make it worse on any other.",
        "Stop earlier, add text, raise dropout (model.dropout=0.1) or take a smaller model.",
    )


def epochs(facts: RunFacts) -> Finding | None:
    """Find a text that is read very many times."""
    if facts.store_tokens is None:
        raise NotCheckedError("name the token store with --data")
    seen = _known(facts, "tokens_seen", 1)[-1]
    times = seen / max(facts.step, 1) * facts.num_steps / (facts.store_tokens or 1)
    if times <= _MANY_EPOCHS:
        return None
    return Finding(
        "warning",
        f"The run reads its {facts.store_tokens:,} tokens {times:,.0f} times.",
        f"New masks make repetition useful (BERT read its text about {_MANY_EPOCHS} times); this much is memory.",
        "Add text, or give the run a smaller budget.",
    )


def speed(facts: RunFacts) -> Finding | None:
    """Find a run that became slow on the way."""
    _needs_steps(facts, 100)
    rates = _known(facts, "tokens_per_second")
    quarter = len(rates) // 4
    first, last = float(np.median(rates[:quarter])), float(np.median(rates[-quarter:]))
    if last > 0.5 * first:
        return None
    return Finding(
        "note",
        f"The run slowed down: {last:,.0f} tokens/s at the end, {first:,.0f} at the beginning.",
        "Something else takes the machine, it throttles, or memory runs short.",
        "Look at what else runs; on a laptop, at power and heat.",
    )


def peak(facts: RunFacts) -> Finding | None:
    """Find a machine that is hardly used."""
    middle = float(np.median(_known(facts, "peak_share", 1)))
    if middle > 0.05:
        return None
    return Finding(
        "note",
        f"The run reaches {middle:.1%} of what this machine's matrix products can do.",
        "Small models and small steps spend their time on everything else.",
        "Larger data.micro_batch_tokens, or a larger model for the same time.",
    )


RUN_CHECKS: dict[str, Check[RunFacts]] = {
    **FILE_CHECKS,
    "finite loss": finite_loss,
    "divergence": divergence,
    "spikes": spikes,
    "uniform line": learned_nothing,
    "unigram plateau": unigram_plateau,
    "learning rate too high": learning_rate_high,
    "learning rate too low": learning_rate_low,
    "gradient norm": gradients,
    "dead masks": dead_masks,
    "evaluation": evaluation,
    "overfitting": overfitting,
    "epochs": epochs,
    "speed": speed,
    "share of peak": peak,
}


def run_facts(facts: RunFacts) -> dict[str, str]:
    """Return what a reader wants to know of any run: where it stands, how good and fast it is, what is left."""
    said = {"steps": f"{facts.step:,} of {facts.num_steps:,}"}
    if not facts.journal:
        return said
    unigram = "" if facts.unigram is None else f" (frequencies alone {facts.unigram:.2f})"
    said["loss"] = f"{facts.smoothed[-1]:.3f}{unigram}" if len(facts.smoothed) else "none"
    if measured := facts.measured("heldout_loss"):
        said["held-out loss"] = f"{measured[-1][1]:.3f} at step {measured[-1][0]:,}"
    clip, norms = facts.settings["optim"].get("clip_norm"), facts.finite("gradient_norm")
    if len(norms):
        cut = "" if not clip else f", {np.mean(norms > clip):.0%} of the steps cut to {clip:g}"
        said["gradient norm"] = f"{np.median(norms):.2f} in the middle{cut}"
    rates, shares = facts.finite("tokens_per_second"), facts.finite("peak_share")
    if len(rates):
        machine = facts.record.get("machine", "the machine")
        share = f", {np.median(shares):.0%} of the peak of {machine}" if len(shares) else ""
        said["speed"] = f"{np.median(rates):,.0f} tokens/s{share}"
    seconds = facts.finite("seconds")
    left = (facts.num_steps - facts.step) * float(np.median(seconds)) if len(seconds) else 0.0
    if left > 0:
        cost = "" if facts.price is None else f", about {left / 3600 * facts.price:,.2f} at {facts.price:g} an hour"
        said["to finish"] = f"{_duration(left)} at this speed{cost}"
    return said


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"
