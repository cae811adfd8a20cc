"""Checkpoints as atomic directories: whole and verified, or not there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import safetensors.torch
import torch
from torch import Tensor

from clozelm.errors import DataError

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
FORMAT = 1
_STEP = re.compile(r"step-(\d{6,})")
_ASIDE = ".tmp-"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found whole: where it is, its step and what was noted beside it."""

    path: Path
    step: int
    meta: dict[str, Any]

    def load(self, name: str, device: torch.device | str = "cpu") -> Any:
        """Return one part of the payload as it was written; only tensors and plain values are ever built."""
        tensors = self.path / f"{name}.safetensors"
        if tensors.exists():
            return safetensors.torch.load_file(tensors, device=str(device))
        return torch.load(self.path / f"{name}.pt", map_location=device, weights_only=True)


def write(root: Path, step: int, payload: Mapping[str, Any], meta: Mapping[str, Any], keep: int) -> Checkpoint:
    """Write ``root/checkpoints/step-...`` so that it exists whole or not at all; then drop all but ``keep``.

    A part that is a flat dict of tensors becomes a safetensors file, anything else (nested dicts and
    lists of tensors, numbers and strings) a ``.pt`` file without code. Everything is written aside,
    flushed to disk with its checksums, and renamed; older checkpoints go only after that. A whole
    checkpoint of the same step is left as it is, since a run is a function of its settings. A full or
    failing disk is a DataError; the last checkpoint stays.
    """
    folder = root / FOLDER
    target = folder / f"step-{step:06d}"
    for name, part in payload.items():
        _check_plain(part, name)
    if target.exists() and _damage(target) is None:
        return opened(target)
    aside = folder / f"{_ASIDE}{target.name}"
    try:
        _remove(aside)
        aside.mkdir(parents=True)
        _write_files(aside, step, payload, meta)
        _set_aside(target)
        aside.rename(target)
        _flush_folder(folder)
    except OSError as error:
        _remove(aside)
        raise DataError(_failure(folder, target, error)) from error
    _prune(folder, keep)
    return opened(target)


