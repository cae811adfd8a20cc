"""What a comparison found, as plain data: means, differences, and what may be said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clozelm.report.statistics import holm, mean_of, paired_bootstrap, paired_difference

LEVEL = 0.05


@dataclass(frozen=True)
class Measure:
    """A number that is compared; ``better`` is -1 where less is better, 1 where more is, 0 where it is a cost."""

    name: str
    title: str
    unit: str
    better: int
    about: str = ""


MEASURES = (
    Measure("masked_loss", "masked loss", "nats a piece", -1, "held-out pieces under the same uniform masks"),
    Measure("masked_accuracy", "masked accuracy", "%", 1, "share of those pieces that are the best guess"),
    Measure("bits_per_byte", "bits per byte", "bits", -1, "of whole hidden words; compares across tokenizers"),
    Measure("words_right", "words right", "%", 1, "share of those words all of whose pieces are the best guesses"),
    Measure(
        "sentence_bits",
        "bits per byte, pseudo",
        "bits",
        -1,
        "pseudo-log-likelihood of whole sentences, each piece hidden in turn with the rest of its word; a causal "
        "model's likelihood",
    ),
    Measure(
        "pairs", "minimal pairs", "%", 1, "the acceptable sentence is the more probable one; ties count one half"
    ),
    Measure("probe", "linear probe", "%", 1, "labels read off mean vectors of the frozen encoder"),
    Measure("finetuned", "fine-tuned", "%", 1, "labels of the same texts, the whole encoder trained on"),
    Measure("entities", "entities, F1", "%", 1, "of named entities, strict, the whole encoder trained on"),
)
COSTS = (
    Measure("steps", "steps", "", 0, "optimiser updates"),
    Measure("tokens", "tokens", "", 0, "read in training, padding left out"),
    Measure("flops", "FLOPs", "", 0, "that the objective had to do, however it was computed"),
    Measure("seconds", "training time", "s", 0, "of optimiser updates"),
    Measure("tokens_per_second", "tokens a second", "", 0, "in training"),
    Measure(
        "peak_bytes",
        "peak memory",
        "bytes",
        0,
        "resident in the training process, libraries included, and what earlier runs of the same command left: "
        "compare it only where each run had a command of its own; on a GPU that of tensors there",
    ),
    Measure("parameters", "parameters", "", 0, "of everything that was trained"),
)


@dataclass(frozen=True)
class RunResult:
    """One run: its numbers, why some are missing, sums by document [2, units], and held-out losses on the way.

    ``curve`` has equally long lists "tokens", "steps", "flops", "seconds" and "loss".
    """

    seed: int
    values: Mapping[str, float | None]
    reasons: Mapping[str, str]
    units: Mapping[str, NDArray[np.float64]]
    curve: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class ArmResult:
    """One arm: what it is, the settings that set it apart, its finished runs.

    ``caveats`` say by the name of a measure in what it asks this arm another question than the others.
    """

    name: str
    label: str
    about: str
    settings: Mapping[str, Any]
    runs: Sequence[RunResult]
    caveats: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> dict[int, float]:
        """Return a number by seed, where there is one."""
        found = {run.seed: run.values.get(name) for run in self.runs}
        return {seed: float(value) for seed, value in found.items() if value is not None and math.isfinite(value)}

    def units(self, name: str) -> NDArray[np.float64] | None:
        """Return sums by document added up over seeds; None where runs do not have the same documents."""
        parts = [run.units[name] for run in self.runs if name in run.units]
        if not parts or len({part.shape for part in parts}) > 1:
            return None
        total: NDArray[np.float64] = np.sum(parts, axis=0)
        return total


def build(facts: Mapping[str, Any], arms: Sequence[ArmResult]) -> dict[str, Any]:
    """Return the whole report as data for JSON; ``facts`` are taken over as they are."""
    measures = [_measure(one, arms) for one in MEASURES]
    return {
        **facts,
        "reference": arms[0].name,
        "arms": [_arm(arm) for arm in arms],
        "measures": measures,
        "costs": [_cost(one, arms) for one in COSTS],
        "own_terms": {arm.name: _own(arm) for arm in arms},
        "caveats": _caveat_lines(measures, arms),
        "summary": _summary(measures, arms[0].label, arms[0].name),
        "reading": [line for one in measures for line in one["reading"]],
    }


def not_measured(report: Mapping[str, Any]) -> list[str]:
    """Say which measures arms do not have and why, a line for all that the same arms lack for the same reason."""
    labels = {arm["name"]: arm["label"] for arm in report["arms"]}
    lacking: dict[tuple[str, str], list[str]] = {}
    for one in report["measures"]:
        if one["reasons"]:
            is_of_all = len(one["reasons"]) == len(labels)
            who = "" if is_of_all else f" of {', '.join(labels[arm] for arm in one['reasons'])}"
            why = "; ".join(dict.fromkeys(one["reasons"].values()))
            lacking.setdefault((who, why), []).append(one["title"])
    return [f"Not measured: {', '.join(titles)}{who} ({why})." for (who, why), titles in lacking.items()]


def _summary(measures: Sequence[Mapping[str, Any]], first: str, reference: str) -> str:
    """Count the differences that can be told."""
    verdicts = [each["verdict"] for one in measures for each in one["differences"].values()]
    if not verdicts:
        return "There is nothing to set side by side yet."
    unlike = sum(_is_unlike(each, reference, name) for each in measures for name in each["differences"])
    said = f" {unlike} of them set unlike questions side by side, see *." if unlike else ""
    if set(verdicts) == {"one seed"}:
        told = "of one seed: whether they would come again is not known"
        return f"{len(verdicts)} differences from {first}, {told}.{said}"
    better, worse = verdicts.count("better"), verdicts.count("worse")
    return (
        f"Of {len(verdicts)} differences from {first}, {better + worse} can be told from chance: {better} better, "
        f"{worse} worse.{said}"
    )


def _caveat_lines(measures: Sequence[Mapping[str, Any]], arms: Sequence[ArmResult]) -> list[str]:
    """Say of every arm in what it was asked another question, measures of one answer together."""
    lines = []
    for arm in arms:
        told: dict[str, list[str]] = {}
        for one in measures:
            if arm.name in one["caveats"]:
                told.setdefault(one["caveats"][arm.name], []).append(one["title"])
        lines += [f"{capital('; '.join(titles))} of {arm.label}: {said}." for said, titles in told.items()]
    return lines


def _is_unlike(measure: Mapping[str, Any], *arms: str) -> bool:
    """Tell whether a measure asks these arms different questions."""
    return len({measure["caveats"].get(arm) for arm in arms}) > 1


def capital(text: str) -> str:
    """Begin with a capital letter."""
    return text[:1].upper() + text[1:]


def shown(value: float | None, unit: str) -> str:
    """Write a number as a person reads it; a share as percent, large counts as k, M, G, T, P."""
    if value is None:
        return "–"
    if unit == "%":
        return f"{100 * value:.1f}%"
    if unit == "s":
        return f"{value / 60:.1f} min" if value >= 90 else f"{value:.1f} s"
    if unit == "bytes":
        return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"
    if unit:
        return f"{value:.3f}"
    for power, letter in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{value / 10**power:.3g} {letter}"
    return f"{value:,.0f}"


def differing(values: Sequence[float], unit: str) -> list[str]:
    """Write differences with their signs, with as many digits as tell the first from 0 and them from each other."""
    scaled = [100 * value if unit == "%" else value for value in values]
    usual = 1 if unit == "%" else 3
    sizes = [abs(value) for value in scaled if value]
    digits = max(usual, min(usual + 3, 1 - math.floor(math.log10(min(sizes))))) if sizes else usual
    written = [f"{value:+.{digits}f}" for value in scaled]
    return ["0" if float(one) == 0.0 else one for one in written]


def unit_of(measure: Mapping[str, Any]) -> str:
    """Return the unit of a difference of two values of a measure."""
    return "points" if measure["unit"] == "%" else str(measure["unit"])


def _arm(arm: ArmResult) -> dict[str, Any]:
    runs = [
        {"seed": run.seed, "values": dict(run.values), "reasons": dict(run.reasons), "curve": dict(run.curve)}
        for run in arm.runs
    ]
    return {"name": arm.name, "label": arm.label, "about": arm.about, "settings": dict(arm.settings), "runs": runs}


def _cost(measure: Measure, arms: Sequence[ArmResult]) -> dict[str, Any]:
    values = {arm.name: list(arm.value(measure.name).values()) for arm in arms}
    means = {name: math.fsum(each) / len(each) if each else None for name, each in values.items()}
    return {**asdict(measure), "arms": means}


def _own(arm: ArmResult) -> dict[str, float]:
    names = sorted({name for run in arm.runs for name in run.values if name.startswith("own_")})
    values = {name.removeprefix("own_"): list(arm.value(name).values()) for name in names}
    return {name: math.fsum(each) / len(each) for name, each in values.items() if each}


def _measure(measure: Measure, arms: Sequence[ArmResult]) -> dict[str, Any]:
    by_seed = {arm.name: arm.value(measure.name) for arm in arms}
    means = {name: asdict(mean_of(list(values.values()))) if values else None for name, values in by_seed.items()}
    reasons = {
        arm.name: run.reasons[measure.name] for arm in arms for run in arm.runs if measure.name in run.reasons
    }
    differences = _differences(measure, arms, by_seed)
    caveats = {arm.name: arm.caveats[measure.name] for arm in arms if measure.name in arm.caveats}
    return {
        **asdict(measure),
        "arms": means,
        "values": {name: {str(seed): value for seed, value in each.items()} for name, each in by_seed.items()},
        "reasons": reasons,
        "caveats": {name: said for name, said in caveats.items() if by_seed[name]},
        "differences": differences,
        "reading": _reading(measure, arms, differences) if any(means.values()) else [],
    }


def _differences(
    measure: Measure, arms: Sequence[ArmResult], by_seed: Mapping[str, Mapping[int, float]]
) -> dict[str, dict[str, Any]]:
    """Return how every arm differs from the first, by the seeds both have, corrected for the number of arms."""
    reference = arms[0]
    found: dict[str, dict[str, Any]] = {}
    for arm in arms[1:]:
        seeds = [seed for seed in by_seed[arm.name] if seed in by_seed[reference.name]]
        if not seeds:
            continue
        mine, theirs = ([by_seed[name][seed] for seed in seeds] for name in (arm.name, reference.name))
        found[arm.name] = asdict(paired_difference(mine, theirs)) | {
            "documents": _over_documents(measure, arm, reference)
        }
    tested = [name for name, difference in found.items() if difference["p"] is not None]
    for name, p in zip(tested, holm([found[name]["p"] for name in tested]), strict=True):
        found[name]["p_holm"] = p
    for difference in found.values():
        difference["verdict"] = _verdict(measure, difference)
    return found


def _over_documents(measure: Measure, arm: ArmResult, reference: ArmResult) -> list[float] | None:
    if [run.seed for run in arm.runs] != [run.seed for run in reference.runs]:
        return None
    mine, theirs = arm.units(measure.name), reference.units(measure.name)
    if mine is None or theirs is None or mine.shape != theirs.shape:
        return None
    low, high = paired_bootstrap(mine, theirs)
    return [low, high] if math.isfinite(low) and math.isfinite(high) else None


def _verdict(measure: Measure, difference: Mapping[str, Any]) -> str:
    p = difference.get("p_holm")
    if p is None:
        return "one seed"
    if p >= LEVEL or difference["mean"] == 0.0:
        return "unclear"
    return "better" if difference["mean"] * measure.better > 0 else "worse"


def _reading(
    measure: Measure, arms: Sequence[ArmResult], differences: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Say in plain words what the differences of a measure show, and no more."""
    labels = {arm.name: arm.label for arm in arms}
    first = labels[arms[0].name]
    caveats = {arm.name: arm.caveats.get(measure.name) for arm in arms}
    lines = []
    for name, one in differences.items():
        is_unlike = caveats[name] != caveats[arms[0].name]
        unlike = [labels[each] for each in (name, arms[0].name) if is_unlike and caveats[each]]
        told = f" Another question is asked of {' and of '.join(unlike)}, see *." if unlike else ""
        lines.append(_sentence(measure, labels[name], first, one) + told)
    return [f"{capital(measure.title)}: {line}" for line in lines]


