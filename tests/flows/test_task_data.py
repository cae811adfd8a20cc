"""From files to a task: what is read, repaired, refused and said."""

from pathlib import Path

import pytest

from clozelm.errors import DataError, SettingsError
from clozelm.flows.task_data import ClassifyRequest, TagRequest, TaskData, checked_scheme, classify_data, tag_data
from clozelm.tasks import tags
from clozelm.tasks.tag import Tag
from clozelm.text.labelled import Wanted

TRAIN = "the O\ncat B-PET\nred I-PET\nran O\n\na O\ndog B-PET\nmat B-THING\n\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def tagged(tmp_path: Path, dev: str, train: str = TRAIN, scheme: tags.Scheme | None = None) -> TaskData:
    files = written(tmp_path / "train.conll", train), written(tmp_path / "dev.conll", dev)
    return tag_data(TagRequest(*files, scheme=scheme))


@pytest.mark.parametrize(
    ("dev", "read", "notes"),
    [
        ("a O\ncat S-PET\n\nmat B-THING\ncat E-THING\n\n", ["O B-PET", "B-THING I-THING"], ["its BIOES tags"]),
        ("a O\ncat U-PET\n\nmat B-THING\ncat L-THING\n\n", ["O B-PET", "B-THING I-THING"], ["its BIOES tags"]),
        ("a O\ncat I-PET\ndog B-PET\n\nmat I-THING\n\n", ["O B-PET B-PET", "B-THING"], ["its IOB1 tags"]),
        ("a O\ncat I-PET\n\n", ["O B-PET"], ["its IO tags"]),
        ("a O\ncat B-PET\n\nred B-THING\nmat B-THING\n\n", ["O B-PET", "B-THING B-THING"], []),
        ("a O\ncat O\n\n", ["O O"], ["no word has a tag other than O"]),
    ],
)
def test_tags_of_dev_are_written_in_the_scheme_of_train(
    dev: str, read: list[str], notes: list[str], tmp_path: Path
) -> None:
    data = tagged(tmp_path, dev)
    assert [" ".join(sentence.tags) for sentence in data.split.dev] == read
    assert isinstance(data.task, Tag)
    assert data.task.scheme == "BIO"
    said = [note for note in data.notes if note.startswith("dev: ") and "prefixes L, U" not in note]
    assert len(said) == len(notes)
    assert all(part in note for part, note in zip(notes, said, strict=True))


@pytest.mark.parametrize("other", ["BIOES", "BILOU", "IO", "IOB1"])
def test_any_scheme_is_written_in_any_other(other: tags.Scheme, tmp_path: Path) -> None:
    legal = [["O", "B-PET", "I-PET", "O", "B-PET"], ["O", "B-PET", "B-THING"]]
    text = "".join("".join(f"cat {tag}\n" for tag in tags.convert(one, "BIO", other)) + "\n" for one in legal)
    for train, dev in ((TRAIN, text), (text, TRAIN)):
        data = tagged(tmp_path, dev, train)
        assert isinstance(data.task, Tag)
        for sentence in (*data.split.train, *data.split.dev):
            assert set(sentence.tags) <= set(data.task.labels)
            assert not tags.check([sentence.tags], data.task.scheme)


def test_tags_that_cannot_be_read_name_the_file(tmp_path: Path) -> None:
    mixed = "a B-PET\n\na I-PET\n\n"
    with pytest.raises(DataError, match=r"dev\.conll: 1 entities begin with B .*--scheme"):
        tagged(tmp_path, mixed)
    with pytest.raises(DataError, match=r"train\.conll:1: Tag 'B-PET' is none of IO"):
        tagged(tmp_path, TRAIN, scheme="IO")
    with pytest.raises(DataError, match=r"dev\.conll:3: tag 'B-FISH' \(and 1 more\) does not occur in train"):
        tagged(tmp_path, "a O\n\ncod B-FISH\nx I-FISH\n\n")


def test_schemes_go_by_their_usual_names() -> None:
    assert [checked_scheme(name) for name in ("iob2", "IOB", "iobes", "bilou", "bioul", None)] == [
        *("BIO", "IOB1", "BIOES", "BILOU", "BILOU"),
        None,
    ]
    with pytest.raises(SettingsError, match="use BIO, IOB1, BIOES, BILOU or IO"):
        checked_scheme("iob3")


def classified(tmp_path: Path, rows: str, wanted: Wanted | None = None) -> TaskData:
    path = written(tmp_path / "a.csv", "text,label\n" + rows)
    return classify_data(ClassifyRequest(path, wanted=wanted or Wanted()))


def test_labels_are_counted_before_some_are_held_out(tmp_path: Path) -> None:
    data = classified(tmp_path, "a,x\nb,x\nc,y\nd,y\n")
    assert data.notes == ()
    assert len(data.split.train) == len(data.split.dev) == 2
    with pytest.raises(DataError, match=r"a\.csv: field 'label' has the one label 'x' in 20 records"):
        classified(tmp_path, "".join(f"text {number},x\n" for number in range(20)))
    data = classified(tmp_path, "a,x\nb,x\nc,y\n")
    assert len(data.notes) == 1
    assert data.notes[0].endswith("a.csv: 1 ('y')")


def test_numbers_as_labels_are_found_out_without_dev(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv: field 'label' has 40 different values .* --problem regression"):
        classified(tmp_path, "".join(f"text {number},{number * 1.5}\n" for number in range(40)))
    with pytest.raises(DataError, match=r"a\.csv: every label has one example, .* --dev"):
        classified(tmp_path, "a,x\nb,y\n")
    with pytest.raises(DataError, match=r"a\.csv: has one example, .* --dev"):
        classified(tmp_path, "a,1.5\n", Wanted(problem="multi", separator=";"))
