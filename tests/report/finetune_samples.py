"""Results of fine-tunings that never were, as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np

TEXTS = (
    "the film is not without its charms , but they are few and far between",
    "a gorgeous , witty , seductive movie",
    "Which flight leaves Boston for Denver early on a Tuesday morning?",
    "long " * 200 + "end",
)


def journal(steps: int = 800, every: int = 100) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    records: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        loss = 0.25 + 0.9 * np.exp(-step / 150) + 0.12 * rng.gamma(2.0)
        record = {"step": step, "num_steps": steps, "loss": float(loss), "learning_rate": 1e-4, "seconds": 0.1}
        if step % every == 0:
            record["dev_loss"] = float(0.45 + 0.4 * np.exp(-step / 150) + 0.00012 * step)
            record["dev"] = {"accuracy": float(0.9 - 0.3 * np.exp(-step / 200)), "f1": 0.5, "pearson": 0.7}
        records.append(record)
    return records


def interval(value: float, reach: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - reach, "high": value + reach}


def bins(sharpness: float) -> dict[str, Any]:
    counts = np.array([0, 0, 0, 2, 5, 12, 20, 26, 30, 41, 55, 70, 100, 180, 460])
    each = [
        {"low": i / 15, "high": (i + 1) / 15, "count": int(count), "confidence": (i + 0.5) / 15}
        | {"accuracy": float(np.clip((i + 0.5) / 15 * (1 - sharpness) + 0.3 * sharpness, 0, 1))}
        for i, count in enumerate(counts)
    ]
    return {"ece": 0.3 * sharpness, "log_loss": 0.4 + sharpness, "bins": each}


def confusion(names: list[str], *, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    counts = np.diag(rng.integers(10, 120, len(names)))
    for _ in range(4 * len(names)):
        i, j = rng.integers(len(names), size=2)
        counts[i, j] += 1 + rng.integers(4)
    return {"labels": names, "counts": counts.tolist()}


def single(names: list[str]) -> dict[str, Any]:
    """A classifier of one label a text."""
    matrix = confusion(names)
    support = {name: sum(row) for name, row in zip(names, matrix["counts"], strict=True)}
    train = {name: 9 * count for name, count in support.items()}
    rng = np.random.default_rng(1)
    return {
        "task": "classify",
        "problem": "single",
        "labels": names,
        "model": "runs/bert/model",
        "train": "data/reviews/train.csv",
        "dev": "data/reviews/dev.csv",
        "dev_is_held_out": False,
        "counts": {"train": train, "dev": support},
        "examples": {"train": sum(train.values()), "dev": sum(support.values())},
        "notes": [
            "3 texts of dev are also in train; they were left in.",
            "2 empty texts in train.csv were skipped.",
        ],
        "metric": "accuracy",
        "figures": {"macro_f1": interval(0.843), "accuracy": interval(0.871), "log_loss": interval(0.412)},
        "per_class": [
            {"label": name, "precision": p, "recall": r, "f1": 2 * p * r / (p + r), "support": support[name]}
            for name, (p, r) in zip(names, rng.uniform(0.5, 1.0, (len(names), 2)).tolist(), strict=True)
        ],
        "confusion": matrix,
        "calibration": {"temperature": 1.62, "before": bins(0.25), "after": bins(0.03)},
        "hardest": [
            {"text": text, "truth": names[0], "predicted": names[-1], "probability": 0.998 - 0.01 * i}
            | {"source": f"data/reviews/dev.csv:{17 * i + 2}"}
            for i, text in enumerate(TEXTS)
        ],
        "training": {"epochs": 3, "steps": 800, "best_step": 600, "seconds": 183.0}
        | {"examples_per_second": 148.2, "tokens": 812_345},
        "seeds": None,
        "settings": {"seed": 0, "optimizer": {"name": "adamw", "learning_rate": 5e-5}, "class_weights": None},
    }


def tagged() -> dict[str, Any]:
    """A tagger of four types of entities."""
    names = ["PER", "LOC", "ORG", "creative-work"]
    matrix = confusion([*names, "no entity"], seed=3)
    for row in matrix["counts"]:
        row[-1] = 6
    matrix["counts"][-1] = [3, 5, 2, 0, 0]
    return single(names) | {
        "task": "tag",
        "labels": ["O", *(f"{part}-{name}" for name in names for part in "BI")],
        "train": "train.conll",
        "dev": "dev.conll",
        "counts": {
            "train": {"O": 20_000, "B-PER": 900, "I-PER": 500},
            "dev": {"O": 2_000, "B-PER": 90, "I-PER": 51},
        },
        "metric": "f1",
        "figures": {name: interval(0.8 + 0.01 * i) for i, name in enumerate(("precision", "recall", "f1"))},
        "confusion": matrix,
        "notes": ["Figures are of whole entities, by seqeval in strict mode, scheme BIO."],
        "seeds": [
            {"seed": seed, "figures": {"f1": {"value": 0.81 + 0.004 * seed}, "recall": 0.80 + 0.01 * seed}}
            for seed in range(5)
        ],
    }


def numbers() -> dict[str, Any]:
    """A model that gives numbers."""
    rng = np.random.default_rng(5)
    truth = rng.uniform(0, 5, 400)
    answers = np.clip(truth + rng.normal(0, 0.5, 400), 0, 5)
    return single(["score"]) | {
        "problem": "regression",
        "counts": {},
        "examples": {"train": 3_600, "dev": 400},
        "metric": "pearson",
        "figures": {"pearson": interval(0.941), "spearman": interval(0.933), "rmse": interval(0.502)},
        "per_class": [],
        "confusion": None,
        "calibration": None,
        "scatter": np.stack([truth, answers], axis=1).tolist(),
        "hardest": [{"text": TEXTS[0], "truth": "4.8", "predicted": "1.9", "probability": None, "source": "dev:3"}],
    }


def several() -> dict[str, Any]:
    """A classifier of any number of labels a text."""
    names = ["anger", "joy", "love", "surprise"]
    return single(names) | {
        "problem": "multi",
        "counts": {"train": dict.fromkeys(names, 50), "dev": dict(zip(names, (20, 10, 5, 5), strict=True))},
        "examples": {"train": 120, "dev": 30},
        "metric": "micro_f1",
        "figures": {"micro_f1": interval(0.7), "exact_match": interval(0.5)},
        "confusion": None,
    }


TRIALS = [
    {"trial": 0, "settings": {"learning_rate": 3e-5, "epochs": 3, "batch": 32}, "value": 0.861, "seconds": 100.0},
    {"trial": 1, "settings": {"learning_rate": 1e-4, "epochs": 2, "batch": 32}, "value": 0.871, "seconds": 70.0},
    {"trial": 2, "settings": {"learning_rate": 1e-3, "epochs": 2, "batch": 32}, "value": None, "state": "stopped"},
]

CURVES = {
    "title": "Labels needed",
    "metric": "accuracy",
    "lines": [
        {
            "name": name,
            "points": [{"x": x, **interval(top - 0.3 * (x / 67) ** -0.4, 0.04 * (x / 67) ** -0.3)} for x in xs],
        }
        for name, top in (("pretrained here", 0.9), ("random weights", 0.83))
        for xs in [(67, 673, 6734)]
    ],
}
