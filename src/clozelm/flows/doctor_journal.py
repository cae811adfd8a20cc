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

from clozelm.errors import DataError, SettingsError
from clozelm.train import checkpoint
from clozelm.train.journal import JOURNAL, numbered
from clozelm.train.record import RECORD, known, read_record

_MASKED = {"mlm", "nsp", "sop", "rtd", "distill", "hybrid"}


@dataclass(frozen=True)
class RunFacts:
    """A run: its record, its journal and where it lies; ``store_tokens`` where its token store was named.

    ``damaged_lines`` are the numbers of lines of the journal that are no records.
    """

    path: Path
    record: dict[str, Any]
    journal: list[dict[str, Any]]
    vocab_size: int | None
    damaged_lines: list[int]
    store_tokens: int | None = None
    price: float | None = None

    @classmethod
    def of(cls, path: Path, *, store_tokens: int | None = None, price: float | None = None) -> RunFacts:
        """Read a run; raises ``DataError`` where its files cannot be read."""
        record = read_record(path)
        if record is None:
            raise DataError(f"{path} holds no run ({RECORD} is missing).")
        unigram = record.get("unigram_nats")
        if unigram is not None and math.isnan(_number(unigram)):
            raise DataError(f"{path / RECORD} is damaged: unigram_nats={unigram!r} is no number.")
        try:
            record = {**record, "settings": known(record["settings"])}
        except SettingsError as error:
            raise DataError(f"{path / RECORD} is damaged: {error}") from None
        file = path / JOURNAL
        lines = list(numbered(file)) if file.is_file() else []
        journal = [dict(each) for _, each in lines if each is not None and "step" in each]
        damaged = [number for number, each in lines if each is None]
        return cls(path, record, journal, _vocab_size(path), damaged, store_tokens, price)

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
    def is_finished(self) -> bool:
        """Whether the last step was done, or the model that is written after it is there."""
        return self.step >= self.num_steps or (self.path / "model").is_dir()

    @cached_property
    def checkpoints(self) -> list[tuple[Path, str | None]]:
        """Every checkpoint, newest first, with what is wrong with it; each is read once."""
        return list(checkpoint.states(self.path))

    @property
    def unigram(self) -> float | None:
        """Loss of knowing only frequencies, in nats; None where the run does not predict hidden pieces."""
        value = self.record.get("unigram_nats")
        return float(value) if value and self.settings["objective"]["name"] in _MASKED else None

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a figure of every record, NaN where there is none or it is not finite."""
        return np.array([_number(each.get(name)) for each in self.journal])

    def finite(self, name: str) -> NDArray[np.float64]:
        """Return a figure of the records where it is a finite number."""
        column = self.column(name)
        return column[np.isfinite(column)]

    def measured(self, name: str) -> list[tuple[int, float]]:
        """Return (step, value) of the records where a figure is a finite number."""
        found = ((int(each["step"]), _number(each.get(name))) for each in self.journal)
        return [(step, value) for step, value in found if not math.isnan(value)]

    @cached_property
    def smoothed(self) -> NDArray[np.float64]:
        """The loss as a running mean over a twentieth of the records, at least five; missing ones left out."""
        loss = self.finite("loss")
        width = min(max(5, len(loss) // 20), max(len(loss), 1))
        return np.convolve(loss, np.full(width, 1 / width), "valid") if len(loss) else loss

    @property
    def is_from_scratch(self) -> bool:
        """Whether the run began with new weights."""
        return self.settings["model"].get("start") is None


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _vocab_size(path: Path) -> int | None:
    for folder in ("generator", "model"):
        file = path / folder / "config.json"
        if file.is_file():
            try:
                size = json.loads(file.read_text(encoding="utf-8")).get("vocab_size")
            except (ValueError, AttributeError, OSError):
                return None
            return size if type(size) is int and size > 1 else None
    return None
