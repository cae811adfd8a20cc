"""What a run wrote down about itself, as columns of numbers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import DataError
from clozelm.train.journal import JOURNAL, records
from clozelm.train.record import RECORD, completed, read_record

_MASKED = {"mlm", "nsp", "sop", "rtd", "distill", "hybrid"}


@dataclass(frozen=True)
class RunFacts:
    """A run: its record, its journal and where it lies; ``store_tokens`` where its token store was named."""

    path: Path
    record: dict[str, Any]
    journal: list[dict[str, Any]]
    vocab_size: int | None
    store_tokens: int | None = None
    price: float | None = None

    @classmethod
    def of(cls, path: Path, *, store_tokens: int | None = None, price: float | None = None) -> RunFacts:
        """Read a run; raises ``DataError`` where its files cannot be read."""
        record = read_record(path)
        if record is None:
            raise DataError(f"{path} holds no run ({RECORD} is missing).")
        file = path / JOURNAL
        journal = [dict(each) for each in records(file) if "step" in each] if file.is_file() else []
        record = {**record, "settings": completed(record["settings"])}
        return cls(path, record, journal, _vocab_size(path), store_tokens, price)

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved settings."""
        settings: dict[str, Any] = self.record["settings"]
        return settings

    @property
    def num_steps(self) -> int:
        """Steps that were planned."""
        return int(self.record["num_steps"])

    @property
    def step(self) -> int:
        """The last step done."""
        return int(self.journal[-1]["step"]) if self.journal else 0

    @property
    def unigram(self) -> float | None:
        """Loss of knowing only frequencies, in nats; None where the run does not predict hidden pieces."""
        value = self.record.get("unigram_nats")
        return float(value) if value and self.settings["objective"]["name"] in _MASKED else None

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a figure of every record, NaN where there is none."""
        return np.array([_number(each.get(name)) for each in self.journal])

    def measured(self, name: str) -> list[tuple[int, float]]:
        """Return (step, value) of the records that have a figure."""
        found = ((int(each["step"]), _number(each.get(name))) for each in self.journal)
        return [(step, value) for step, value in found if not math.isnan(value)]

    @cached_property
    def smoothed(self) -> NDArray[np.float64]:
        """The loss as a running mean over a twentieth of the records, at least five; missing ones left out."""
        loss = self.column("loss")
        known = loss[np.isfinite(loss)]
        width = min(max(5, len(known) // 20), max(len(known), 1))
        return np.convolve(known, np.full(width, 1 / width), "valid") if len(known) else known

    @property
    def is_from_scratch(self) -> bool:
        """Whether the run began with new weights."""
        return self.settings["model"].get("start") is None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _vocab_size(path: Path) -> int | None:
    for folder in ("generator", "model"):
        file = path / folder / "config.json"
        if file.is_file():
            try:
                size = json.loads(file.read_text(encoding="utf-8")).get("vocab_size")
            except (ValueError, AttributeError):
                return None
            return size if isinstance(size, int) else None
    return None
