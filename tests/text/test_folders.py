"""Directories of tables and JSON: shards are one set, splits are named or found."""

from pathlib import Path

import pytest

from clozelm.errors import DataError
from clozelm.text.folders import train_and_dev
from clozelm.text.labelled import Wanted, read_examples

A, B, C = "text,label\na,x\n", "label,text\ny,b\n", "text,label\nc,x\n"


def folder(place: Path, **files: str) -> Path:
    place.mkdir()
    for name, content in files.items():
        (place / name.replace("__", ".")).write_text(content, encoding="utf-8")
    return place


def texts(path: Path) -> list[str]:
    return [each.texts[0] for each in read_examples(path, Wanted()).examples]


def test_shards_are_one_set_in_the_order_of_their_names(tmp_path: Path) -> None:
    place = folder(tmp_path / "d", b__csv=B, a__csv=A, c__csv=C, notes__md="#", info__json="{}")
    found = read_examples(place, Wanted())
    assert [(each.texts[0], each.label) for each in found.examples] == [("a", "x"), ("b", "y"), ("c", "x")]
    assert [each.source for each in found.examples] == [f"{place}/{name}.csv:2" for name in "abc"]
    arrays = folder(
        tmp_path / "j", a__json='[{"text": "a", "label": "x"}]', b__json='[{"text": "b", "label": "y"}]'
    )
    assert texts(arrays) == ["a", "b"]


@pytest.mark.parametrize("dev", ["dev", "validation", "valid", "val"])
def test_splits_are_found_and_named(dev: str, tmp_path: Path) -> None:
    files = {"train-0__csv": A, "train-1__csv": C, f"{dev}__csv": B, "test__csv": B}
    place = folder(tmp_path / "d", **files)
    assert train_and_dev(place, None) == (place / "train", place / dev)
    assert train_and_dev(place, tmp_path) == (place / "train", tmp_path)
    assert texts(place / "train") == ["a", "c"]
    assert texts(place / dev) == ["b"]
    with pytest.raises(DataError, match=r"has files of .*test, train.*: name one, as in"):
        texts(place)


def test_what_is_no_split_stays_as_it_is(tmp_path: Path) -> None:
    place = folder(tmp_path / "d", training_set__csv=A, trainee__csv=C)
    assert train_and_dev(place / "trainee.csv", None) == (place / "trainee.csv", None)
    assert texts(place / "trainee.csv") == ["c"]
    assert train_and_dev(tmp_path / "nothing", None) == (tmp_path / "nothing", None)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a__csv": A, "b__jsonl": "{}"}, "has files of .csv and .jsonl: name one file"),
        ({"a__csv": A, "b__csv": "text,stars\nb,1\n"}, "has the fields 'text', 'stars', but"),
        ({"notes__txt": A}, "without .csv, .tsv, .jsonl or .parquet"),
        ({"a__csv": A, "b__csv": "text,label\n"}, "b.csv: there is a header and no record"),
    ],
)
def test_mistakes(files: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        texts(folder(tmp_path / "d", **files))
    assert said in str(caught.value)


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        texts(folder(tmp_path / "d", train__csv=A) / "dev")
