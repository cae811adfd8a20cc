"""What a fine-tuned model's figures are called, how they are written, and what they are held against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from clozelm.report.comparison import Measure
from clozelm.report.statistics import Mean, mean_of

Results = Mapping[str, Any]

_KNOWN = (
    Measure("accuracy", "accuracy", "%", 1, "share that is right"),
    Measure("within_one", "within one step", "%", 1, "share that is right or next to it on the scale"),
    Measure("mae_steps", "mean distance", "", -1, "steps of the scale between answer and truth"),
    Measure("balanced_accuracy", "balanced accuracy", "%", 1, "mean recall of the labels"),
    Measure("top_5_accuracy", "top-5 accuracy", "%", 1, "share whose label is among the five most probable"),
    Measure("exact_match", "exact match", "%", 1, "share all of whose labels are right and none is missing"),
    Measure("subset_accuracy", "exact match", "%", 1, "share all of whose labels are right and none is missing"),
    Measure("precision", "precision", "%", 1, "share of what was found that is right"),
    Measure("recall", "recall", "%", 1, "share of what is there that was found"),
    Measure("f1", "F1", "%", 1, "harmonic mean of precision and recall"),
    Measure(
        "f1_default_mode", "F1, default mode", "%", 1, "as seqeval counts when not strict, parts of entities too"
    ),
    Measure("micro_f1", "micro F1", "%", 1, "F1 of all decisions counted together"),
    Measure("macro_f1", "macro F1", "%", 1, "mean of the labels' F1, rare labels as heavy as frequent ones"),
    Measure("weighted_f1", "weighted F1", "%", 1, "mean of the labels' F1 by how frequent they are"),
    Measure("average_precision", "average precision", "%", 1, "area under precision over recall"),
    Measure("roc_auc", "ROC AUC", "%", 1, "how often a right label is ranked above a wrong one"),
    Measure("hamming_loss", "Hamming loss", "%", -1, "share of single decisions that are wrong"),
    Measure("mcc", "Matthews correlation", "", 1, "0 is chance, 1 is perfect"),
    Measure("matthews", "Matthews correlation", "", 1, "0 is chance, 1 is perfect"),
    Measure("log_loss", "log loss", "nats", -1, "mean of -log p of the true label"),
    Measure("loss", "loss", "", -1, ""),
    Measure("brier", "Brier score", "", -1, "mean squared error of the probabilities"),
    Measure("ece", "calibration error", "%", -1, "mean distance of confidence from accuracy"),
    Measure("pearson", "Pearson correlation", "", 1, "of truth and prediction"),
    Measure("spearman", "Spearman correlation", "", 1, "of the ranks of truth and prediction"),
    Measure("r2", "R²", "", 1, "share of the variance that is explained"),
    Measure("rmse", "root mean squared error", "", -1, "in the unit of the labels"),
    Measure("mse", "mean squared error", "", -1, "in the squared unit of the labels"),
    Measure("mae", "mean absolute error", "", -1, "in the unit of the labels"),
)
FIGURES = {one.name: one for one in _KNOWN}


@dataclass(frozen=True)
class Baseline:
    """What a figure would be without any model; ``doing`` says by which means."""

    value: float
    doing: str


def figure(name: str) -> Measure:
    """Return what is known of a figure; of an unknown one its name in plain words."""
    return FIGURES.get(name) or Measure(name, name.replace("_", " "), "", 1)


def number(value: object) -> float | None:
    """Return a finite number, None for everything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None  # type: ignore[arg-type]


def written(value: object, name: str) -> str:
    """Write the value of a figure: shares as percent, others with three or more digits that count."""
    known = number(value)
    if known is None:
        return "–"
    if figure(name).unit == "%":
        return f"{100 * known:.1f}%"
    size = math.floor(math.log10(abs(known))) if known else 0
    digits = min(2 - size, 6) if size < -1 else max(3 - max(size, 0), 0)
    return f"{known:,.{digits}f}".replace("-", "−")


def percent(share: float) -> str:
    """Write a share with a digit after the point only near 0 and 1, which themselves are kept for none and all."""
    if 0.0 < share < 0.0995 or 0.9905 <= share < 1.0:
        return f"{100 * min(max(share, 0.001), 0.999):.1f}%"
    return f"{100 * share:.0f}%"


