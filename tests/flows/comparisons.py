"""Recipes of tiny comparisons, and one that was trained, for the tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from clozelm.flows import compare
from clozelm.flows.compare_settings import Comparison
from tests import tiny_runs

QUIET = Console(quiet=True)
ARMS: dict[str, dict[str, Any]] = {
    "uniform": {"label": "single pieces", "about": "as in BERT"},
    "words": {"masking": {"strategy": "whole_word"}},
}


def toml(table: Mapping[str, Any], prefix: str = "") -> str:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"[{prefix}]"] if prefix else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines.append(toml(value, f"{prefix}.{json.dumps(key)}" if prefix else json.dumps(key)))
    return "\n".join(lines) + "\n"


def recipe(folder: Path, arms: Mapping[str, Any] = ARMS, **changes: Any) -> Path:
    base = {key: value for key, value in tiny_runs.TINY.items() if key != "budget"}
    terms = {"budget": "steps", "amount": 4, "seeds": [0, 1], "title": "pieces or words"} | changes
    path = folder / "comparison.toml"
    path.write_text(toml({"compare": terms, "base": base, "arms": arms}), encoding="utf-8")
    return path


def started(comparison: Comparison, data: Path, out: Path, **options: Any) -> compare.Plan:
    plan = compare.begin(comparison, data=data, out=out)
    assert compare.train_arms(plan, console=QUIET, **options)
    return plan
