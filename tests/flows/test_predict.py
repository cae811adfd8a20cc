"""Files in, the same files with predictions out: nothing lost, nothing moved; and what evaluation says of files."""

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clozelm.errors import DataError, SettingsError
from clozelm.flows.predict import (
    PREDICTED,
    PROBABILITY,
    check_kind,
    evaluate_tags,
    evaluate_texts,
    predict_tags,
    predict_texts,
)
from clozelm.infer.predict import Predictor
from clozelm.text.conll import TaggedForm, stream_tagged
from clozelm.text.labelled import Wanted, stream_examples
from clozelm.text.record_files import TableForm
from tests import tiny_tasks
from tests.tiny_classifiers import save, tiny_classifier

LABELS = ("cold", "mild", "warm")
TAGS = ("O", "B-PET", "I-PET")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    model = tiny_classifier("bert", "sequence")
    return Predictor.open(save(model, tmp_path_factory.mktemp("a") / "model", "bert", LABELS))


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    model = tiny_classifier("bert", "token")
    return Predictor.open(save(model, tmp_path_factory.mktemp("b") / "model", "bert", TAGS))


def of_texts(predictor: Predictor, source: str | Path, **options: Any) -> tuple[str, list[str]]:
    """Return what is written for a file or a stream of text, and what is said."""
    out, stream = io.StringIO(), str(source) if isinstance(source, Path) else io.StringIO(source)
    wanted, form = options.pop("wanted", Wanted()), options.pop("form", TableForm())
    notes = predict_texts(predictor, stream, out, wanted=wanted, form=form, **options)
    return out.getvalue(), notes


def of_words(tagger: Predictor, source: str | Path, **options: Any) -> tuple[str, list[str]]:
    out, stream = io.StringIO(), str(source) if isinstance(source, Path) else io.StringIO(source)
    notes = predict_tags(tagger, stream, out, form=TaggedForm(), **options)
    return out.getvalue(), notes


ODD = st.text(alphabet=st.sampled_from("ab ,;|\t\"'\n\\é\u0416\U0001f600\u200b#-=1"), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ODD, max_size=6), st.sampled_from([",", ";", "\t", "|"]))
def test_a_table_keeps_every_value_in_its_place(predictor: Predictor, texts: list[str], delimiter: str) -> None:
    rows = [["a cat", "0", "x"], *([text, str(n), text] for n, text in enumerate(texts, 1))]
    table = io.StringIO()
    csv.writer(table, delimiter=delimiter, lineterminator="\n").writerows([["text", "id", "note"], *rows])
    written, _ = of_texts(predictor, table.getvalue(), form=TableForm(delimiter=delimiter, quoting="csv"))
    names, *found = csv.reader(io.StringIO(written), delimiter=delimiter)
    assert names == ["text", "id", "note", PREDICTED, PROBABILITY]
    assert [row[:3] for row in found] == rows
    for row, one in zip(found, predictor([row[0] for row in rows]), strict=True):
        assert row[3] == one.label
        assert float(row[4]) == pytest.approx(one.probability, abs=1e-5)
    again = stream_examples(io.StringIO(written), Wanted(labelled=False), TableForm(delimiter=delimiter))
    assert [example.texts[0] for example in again.examples] == [row[0] for row in rows], "by our own reader"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(
            {"text": st.one_of(st.none(), st.text(max_size=12))},
            optional={"x": st.recursive(st.integers() | st.text() | st.none(), st.lists, max_leaves=4)},
        ),
        max_size=6,
    )
)
def test_json_lines_keep_every_record(predictor: Predictor, records: list[dict[str, Any]]) -> None:
    """Also halves of surrogate pairs, which a JSON escape may spell and no file can hold."""
    records = [{"text": "a cat\ud800"}, *records]
    written, _ = of_texts(predictor, "".join(json.dumps(one) + "\n" for one in records))
    written.encode()
    found = [json.loads(line) for line in written.splitlines()]
    assert [{name: one[name] for name in one if name not in (PREDICTED, PROBABILITY)} for one in found] == records
    assert [one[PREDICTED] for one in found[1:]] == [
        each.label for each in predictor([one["text"] or "" for one in records[1:]])
    ]