def _sentence(measure: Measure, label: str, first: str, difference: Mapping[str, Any]) -> str:
    count, unit, documents = difference["count"], unit_of(asdict(measure)), _document_sentence(measure, difference)
    both = f"{label} against {first}"
    if difference["verdict"] == "one seed":
        (size,) = differing([difference["mean"]], measure.unit)
        return f"{both}: {size} {unit} with one seed; another may say otherwise.{documents}"
    if difference["low"] is None:
        (size,) = differing([difference["mean"]], measure.unit)
        alike = f"{size} {unit} with each of {count} seeds, no interval"
        return f"{both}: they cannot be told apart ({alike}).{documents}"
    size, low, high = differing([difference[end] for end in ("mean", "low", "high")], measure.unit)
    interval = f"{size} {unit}, 95% interval {low} to {high}, {count} seeds, p = {difference['p_holm']:.2g}"
    if difference["verdict"] != "unclear":
        return f"{both}: {difference['verdict']} ({interval})."
    is_apart = difference["p"] < LEVEL
    why = "once the number of arms is corrected for" if is_apart else f"with {count} seeds"
    return f"{both}: they cannot be told apart {why} ({interval}).{documents}"


def _document_sentence(measure: Measure, difference: Mapping[str, Any]) -> str:
    """Add that the very runs differ over the texts, where seeds do not show that training them again would."""
    if difference["documents"] is None or difference["verdict"] in ("better", "worse"):
        return ""
    low, high = difference["documents"]
    if low <= 0.0 <= high:
        return ""
    ends = " to ".join(differing([low, high], measure.unit))
    return f" These very runs do differ over the texts measured ({ends} {unit_of(asdict(measure))})."
