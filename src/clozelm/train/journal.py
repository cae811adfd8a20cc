"""The run's journal: one JSON record a line, appended as training goes; and its mirror in TensorBoard."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from clozelm.errors import DataError

JOURNAL = "journal.jsonl"

Value = bool | int | float | str | None
Record = dict[str, Value]


class Journal:
    """An append-only file of flat records; each is with the operating system as soon as it is written.

    ``resumed_step`` cuts the journal back to where a run takes up again: from the first record of a later
    step on, everything goes, so that the journal of an interrupted run is that of an uninterrupted one
    (except for times). A last line that a crash tore is cut off. Without ``resumed_step`` the journal
    continues as it is.
    """

    def __init__(self, path: Path, resumed_step: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab")  # noqa: SIM115 - open as long as the run
        self._file.truncate(_length_kept(path, resumed_step))

    def write(self, record: Mapping[str, Value]) -> None:
        """Append one record; numbers that are not finite become null, for JSON has none."""
        line = json.dumps({key: _plain(value) for key, value in record.items()}, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Force everything onto the disk; do so before a checkpoint that the journal must reach up to."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing can be written any more."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def records(path: Path) -> Iterator[Record]:
    """Read a journal, also while it is being written: an incomplete last line is left out.

    A damaged line anywhere else is a DataError naming it.
    """
    for number, record in numbered(path):
        if record is None:
            raise DataError(f"{path}:{number}: not a journal record; remove the line to read the rest.")
        yield record


def numbered(path: Path) -> Iterator[tuple[int, Record | None]]:
    """Read a journal as ``records`` does, with the number of each line, and None for a damaged one."""
    with open(path, "rb") as file:
        for number, (line, is_complete) in enumerate(_lines(file), start=1):
            record = _parse(line)
            if record is not None or is_complete:
                yield number, record


@contextmanager
def journal_errors(out: Path) -> Iterator[None]:
    """Say in one line that the journal of the run in ``out`` cannot be written, and that nothing of it is lost."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{out / JOURNAL} cannot be written: {error.strerror}. The last checkpoint is kept: start again to "
            "resume."
        ) from error


class TensorBoard:
    """Scalars of the records for TensorBoard; its packages are imported at the first record."""

    def __init__(self, folder: Path, resumed_step: int | None = None) -> None:
        self._folder = folder
        self._first_step = None if resumed_step is None else resumed_step + 1
        self._writer: Any = None

    def write(self, record: Mapping[str, Value]) -> None:
        """Show every finite number of a record over its "step"; a record without one is not shown."""
        step = record.get("step")
        if not isinstance(step, int):
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=self._first_step)
        for key, value in record.items():
            if key != "step" and type(value) in (int, float) and _plain(value) is not None:
                self._writer.add_scalar(key, value, step)

    def sync(self) -> None:
        """Write out what is pending."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write out what is pending."""
        if self._writer is not None:
            self._writer.close()


def _length_kept(path: Path, resumed_step: int | None) -> int:
    length = 0
    with open(path, "rb") as file:
        for line, is_complete in _lines(file):
            record = _parse(line)
            if record is None or not is_complete or _is_later(record, resumed_step):
                break
            length += len(line)
    return length


def _lines(file: Any) -> Iterator[tuple[bytes, bool]]:
    return ((line, line.endswith(b"\n")) for line in file)


def _is_later(record: Record, step: int | None) -> bool:
    own = record.get("step")
    return step is not None and isinstance(own, int) and own > step


def _parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and type(record.get("step", 0)) is int else None


def _plain(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value
