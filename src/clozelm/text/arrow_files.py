"""Read Arrow and Parquet files, and directories as the `datasets` library leaves them; names replace class ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clozelm.errors import DataError
from clozelm.text.files import COMPRESSIONS

_ROWS = 1024
_SHARD = re.compile(r"(?P<split>.+?)-(?P<place>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?\.parquet")
_STATE, _SPLITS, _INFO = "state.json", "dataset_dict.json", "dataset_info.json"


ClassNames = Mapping[str, tuple[str, ...]]
"""The names that the ids in a column stand for, by column."""


def is_arrow(path: Path) -> bool:
    """Whether a path is for this module: a directory, a .parquet or .arrow file, or a split of a directory."""
    is_file = re.search(r"\.(parquet|arrow)(\.\w+)?$", path.name.lower()) is not None
    return (
        is_file or path.is_dir() or (not path.exists() and bool(_shards_of_split(path) or _has_splits(path.parent)))
    )


def arrow_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every record with where it stands (``file:row``); ids of classes come as the names of these.

    A directory is what ``Dataset.save_to_disk`` writes or one of Parquet shards; where it has several splits,
    ``DIR/train`` names one.
    """
    for file in _files_of(path):
        row = 0
        for classes, records in _batches(file):
            for record in records:
                row += 1
                yield f"{file}:{row}", _named(record, classes, f"{file}:{row}")


def arrow_splits(path: Path) -> list[str]:
    """Return the splits of a directory of Arrow or Parquet files; none where it has no names for them."""
    if _has_splits(path):
        return _splits(path)
    files = [*path.glob("*.parquet"), *path.glob("data/*.parquet")]
    matches = {each: _SHARD.fullmatch(each.name) for each in files}
    return sorted({match["split"] if match else each.stem for each, match in matches.items()})


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        if shards := _shards_of_split(path):
            return _complete(shards, path)
        if _has_splits(path.parent):
            raise DataError(f"{path}: no such split; {path.parent} has {', '.join(_splits(path.parent))}.")
        raise DataError(f"{path}: no such file or directory.")
    if _has_splits(path):
        splits = _splits(path)
        one = splits[0] if splits else "train"
        raise DataError(f"{path}: has the splits {', '.join(splits)}: name one, as in {path / one}.")
    if (path / _STATE).is_file():
        return _saved_files(path)
    shards = sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))
    if not shards:
        raise DataError(
            f"{path}: a directory without .csv, .tsv, .jsonl or .parquet files, and without {_STATE}, as "
            "`Dataset.save_to_disk` writes it; name one file."
        )
    return _complete(shards, path)


def _saved_files(path: Path) -> list[Path]:
    """List the files of a saved data set, in order."""
    state = _json(path / _STATE)
    if state.get("_indices_data_files"):
        raise DataError(f"{path}: was saved with indices: load it and save it again after `flatten_indices()`.")
    try:
        files = [path / each["filename"] for each in state["_data_files"]]
    except (KeyError, TypeError):
        raise DataError(f"{path / _STATE}: does not list the files of a data set.") from None
    if missing := [each for each in files if not each.is_file()]:
        raise DataError(f"{missing[0]}: is missing; {_STATE} lists it.")
    return files


def _complete(shards: list[Path], path: Path) -> list[Path]:
    """Check that shards are those of one split, and all of them."""
    matches = [_SHARD.fullmatch(each.name) for each in shards]
    splits = sorted({match["split"] if match else each.stem for match, each in zip(matches, shards, strict=True)})
    if len(splits) > 1:
        raise DataError(f"{path}: has Parquet files of {', '.join(splits)}: name one, as in {path / splits[0]}.")
    counts = {int(match["count"]) for match in matches if match}
    if counts and counts != {len(shards)}:
        raise DataError(f"{path}: has {len(shards)} of {max(counts)} Parquet files of {splits[0]}.")
    return shards


def _shards_of_split(path: Path) -> list[Path]:
    """List the Parquet files of a split that is named as if it were in the directory: DIR/train."""
    found = []
    for folder in (path.parent, path.parent / "data"):
        if folder.is_dir():
            for each in sorted(folder.glob("*.parquet")):
                match = _SHARD.fullmatch(each.name)
                if (match["split"] if match else each.stem) == path.name:
                    found.append(each)
    return found


def _has_splits(path: Path) -> bool:
    return (path / _SPLITS).is_file()


def _splits(path: Path) -> list[str]:
    return [str(each) for each in _json(path / _SPLITS).get("splits", [])]


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}).") from None
    return value if isinstance(value, dict) else {}


def _batches(path: Path) -> Iterator[tuple[ClassNames, list[dict[str, Any]]]]:
    if path.suffix.lower() in COMPRESSIONS:
        raise DataError(f"{path}: is compressed inside; unpack the outer {path.suffix} first.")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{path}: reading it needs the package pyarrow: `pip install pyarrow`.") from None
    is_parquet = path.suffix.lower() == ".parquet"
    try:
        if is_parquet:
            with pyarrow.parquet.ParquetFile(path) as file:
                classes = _class_columns(file.schema_arrow, path)
                yield from ((classes, batch.to_pylist()) for batch in file.iter_batches(batch_size=_ROWS))
            return
        with pyarrow.memory_map(str(path)) as source:
            try:
                table = pyarrow.ipc.open_stream(source).read_all()
            except pyarrow.ArrowInvalid:
                source.seek(0)
                table = pyarrow.ipc.open_file(source).read_all()
            classes = _class_columns(table.schema, path)
            yield from ((classes, batch.to_pylist()) for batch in table.to_batches(max_chunksize=_ROWS))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        kind = "Parquet" if is_parquet else "Arrow"
        raise DataError(f"{path}: cannot be read as {kind} ({_first_line(error)}).") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _class_columns(schema: Any, path: Path) -> dict[str, tuple[str, ...]]:
    """Find the columns of class ids in what `datasets` writes into a file, or beside it."""
    names = list(schema.names)
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise DataError(f"{path}: two columns are called {twice[0]!r}; rename one.")
    features = None
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        if (path.parent / _INFO).is_file():
            features = _json(path.parent / _INFO).get("features")
    found = {name: _class_names(feature) for name, feature in (features or {}).items()}
    return {name: classes for name, classes in found.items() if classes}


def _class_names(feature: Any) -> tuple[str, ...]:
    """Return the names of a ``ClassLabel``, or of a list of them as one or the other version writes it."""
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    elif isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
        feature = feature["feature"]
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return ()
    return tuple(map(str, feature.get("names") or ()))


def _named(record: dict[str, Any], classes: ClassNames, where: str) -> dict[str, Any]:
    """Put names where there are ids of classes; -1, which `datasets` writes for no label, becomes None."""
    for field in classes.keys() & record.keys():
        value = record[field]
        if isinstance(value, list):
            record[field] = [_class(each, classes[field], f"{where}: field {field!r}") for each in value]
        else:
            record[field] = _class(value, classes[field], f"{where}: field {field!r}")
    return record


def _class(value: Any, classes: tuple[str, ...], where: str) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    if value == -1:
        return None
    raise DataError(f"{where} is {value!r}, which is none of the {len(classes)} classes of the file.")