def states(root: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield every checkpoint of a run, newest first, with what is wrong with it, None where it is whole.

    Nothing is changed, and each is read only when it is asked for. One that the run drops meanwhile is left out.
    """
    folder = root / FOLDER
    for path in reversed(_steps(folder) if folder.is_dir() else []):
        damage = _damage(path)
        if damage is None or path.exists():
            yield path, damage


def newest(root: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint of a run and what to tell the user about the others.

    For the process that owns the run: what an interrupted write left behind is removed, and a damaged
    checkpoint is renamed to ``damaged-step-...`` so that it is met once. None when there is no whole
    checkpoint.
    """
    folder = root / FOLDER
    notices: list[str] = []
    if not folder.is_dir():
        return None, notices
    for left in folder.glob(f"{_ASIDE}*"):
        _remove(left)
    for path, damage in states(root):
        if damage is None:
            return opened(path), notices
        moved = _set_aside(path)
        notices.append(f"{path}: {damage}; kept as {moved.name}, the checkpoint before it is used.")
    if notices:
        notices[-1] = notices[-1].replace("the checkpoint before it is used", "there is none before it")
    return None, notices


def _write_files(aside: Path, step: int, payload: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    files: dict[str, dict[str, int]] = {}
    for name, part in payload.items():
        if _is_tensors(part):
            filename = f"{name}.safetensors"
            content = safetensors.torch.save({key: value.contiguous() for key, value in part.items()})
            with _flushed(aside / filename, files) as file:
                file.write(content)
        else:
            with _flushed(aside / f"{name}.pt", files) as file:
                file.save(part)
    manifest = {"format": FORMAT, "step": step, "files": files, "meta": dict(meta)}
    manifest["crc32"] = _manifest_digest(manifest)
    with _flushed(aside / MANIFEST, {}) as file:
        file.write(json.dumps(manifest, indent=1).encode())
    _flush_folder(aside)


class _DigestedFile:
    """A file that sums up what passes through; keeps the disk's own error, which torch.save would replace."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._error: OSError | None = None
        self.crc32 = 0
        self.size = 0

    def write(self, content: bytes) -> int:
        try:
            self._file.write(content)
        except OSError as error:
            self._error = error
            raise
        self.crc32 = zlib.crc32(content, self.crc32)
        self.size += len(content)
        return len(content)

    def flush(self) -> None:
        self._file.flush()

    def save(self, part: Any) -> None:
        try:
            torch.save(part, self)  # type: ignore[arg-type]
        except (OSError, RuntimeError):
            if self._error is not None:
                raise self._error from None
            raise


@contextlib.contextmanager
def _flushed(path: Path, files: dict[str, dict[str, int]]) -> Iterator[_DigestedFile]:
    """Open a new file; on leaving it is on the disk and noted in ``files``."""
    with open(path, "wb") as raw:
        file = _DigestedFile(raw)
        yield file
        raw.flush()
        os.fsync(raw.fileno())
    files[path.name] = {"bytes": file.size, "crc32": file.crc32}


def _damage(path: Path) -> str | None:
    """Say what is wrong with a checkpoint, or None: every file has the size and checksum of the manifest."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        stated = manifest.pop("crc32")
        if stated != _manifest_digest(manifest):
            return f"{MANIFEST} is damaged"
        if manifest["format"] != FORMAT:
            return f"format {manifest['format']} is not this program's {FORMAT}"
        for name, expected in manifest["files"].items():
            if (path / name).stat().st_size != expected["bytes"]:
                return f"{name} has {(path / name).stat().st_size} bytes instead of {expected['bytes']}"
            if _digest(path / name) != expected["crc32"]:
                return f"the checksum of {name} is wrong"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    return None


def opened(path: Path) -> Checkpoint:
    """Read what is noted beside a checkpoint that is whole; for any checkpoint see ``newest`` and ``states``."""
    manifest = json.loads((path / MANIFEST).read_bytes())
    return Checkpoint(path, int(manifest["step"]), manifest["meta"])


def _digest(path: Path) -> int:
    crc32 = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            crc32 = zlib.crc32(block, crc32)
    return crc32


def _manifest_digest(manifest: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


def _is_tensors(part: Any) -> bool:
    return isinstance(part, dict) and bool(part) and all(isinstance(value, Tensor) for value in part.values())


def _check_plain(part: Any, where: str) -> None:
    """Refuse what could not be loaded back without running code; a mistake of the caller's."""
    if isinstance(part, dict):
        for key, value in part.items():
            _check_plain(key, f"{where}, a key")
            _check_plain(value, f"{where}.{key}")
    elif isinstance(part, list | tuple):
        for index, value in enumerate(part):
            _check_plain(value, f"{where}[{index}]")
    elif part is not None and type(part) not in (bool, int, float, str, Tensor, torch.nn.Parameter):
        raise TypeError(f"{where} is a {type(part).__name__}: only tensors, numbers and strings")


def _steps(folder: Path) -> list[Path]:
    """Return the checkpoints' folders, oldest first."""
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _STEP.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def _prune(folder: Path, keep: int) -> None:
    for path in _steps(folder)[: -max(1, keep)]:
        # Renamed first: a half-removed folder must not look like a checkpoint.
        leaving = folder / f"{_ASIDE}old-{path.name}"
        path.rename(leaving)
        _remove(leaving)


def _set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint out of the way, replacing an earlier one of the same step."""
    moved = path.with_name(f"damaged-{path.name}")
    if path.exists():
        _remove(moved)
        path.rename(moved)
    return moved


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failure(folder: Path, target: Path, error: OSError) -> str:
    kept = [path.name for path in _steps(folder) if path != target] if folder.is_dir() else []
    last = f"The last checkpoint, {kept[-1]}, is kept" if kept else "There is no earlier checkpoint"
    return f"Cannot write {target}: {error.strerror}. {last}; make room there and start again to resume."