def value_of(one: object) -> float | None:
    """Return a figure's value, whether given alone or with its interval."""
    return number(one.get("value") if isinstance(one, Mapping) else one)


def interval_of(one: object) -> tuple[float, float] | None:
    """Return a figure's interval where it has one."""
    if not isinstance(one, Mapping):
        return None
    low, high = number(one.get("low")), number(one.get("high"))
    return None if low is None or high is None else (low, high)


def interval_text(one: object, name: str) -> str:
    """Write a figure's interval, or nothing where it has none."""
    interval = interval_of(one)
    return "" if interval is None else f"{written(interval[0], name)} to {written(interval[1], name)}"


def names_of(results: Results) -> list[str]:
    """Return the names of all figures that have a value, the one that chose the checkpoint first."""
    figures = results.get("figures") or {}
    names = [name for name, one in figures.items() if value_of(one) is not None]
    return sorted(names, key=lambda name: name != results.get("metric"))


def over_seeds(results: Results) -> dict[str, tuple[Mean, list[tuple[Any, float]]]]:
    """Return each figure's mean over seeds with its t-interval, and its (seed, value); nothing for one seed."""
    seeds = results.get("seeds") or []
    if len(seeds) < 2:
        return {}
    found: dict[str, list[tuple[Any, float]]] = {}
    for one in seeds:
        for name, each in (one.get("figures") or {}).items():
            value = value_of(each)
            if value is not None:
                found.setdefault(name, []).append((one.get("seed"), value))
    order = sorted(found, key=lambda name: name != results.get("metric"))
    return {name: (mean_of([value for _, value in found[name]]), found[name]) for name in order}


def baseline(results: Results, name: str) -> Baseline | None:
    """Return what always giving the label most frequent in training would reach, from the counts alone.

    For a number, what always giving the mean of the measured examples would reach. None where it does not follow.
    """
    if results.get("problem") == "regression":
        return _constant(results, name)
    counts = results.get("counts") or {}
    train, dev = counts.get("train") or {}, counts.get("dev") or {}
    if not train or not dev:
        return None
    most = max(train, key=lambda label: train[label])
    doing = f"Always answering “{most}”, the most frequent label in training, would reach"
    share = _share(results, name, hits=dev.get(most, 0), dev=dev)
    return None if share is None else Baseline(share, doing)


def _share(results: Results, name: str, *, hits: int, dev: Mapping[str, int]) -> float | None:
    labels = results.get("labels") or list(dev)
    total = sum(dev.values())
    if not total:
        return None
    if results.get("task") == "tag":  # the counts of tags are of words, figures of entities do not follow
        return hits / total if name == "accuracy" and "O" in dev else None
    if results.get("problem") == "multi":
        answers = (results.get("examples") or {}).get("dev") or 0
        return 2 * hits / (answers + total) if answers and name == "micro_f1" else None
    share = hits / total
    f1 = 2 * share / (1 + share)
    known = {"accuracy": share, "micro_f1": share, "weighted_f1": share * f1, "mcc": 0.0, "matthews": 0.0}
    if all(dev.get(label) for label in labels):  # else it is a convention whether an absent label counts
        known |= {"macro_f1": f1 / len(labels), "balanced_accuracy": 1 / len(labels)}
    return known.get(name)


def _constant(results: Results, name: str) -> Baseline | None:
    truth = [value for pair in results.get("scatter") or [] if (value := number(pair[0])) is not None]
    is_whole = len(truth) == (results.get("examples") or {}).get("dev")
    if name == "r2":
        return Baseline(0.0, "Always answering the mean would reach")
    if name not in ("rmse", "mse") or not truth or not is_whole:
        return None
    mean = math.fsum(truth) / len(truth)
    square = math.fsum((value - mean) ** 2 for value in truth) / len(truth)
    return Baseline(square if name == "mse" else math.sqrt(square), "Always answering the mean would reach")


def headline(results: Results) -> list[str]:
    """Say in plain sentences what was trained on what, how good it is, and how good no model would be."""
    sentences = [_what(results)]
    names = names_of(results)
    if not names:
        return [*sentences, "Nothing has been measured."]
    name = names[0]
    sentences += [_reached(results, name), *_untrained(results), *_one_label(results)]
    means = over_seeds(results)
    if name in means:
        mean = means[name][0]
        interval = interval_text({"low": mean.low, "high": mean.high}, name)
        reach = f" (95% t-interval {interval})" if interval else ", the same with each"
        sentences.append(f"Over {mean.count} seeds the mean is {written(mean.mean, name)}{reach}.")
    return [*sentences, *_against(results, names)]