def test_a_table_without_a_header_gets_none(predictor: Predictor) -> None:
    form = TableForm(delimiter=",", header=False)
    written, _ = of_texts(predictor, "1,a cat\n2,the dog\n", form=form, wanted=Wanted(text=("2",)))
    rows = list(csv.reader(io.StringIO(written)))
    assert [row[:2] for row in rows] == [["1", "a cat"], ["2", "the dog"]]
    assert {len(row) for row in rows} == {4}


def test_a_column_of_texts_is_read_from_a_stream(predictor: Predictor) -> None:
    written, _ = of_texts(predictor, "text\na cat\nthe dog sat\n")
    assert [line.split(",")[0] for line in written.splitlines()] == ["text", "a cat", "the dog sat"]
    with pytest.raises(DataError, match=r'stdin: .*: a table has a first row of names, .* \{"text": "..."\}'):
        of_texts(predictor, "a cat\nthe dog sat\n")


def test_parquet_becomes_json_lines(predictor: Predictor, tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    records = [{"id": 1, "text": "a cat", "x": [1, 2]}, {"id": 2, "text": "", "x": None}]
    parquet.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    written, _ = of_texts(predictor, tmp_path / "a.parquet", with_probabilities=True)
    found = [json.loads(line) for line in written.splitlines()]
    assert [{name: one[name] for name in ("id", "text", "x")} for one in found] == records
    assert list(found[0]["probabilities"]) == list(LABELS)
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_empty_and_endless_texts_are_answered(predictor: Predictor) -> None:
    long = "the cat sat " * 35_000
    written, notes = of_texts(predictor, "".join(json.dumps({"text": text}) + "\n" for text in ("", long, "a cat")))
    found = [json.loads(line) for line in written.splitlines()]
    assert [one["text"] for one in found] == ["", long, "a cat"]
    cut = " ".join(long.split()[:62])
    assert [one[PREDICTED] for one in found] == [one.label for one in predictor(["", cut, "a cat"])]
    assert notes == [
        "examples with an empty text, kept: 1, first stdin:1",
        "1 of 3 texts are longer than 64 pieces and were cut there",
    ]


@pytest.mark.parametrize("name", [PREDICTED, PROBABILITY])
def test_a_field_that_is_there_already_is_not_overwritten(
    name: str, predictor: Predictor, tagger: Predictor
) -> None:
    with pytest.raises(DataError, match=f"stdin:2: the record has a field '{name}' already: rename it first"):
        of_texts(predictor, f"text,{name}\na cat,x\n")
    with pytest.raises(DataError, match=f"stdin:1: the record has a field '{name}' already: rename it first"):
        of_words(tagger, json.dumps({"tokens": ["a", "cat"], name: 1}) + "\n")


WORDS = "# one\n-DOCSTART- -X- O\n\nthe DT O\ncat NN B-PET\nsat VB O\n\n-DOCSTART- -X- O\n\ndog NN B-PET\n\n"


def test_columns_stay_with_the_tag_behind_them(tagger: Predictor) -> None:
    written, _ = of_words(tagger, WORDS)
    expected = [tags for tags, _ in tagger.tags([["the", "cat", "sat"], ["dog"]])]
    read = stream_tagged(io.StringIO(written)).sentences
    assert [one.tags for one in read] == expected
    assert [one.document for one in read] == [0, 1]
    lines = [line.rpartition(" ")[0] if len(line.split()) > 2 else line for line in written.split("\n")]
    assert lines == WORDS.split("\n")
    written, _ = of_words(tagger, WORDS, with_probabilities=True)
    assert [one.tags for one in stream_tagged(io.StringIO(written)).sentences] == expected
    assert 0 < float(written.split("\n")[3].split()[-1]) <= 1


def test_records_of_words_stay_too(tagger: Predictor) -> None:
    records: list[dict[str, Any]] = [
        {"id": 7, "tokens": ["a", "cat"], "tags": ["O", "B-PET"]},
        {"tokens": [], "x": "é"},
        {"tokens": ["dog", "", "ran"]},
    ]
    written, notes = of_words(tagger, "".join(json.dumps(one) + "\n" for one in records))
    found = [json.loads(line) for line in written.splitlines()]
    assert [{name: one[name] for name in one if name not in (PREDICTED, PROBABILITY)} for one in found] == records
    assert [len(one[PREDICTED]) for one in found] == [2, 0, 3]
    assert [len(one[PROBABILITY]) for one in found] == [2, 0, 3]
    assert notes == [
        "records without words, nothing to tag: 1, first stdin:2",
        "empty words, read as '_': 1, first the sentence at stdin:3",
    ]


def test_options_of_the_other_task_are_refused(predictor: Predictor, tagger: Predictor) -> None:
    with pytest.raises(SettingsError, match="--text has no use here: this model tags words"):
        check_kind(tagger, tag_options={}, text_options={"text": "x"})
    with pytest.raises(SettingsError, match="--word-column has no use here: this model classifies texts"):
        check_kind(predictor, tag_options={"word-column": "1"}, text_options={"text": "x"})


def test_texts_of_one_class_are_measured(predictor: Predictor, tmp_path: Path) -> None:
    """What nothing can be learned from may well be asked about."""
    found = evaluate(predictor, tmp_path, [["a cat", "warm"], ["the dog", "warm"]])
    assert found["examples"] == {"dev": 2}
    assert found["counts"] == {"dev": {"warm": 2}}
    assert evaluate(predictor, tmp_path, [["a cat", "warm"]])["figures"]["accuracy"]["low"] is None
    with pytest.raises(DataError, match=r"a\.csv:3: label 'hot' is not among cold, mild, warm"):
        evaluate(predictor, tmp_path, [["a cat", "warm"], ["the dog", "hot"]])


def evaluate(predictor: Predictor, folder: Path, rows: Iterable[list[str]]) -> dict[str, Any]:
    path = tiny_tasks.table(folder / "a.csv", [["text", "label"], *rows])
    return evaluate_texts(predictor, str(path), wanted=Wanted(), form=TableForm())


def test_entities_that_the_model_does_not_know_are_counted(tagger: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("a B-FISH\nb I-FISH\nc B-FISH\n\ncat B-PET\nd B-BIRD\n\n")
    found = evaluate_tags(tagger, str(path), form=TaggedForm())
    assert found["counts"] == {"dev": {"FISH": 2, "PET": 1, "BIRD": 1}}
    assert "3 entities of types that the model does not know count as missed: FISH 2, BIRD 1" in found["notes"]
    assert not [
        note for note in evaluate_tags(tagger, _pets(tmp_path), form=TaggedForm())["notes"] if "know" in note
    ]


def _pets(folder: Path) -> str:
    return str(tiny_tasks.columns(folder / "pets.conll", ["the cat sat"]))


def test_tags_of_another_scheme_are_measured(tagger: Predictor, tmp_path: Path) -> None:
    spelled: Callable[[str, str], str] = lambda name, tags: _written(tmp_path / name, tags)  # noqa: E731
    plain = evaluate_tags(tagger, spelled("bio.conll", "B-PET I-PET O B-PET"), form=TaggedForm())
    for name, other in (("bioes", "B-PET E-PET O S-PET"), ("bilou", "B-PET L-PET O U-PET")):
        found = evaluate_tags(tagger, spelled(f"{name}.conll", other), form=TaggedForm())
        assert found["figures"] == plain["figures"]
        assert found["scheme"] == "BIO"


def _written(path: Path, tags: str) -> str:
    words = ["the", "cat", "sat", "dog"]
    path.write_text("".join(f"{word} {tag}\n" for word, tag in zip(words, tags.split(), strict=True)) + "\n")
    return str(path)


def test_nothing_to_find_is_said(tagger: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("the O\ncat O\n\n", encoding="utf-8")
    assert any(
        "nothing can be found there" in note
        for note in evaluate_tags(tagger, str(path), form=TaggedForm())["notes"]
    )


def test_a_model_of_pairs_is_asked_about_pairs(tmp_path: Path) -> None:
    facts = {"clozelm_task": {"text": ["one", "other"], "label": "label"}}
    place = save(tiny_classifier("bert", "sequence"), tmp_path / "m", "bert", LABELS, extra_config=facts)
    predictor = Predictor.open(place)
    assert of_texts(predictor, "one,other\na,b\n")[0].startswith("one,other,predicted")
    with pytest.raises(SettingsError, match="--text one does not fit: this model was trained on pairs"):
        of_texts(predictor, "one,other\na,b\n", wanted=Wanted(text=("one",)))
