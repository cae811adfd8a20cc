"""Directories of tables and of JSON: which files are the shards of which split."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from clozelm.errors import DataError
from clozelm.text.arrow_files import arrow_splits
from clozelm.text.files import FORMATS, suffix_of

RECORDS = ("csv", "tsv", "jsonl")
_TRAIN, _DEV = ("train", "training"), ("dev", "validation", "valid", "val", "eval")
_SPLIT = re.compile(rf"({'|'.join((*_TRAIN, *_DEV, 'test'))})(?![a-z])", re.IGNORECASE)


def shards(path: Path) -> list[Path]:
    """Return the files of records that a directory holds, or ``DIR/train`` of it; none where it holds other things.

    Files whose names begin with train, dev, validation, test or the like are of that split, others of none. Raises
    ``DataError`` for a directory of several splits, and for shards of different formats.
    """
    folder, split = (path, None) if path.is_dir() else (path.parent, path.name)
    if split is not None and (path.exists() or not folder.is_dir()):
        return []
    groups = _groups(folder)
    if not groups or (split is not None and split not in groups):
        return []
    if split is None and len(groups) > 1:
        named = sorted(filter(None, groups))
        raise DataError(f"{path}: has files of {', '.join(named)}: name one, as in {path / named[0]}.")
    files = groups[split] if split is not None else next(iter(groups.values()))
    kinds = sorted({suffix_of(each) for each in files})
    if len(kinds) > 1:
        raise DataError(f"{path}: has files of {' and '.join(kinds)}: name one file.")
    return files


def train_and_dev(train: Path, dev: Path | None) -> tuple[Path, Path | None]:
    """Return what is learned from and judged on if ``train`` is a directory of both; ``dev`` counts where given."""
    if not train.is_dir():
        return train, dev
    splits = [*arrow_splits(train)] or sorted(filter(None, _groups(train)))
    learned = next((each for each in _TRAIN if each in splits), None)
    if learned is None:
        return train, dev
    judged = next((train / each for each in _DEV if each in splits), None)
    return train / learned, judged if dev is None else dev


def _groups(folder: Path) -> dict[str, list[Path]]:
    """Return the files of records in a directory by split, "" for none; .json files where there are no others."""
    files = [each for each in sorted(folder.iterdir()) if each.is_file() and not each.name.startswith(".")]
    found = [each for each in files if FORMATS.get(suffix_of(each)) in RECORDS]
    if not found and not any(each.name in ("state.json", "dataset_dict.json") for each in files):
        found = [each for each in files if suffix_of(each) == ".json"]
    if any(each.name.endswith(".parquet") for each in files):
        return {}
    groups: dict[str, list[Path]] = defaultdict(list)
    for each in found:
        match = _SPLIT.match(each.name)
        groups[match[1].lower() if match else ""].append(each)
    return dict(groups)
