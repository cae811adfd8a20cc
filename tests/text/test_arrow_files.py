"""Parquet, Arrow and directories of data sets: as the library that writes them reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clozelm.errors import DataError
from clozelm.text.arrow_files import is_arrow
from clozelm.text.conll import read_tagged
from clozelm.text.labelled import Wanted, read_examples

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()

ROWS = {
    "text": ["good", "bad", "so so"],
    "label": [1, 0, 1],
    "tokens": [["a", "b"], ["c"], ["d"]],
    "ner_tags": [[0, 1], [2], [0]],
}
EXPECTED = [("good", "pos"), ("bad", "neg"), ("so so", "pos")]


def data_set(**changed: Any) -> Any:
    names = datasets.ClassLabel(names=["neg", "pos"])
    tags = datasets.List(datasets.ClassLabel(names=["O", "B-PER", "I-PER"]))
    text = datasets.Value("string")
    features = {"text": text, "label": names, "tokens": datasets.List(text), "ner_tags": tags}
    return datasets.Dataset.from_dict(ROWS | changed, features=datasets.Features(features))


def read(path: Path) -> list[tuple[Any, Any]]:
    return [(each.texts[0], each.label) for each in read_examples(path, Wanted()).examples]


def saved(folder: Path) -> Path:
    data_set().save_to_disk(str(folder / "saved"), num_shards=2)
    return folder / "saved"


def split(folder: Path) -> Path:
    datasets.DatasetDict({"train": data_set(), "test": data_set()}).save_to_disk(str(folder / "splits"))
    return folder / "splits" / "train"


def parquet(folder: Path) -> Path:
    data_set().to_parquet(str(folder / "a.parquet"))
    return folder / "a.parquet"


def shards(folder: Path) -> Path:
    """As the Hub has them: the shards of every split in data/."""
    (folder / "hub" / "data").mkdir(parents=True)
    for place in range(3):
        part = data_set().select([place])
        part.to_parquet(str(folder / "hub" / "data" / f"train-{place:05d}-of-00003.parquet"))
    data_set().to_parquet(str(folder / "hub" / "data" / "test-00000-of-00001.parquet"))
    return folder / "hub" / "train"


def arrow_file(folder: Path) -> Path:
    table = pa.Table.from_pylist([{"text": text, "label": label} for text, label in EXPECTED])
    with pa.OSFile(str(folder / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return folder / "a.arrow"


def old_features(folder: Path) -> Path:
    """Without metadata in the file, and lists as older versions write them."""
    table = pa.table({"text": ROWS["text"], "label": pa.array(ROWS["label"], pa.int8())})
    pq.write_table(table, folder / "old.parquet")
    features = {"label": {"_type": "ClassLabel", "names": ["neg", "pos"]}, "x": [{"_type": "Value"}]}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder / "old.parquet"


@pytest.mark.parametrize("write", [saved, split, parquet, shards, arrow_file, old_features])
def test_every_layout_gives_names_of_classes(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    assert is_arrow(path)
    assert read(path) == EXPECTED


@pytest.mark.parametrize("write", [saved, split, parquet, shards])
def test_tags_are_resolved_too(write: Callable[[Path], Path], tmp_path: Path) -> None:
    found = read_tagged(write(tmp_path)).sentences
    assert [(each.words, each.tags) for each in found] == [
        (("a", "b"), ("O", "B-PER")),
        (("c",), ("I-PER",)),
        (("d",), ("O",)),
    ]


def test_rows_are_named(tmp_path: Path) -> None:
    found = read_examples(saved(tmp_path), Wanted()).examples
    files = sorted((tmp_path / "saved").glob("*.arrow"))
    assert [each.source for each in found] == [f"{files[0]}:1", f"{files[0]}:2", f"{files[1]}:1"]
    assert found[0].record["tokens"] == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pa.array([1.0, 0.0]), "1"),
        (pa.array(["x", "y"]).dictionary_encode(), "x"),
        (pa.array([True, False]), "True"),
    ],
)
def test_types_of_labels(value: Any, expected: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": value}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[0] == ("a", expected)


def no_label(folder: Path) -> Path:
    data_set(label=[1, -1, 0]).save_to_disk(str(folder / "test"))
    return folder / "test"


def gone(folder: Path) -> Path:
    path = saved(folder)
    next(path.glob("*.arrow")).unlink()
    return path


def incomplete(folder: Path) -> Path:
    path = shards(folder)
    (path.parent / "data" / "train-00001-of-00003.parquet").unlink()
    return path


def indices(folder: Path) -> Path:
    path = saved(folder)
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "i.arrow"}]}))
    return path


def broken_state(folder: Path) -> Path:
    path = saved(folder)
    (path / "state.json").write_text("{")
    return path


def bytes_column(folder: Path) -> Path:
    pq.write_table(pa.table({"text": [b"\xff"], "label": ["x"]}), folder / "b.parquet")
    return folder / "b.parquet"


def out_of_range(folder: Path) -> Path:
    path = old_features(folder)
    pq.write_table(pa.table({"text": ["a"], "label": [7]}), path)
    return path


def not_text(folder: Path) -> Path:
    array = pa.Array.from_buffers(pa.binary(), 1, pa.array([b"\xff"]).buffers()).view(pa.string())
    pq.write_table(pa.table({"text": array, "label": ["x"]}), folder / "n.parquet")
    return folder / "n.parquet"


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda folder: split(folder).parent, r"has the splits train, test: name one, as in .*train"),
        (lambda folder: split(folder).parent / "dev", r"no such split; .* has train, test"),
        (lambda folder: shards(folder).parent, r"has Parquet files of test, train: name one"),
        (lambda folder: folder, r"a directory without .*state\.json"),
        (no_label, r"arrow:2: label 'label' is missing \(null\)"),
        (gone, r"is missing; state\.json lists it"),
        (incomplete, r"has 2 of 3 Parquet files of train"),
        (indices, r"flatten_indices"),
        (broken_state, r"state\.json: cannot be read as JSON"),
        (bytes_column, r"b\.parquet:1: field 'text' is a bytes, not text"),
        (out_of_range, r"old\.parquet:1: field 'label' is 7, which is none of the 2 classes"),
        (not_text, r"n\.parquet: cannot be read as Parquet"),
    ],
)
def test_what_cannot_be_read_is_said(write: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read(write(tmp_path))
    assert "\n" not in str(caught.value)
