"""Directories that appear whole or not at all: written aside, flushed, renamed."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clozelm.errors import DataError, SettingsError


class AtomicDirectory:
    """Build a directory beside its place and move it there with one rename."""

    def __init__(self, path: str | Path, *, replace: bool, is_ours: Callable[[Path], bool]) -> None:
        """Refuse a place that is not empty, unless ``replace`` and ``is_ours`` says what is there may go."""
        self.path = Path(path).absolute()
        check_free(self.path, replace=replace, is_ours=is_ours)
        self.building = self.path.with_name(f".{self.path.name}.partial-{os.getpid()}")
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(self.path)
            shutil.rmtree(self.building, ignore_errors=True)
            self.building.mkdir()

    def commit(self) -> None:
        """Flush every file to the disk and move the directory to its place."""
        with disk_errors(self.path):
            for file in sorted(self.building.rglob("*")):
                _flush(file)
            _flush(self.building)
            old = self.path.with_name(f".{self.path.name}.replaced-{os.getpid()}")
            if self.path.exists():
                self.path.rename(old)
            self.building.rename(self.path)
            _flush(self.path.parent)
            shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Remove what was built and not committed."""
        shutil.rmtree(self.building, ignore_errors=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusals (disk full, no permission) into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason = (
                "the disk is full" if error.errno == errno.ENOSPC else "the quota or file size limit is reached"
            )
            raise DataError(f"{path} could not be written: {reason}. Nothing was kept; free some space.") from error
        raise DataError(f"{path} could not be written: {error.strerror or error}.") from error


def check_free(path: Path, *, replace: bool, is_ours: Callable[[Path], bool]) -> None:
    """Refuse a place that is not empty, unless ``replace`` and ``is_ours`` says what is there may go."""
    check_writable(path)
    if not path.exists() or not any(path.iterdir()):
        return
    if not is_ours(path):
        raise DataError(f"{path} is not empty and holds something else: name another directory.")
    if not replace:
        raise DataError(f"{path} is there already: pass --force to replace it, or name another directory.")


def check_writable(path: Path) -> None:
    """Refuse a directory that cannot be made or written: a file, a place below one, or one without permission."""
    with disk_errors(path):
        place = path.absolute()
        there = next(each for each in (place, *place.parents) if each.exists())
        if not there.is_dir():
            where = "is a file" if there == place else f"would lie below {there}, which is a file"
            raise DataError(f"{path} {where}: name a directory.")
        if not os.access(there, os.W_OK | os.X_OK):
            raise DataError(f"{path} could not be written: {there} may not be written in. Name another directory.")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is all there or as it was before; a device is written as it is."""
    with disk_errors(path):
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8", newline="")
            return
        target = path.resolve()
        aside = target.with_name(f".{target.name}.partial-{os.getpid()}")
        try:
            aside.write_text(text, encoding="utf-8", newline="")
            aside.replace(target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep other processes from working in a directory; the system lets go of it however this one ends.

    One that works there already is a ``SettingsError``. On a file system without locks nothing is kept out.
    """
    with disk_errors(directory):
        handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"{directory} is being worked in by another process: wait for it, or name another --out."
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def is_worked_in(directory: Path) -> bool:
    """Tell whether a process is working in a directory, see ``alone``; nothing there is changed."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _remove_abandoned(path: Path) -> None:
    for left in path.parent.glob(f".{path.name}.partial-*"):
        with suppress(ValueError, PermissionError):
            try:
                os.kill(int(left.name.rpartition("-")[2]), 0)
            except ProcessLookupError:
                shutil.rmtree(left, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