def short_name(path: object) -> str:
    """Return the last part of a path, which is what people call a file or a model."""
    return PurePath(str(path)).name or str(path)


def model_name(results: Results) -> str:
    """Return what a model is called: the last part of its path that is not just "model"."""
    parts = [part for part in PurePath(str(results.get("model") or "")).parts if part not in ("model", "/")]
    return parts[-1] if parts else "The model"


def _what(results: Results) -> str:
    train, model = results.get("train"), model_name(results)
    count, steps = (results.get("examples") or {}).get("train"), (results.get("training") or {}).get("steps")
    learned = f"{model} learned {_aim(results)}"
    read = f"{count:,} {_unit(results)}" if count else ""
    read += f" of {short_name(train)}" if train and count else short_name(train) if train else ""
    terms = ", ".join(part for part in (read, f"{steps:,} steps" if steps else "") if part)
    return f"{learned}: {terms}." if terms else f"{learned}."


def _unit(results: Results) -> str:
    return "sentences" if results.get("task") == "tag" else "examples"


def _reached(results: Results, name: str) -> str:
    """Say what the first figure is, on what."""
    one, count = results["figures"][name], (results.get("examples") or {}).get("dev")
    asked = f"{count:,} {_unit(results)}" if count else f"the {_unit(results)}"
    if results.get("dev_is_held_out"):
        asked += " kept apart from training"
    elif results.get("dev"):
        asked += f" of {short_name(results['dev'])}"
    value, interval = written(value_of(one), name), interval_text(one, name)
    between = f" (95% interval {interval})" if interval else ""
    if name == "accuracy" and results.get("task") == "tag":
        return f"It tags {value} of the words of {asked} right{between}."
    if name == "accuracy":
        return f"It labels {value} of {asked} right{between}."
    return f"On {asked} its {figure(name).title} is {value}{between}."


def _untrained(results: Results) -> list[str]:
    """Say that training came to nothing, where a prompt answers best as it is."""
    training = results.get("training") or {}
    if not training.get("steps") or training.get("best_step") != 0 or "zero_shot" not in results:
        return []
    return ["No evaluation was better than before training, so the untrained model is kept."]


def _one_label(results: Results) -> list[str]:
    """Say that every answer is the same label, which a figure alone may hide."""
    confusion, labels = results.get("confusion") or {}, results.get("labels") or ()
    if results.get("task") == "tag" or results.get("problem") != "single" or len(labels) < 2 or not confusion:
        return []
    given = [label for label, *column in zip(confusion["labels"], *confusion["counts"], strict=True) if any(column)]
    if len(given) != 1 or sum(map(sum, confusion["counts"])) < 2:
        return []
    return [f"It gives every one of them the same label, {given[0]}."]


def _aim(results: Results) -> str:
    """Say what the model answers."""
    labels: Sequence[str] = results.get("labels") or ()
    if results.get("task") == "tag":
        types = {str(label).partition("-")[2] for label in labels} - {""}
        return f"to mark {len(types)} types of entities" if len(types) > 1 else "to mark entities in sentences"
    if results.get("problem") == "regression":
        return "to give a number to texts"
    if results.get("problem") == "multi":
        return f"which of {len(labels)} labels hold for a text" if labels else "which labels hold for a text"
    return f"to tell {len(labels)} labels apart" if labels else "to label texts"


def _against(results: Results, names: Sequence[str]) -> list[str]:
    """Hold the first figure that has a baseline against it, and say whether chance alone could explain the lead."""
    for name in names:
        base = baseline(results, name)
        if base is None:
            continue
        one = results["figures"][name]
        named = (
            ""
            if name == names[0]
            else f" in {figure(name).title}, where the model has {written(value_of(one), name)}"
        )
        said = [f"{base.doing} {written(base.value, name)}{named}."]
        interval = interval_of(one)
        better = figure(name).better
        if interval is not None and (interval[0] <= base.value <= interval[1]):
            said.append("The model cannot be told from that.")
        elif (value_of(one) or 0.0) * better < base.value * better:
            said.append("The model is worse than that.")
        return said
    return []
