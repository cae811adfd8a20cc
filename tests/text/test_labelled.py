"""Labelled texts from every format: one reading, counted repairs, and one clear line for what cannot be used."""

import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import DataError
from clozelm.text.examples import TextExample
from clozelm.text.labelled import Examples, Wanted, read_examples, stream_examples
from clozelm.text.record_files import TableForm

PLAIN = "text,label\ngood,pos\nbad,neg\n"
REGRESSION, MULTI = {"problem": "regression"}, {"problem": "multi"}
COLUMNS = MULTI | {"label": "x,y"}
BARE = {"labelled": False}


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def read(folder: Path, name: str, content: str | bytes, **options: Any) -> Examples:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    form = {key: options.pop(key) for key in list(options) if key in TableForm.__dataclass_fields__}
    return read_examples(path, Wanted(**options), TableForm(**form))


def pairs(examples: Examples) -> list[tuple[Any, Any]]:
    return [(each.texts[0] if len(each.texts) == 1 else each.texts, each.label) for each in examples.examples]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", PLAIN),
        ("a.tsv", PLAIN.replace(",", "\t")),
        ("a.jsonl", lines({"text": "good", "label": "pos"}, {"text": "bad", "label": "neg"})),
        ("a.json", json.dumps([{"text": "good", "label": "pos"}, {"text": "bad", "label": "neg"}], indent=1)),
        (
            "a.json.gz",
            gzip.compress(b'[{"text": "good", "label": "pos"}, {"text": "bad", "label": "neg"}]', mtime=0),
        ),
        ("semicolon.csv", PLAIN.replace(",", ";")),
        ("tab.csv", PLAIN.replace(",", "\t")),
        ("bar.csv", PLAIN.replace(",", "|")),
        ("comma.tsv", PLAIN),
        ("excel.csv", "sep=;\n" + PLAIN.replace(",", ";")),
        ("index.csv", ",text,label\n0,good,pos\n1,bad,neg\n"),
        ("trailing.csv", "text,label,\ngood,pos,\nbad,neg,\n"),
        ("case.csv", "Text, Label \ngood, pos\nbad,neg \n"),
        ("mark.csv", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("utf16.csv", PLAIN.encode("utf-16")),
        ("utf32.csv", PLAIN.encode("utf-32")),
        ("mac.csv", PLAIN.replace("\n", "\r")),
        ("windows.csv", PLAIN.replace("\n", "\r\n")),
        ("no_end.csv", PLAIN.rstrip()),
        ("blank.csv", "\n" + PLAIN.replace("\n", "\n\n")),
        ("spaces.csv", 'text, label\n"good", "pos"\n"bad", "neg"\n'),
        ("all.tsv", '"text"\t"label"\n"good"\t"pos"\n"bad"\t"neg"\n'),
        ("records.txt", lines({"text": "good", "label": "pos"}, {"text": "bad", "label": "neg"})),
        ("table.dat", PLAIN.replace(",", "\t")),
        ("a.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),
        ("a.csv.xz", lzma.compress(PLAIN.encode())),
        ("a.csv.zst", zstandard.compress(PLAIN.encode())),
    ],
)
def test_the_same_examples_from_each(name: str, content: str | bytes, tmp_path: Path) -> None:
    assert pairs(read(tmp_path, name, content)) == [("good", "pos"), ("bad", "neg")]


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        (
            "a.csv",
            "text,label\ncaf\xe9,x\n".encode("cp1252"),
            {},
            "a.csv:2: byte 0xe9 is not UTF-8; --encoding cp1252",
        ),
        ("a.csv", PLAIN.encode("utf-16-le"), {}, "name it with --encoding utf-16-le"),
        ("a.csv", PLAIN, {"encoding": "utf-16"}, "has no byte order mark"),
        ("a.csv", PLAIN, {"encoding": "utf-9"}, "--encoding 'utf-9' is unknown"),
        ("a.csv", PLAIN, {"encoding": "rot13"}, "no encoding of text"),
        ("a.csv", b"\xef\xbb\xbf" + PLAIN.encode(), {"encoding": "latin-1"}, "byte order mark of UTF-8"),
        ("a.csv", "text,label\n良い,x\n".encode("iso-2022-jp"), {}, "looks like ISO-2022-JP"),
        ("a.csv", PLAIN + "a\0,x\n", {}, "a.csv:4: has a NUL byte"),
        ("a.csv", b"PK\x03\x04", {}, "a zip archive or a spreadsheet"),
        ("a.csv", gzip.compress(b"x", mtime=0), {}, "looks like a gzip file, not text"),
        ("a.csv", b"", {}, "the file is empty"),
        ("a.csv", "text,label\n", {}, "there is a header and no record"),
        ("a.csv", "text,label\na,x\nb\n", {}, "a.csv:3: has 1 field where line 1 has 2"),
        ("a.csv", "text,label\na,x\nb,c,x\n", {}, "a.csv:3: has 3 fields where line 1 has 2"),
        ("a.csv", 'text,label\na,x\n"b, c,x\nd,x\n', {}, "a.csv:3: the quotes of this row are wrong"),
        ("a.csv", 'text,label\n"a,x\nb",y\n', {}, "say which is meant with --quoting"),
        (
            "a.csv",
            PLAIN.replace(",", "^"),
            {},
            "no field is called as a text usually is; the record has 'text^label'",
        ),
        ("a.csv", PLAIN, {"delimiter": ";"}, "Are its fields divided by comma?"),
        ("a.csv", PLAIN, {"delimiter": "ab"}, "must be one character"),
        ("a.csv", "a, b\tx\nc, d\ty\n", {"header": False}, "could be divided by comma or tab"),
        ("a.csv", "I love it,x\nI hate it,y\n", {}, "--no-header calls the fields 1, 2"),
        ("a.csv", "I love it,x,x\nI hate it,y,y\n", {}, "the row looks like a record: see --no-header"),
        ("a.csv", PLAIN, {"header": False, "text": ["1"], "label": "2"}, "leave out --no-header"),
        ("a.csv", "text,text,label\na,b,c\n", {}, "a.csv:1: two columns are called 'text'"),
        ("a.csv", "text,sentence,label\na,b,x\n", {}, "the text could be text or sentence: name it with --text"),
        ("a.csv", "text,label,category\na,b,x\n", {}, "the label could be label or category: name it with --label"),
        ("a.csv", PLAIN, {"text": ["txet"]}, "no field 'txet'; the record has 'text', 'label'."),
        ("a.csv", PLAIN, {"text": ["text"], "label": "text"}, "--text and --label both name"),
        ("a.csv", PLAIN, {"text": ["a", "b", "c"]}, "one field, or two different ones"),
        ("a.csv", "text,label\n,x\n ,y\n", {}, "every text is empty"),
        ("a.csv", "text,label\na,\n", {}, "a.csv:2: label 'label' is empty"),
        ("a.csv", "text,score\na,1\nb,x\n", REGRESSION, "a.csv:3: label 'score' is 'x', not a number"),
        ("a.csv", "text,score\na,1_0\n", REGRESSION, "not a number"),
        ("a.csv", "text,score\na,nan\n", REGRESSION, "not a number"),
        ("a.csv", "text,label\na,x|y\n", MULTI, "name what divides its labels with --separator"),
        ("a.csv", PLAIN, {"separator": "|"}, "--problem single has one"),
        ("a.csv", PLAIN, MULTI | {"separator": ""}, "--separator must not be empty"),
        ("a.txt", "Hello there.\nThis, is text\n", {}, "neither JSON lines nor a table"),
        ("a.jsonl", "[1]\n", {}, "a.jsonl:1: a record in a JSON array must be an object, not int"),
        (
            "a.jsonl",
            '{"text": "a", "label": "x"}\n[1]\n',
            {},
            "a.jsonl:2: a JSON record must be an object, not list",
        ),
        ("a.json", '[\n{"text": "a"},\n{"text": }\n]', {}, "a.json:3: not a JSON array (Expecting value)"),
        ("a.json", '{\n"text": "a"\n}', {}, "Write one object a line, or an array of them"),
        ("a.json", "[]", {}, "there are no records"),
        ("a.json", '[{"text": ' + "9" * 5000 + "}]", {}, "a.json: not a JSON array"),
        ("a.json", "[" * 9**5, {}, "a.json: not a JSON array"),
        ("a.csv", "text,x,y\na,1,2\n", COLUMNS, "a.csv:2: label 'y' is '2': a column for each label has 1 or 0"),
        ("a.csv", "text,x,y\na,1,\n", COLUMNS, "label 'y' is ''"),
        ("a.csv", "text,x\na,1\n", COLUMNS, "no field 'y'"),
        (
            "a.csv",
            "text,x,y\na,1,0\n",
            {"label": "x,y"},
            "--label names 2 fields, one for each label: see --problem",
        ),
        ("a.csv", "text,x,y\na,1,0\n", COLUMNS | {"label": "x, x"}, "--label names the field 'x' twice"),
        ("a.csv", "text,x,y\na,1,0\n", COLUMNS | {"label": "x,text"}, "both name the field 'text'"),
        ("a.csv", "text,x,y\na,1,0\n", COLUMNS | {"separator": ";"}, "--separator has no use"),
        ("a.jsonl", '{"text": "a"}{"text": "b"}', {}, "a.jsonl:1: not a JSON record (Extra data)"),
        ("a.jsonl", "[" * 100_000, {}, "a.jsonl: not a JSON array"),
        ("a.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", {}, "a.jsonl:1: not a JSON record"),
        ("a.jsonl", lines({"text": "a", "label": 1}), {"delimiter": ";"}, "--delimiter means nothing"),
        ("a.jsonl", lines({"text": "a", "label": 1}, {"label": 1}), {}, "a.jsonl:2: no field 'text'"),
        ("a.jsonl", lines({"text": ["a"], "label": 1}), {}, "field 'text' is a list, not text"),
        ("a.jsonl", lines({"text": "a", "label": None}), {}, "a.jsonl:1: label 'label' is missing (null)"),
        ("a.jsonl", '{"text": "a", "label": NaN}', {}, "is missing (null)"),
        ("a.jsonl", lines({"text": "a", "label": ["x"]}), {}, "--problem multi reads several"),
        ("a.jsonl", lines({"text": "a", "label": {}}), {}, "is a dict, not a label"),
        ("a.jsonl", lines({"text": "a", "label": "x\ny"}), {}, "no line ends and no control characters"),
        ("a.jsonl", lines({"text": "a", "label": True}), REGRESSION, "is True, not a number"),
        ("a.jsonl", '{"text": "a", "label": Infinity}', REGRESSION, "not a finite number"),
        ("a.parquet", b"PAR1", {}, "cannot be read as Parquet"),
        ("a.parquet.gz", b"PAR1", {}, "is compressed inside"),
        ("a.arrow", b"nothing", {}, "cannot be read as Arrow"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    name: str, content: str | bytes, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, name, content, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: no such file or directory"):
        read_examples(tmp_path / "none.csv", Wanted())


@pytest.mark.parametrize(
    ("name", "content", "options", "expected", "noted"),
    [
        ("a.csv", "text,label\na,1.0\nb,0\n", {}, [("a", "1"), ("b", "0")], "labels written as 1.0, read as 1: 1"),
        ("a.csv", "text,label\na,True\nb,01\n", {}, [("a", "True"), ("b", "01")], None),
        (
            "a.jsonl",
            lines({"text": "a", "label": 1}, {"text": 5, "label": "1"}, {"text": None, "label": 1.0}),
            {},
            [("a", "1"), ("5", "1"), ("", "1")],
            "labels of type text: 1, first",
        ),
        ("a.jsonl", lines({"text": "a", "label": 0.5}), {}, [("a", "0.5")], None),
        ("a.jsonl", lines({"text": "a", "label": -0.0}), {}, [("a", "0")], None),
        ("a.csv", "text,label\n,x\nb,y\n", {}, [("", "x"), ("b", "y")], "examples with an empty text, kept: 1"),
        ("a.csv", "text,label\na,x\n,\nb,y\n", {}, [("a", "x"), ("b", "y")], "rows without any value, left out: 1"),
        ("a.csv", "text,score\na, -3e-2 \nb,7\n", REGRESSION, [("a", -0.03), ("b", 7.0)], None),
        (
            "a.csv",
            "text,label\na,x|y| x|\nb,\n",
            MULTI | {"separator": "|"},
            [("a", ("x", "y")), ("b", ())],
            "labels given twice for one text, kept once: 1",
        ),
        ("a.csv", "text,label\na,\"['x', 'y']\"\nb,[]\n", MULTI, [("a", ("x", "y")), ("b", ())], None),
        ("a.jsonl", lines({"text": "a", "label": ["x", 1]}), MULTI, [("a", ("x", "1"))], "labels of type text: 1"),
        ("a.jsonl", '{"text": "a\\ud800", "label": "x"}', {}, [("a\ufffd", "x")], "halves of surrogate pairs"),
        (
            "a.jsonl",
            lines({"text": "a\ufffd", "label": 0}),
            {},
            [("a\ufffd", "0")],
            "which a wrong decoding leaves",
        ),
        ("a.csv", 'text,label\n"a, b\nc, d",x\n', {}, [("a, b\nc, d", "x")], None),
        ("a.csv", 'text,label\n"a, b\nc",x\n', {"quoting": "csv"}, [("a, b\nc", "x")], None),
        ("a.csv", 'text,label\n"a,x\nb",y\n', {"quoting": "none"}, [('"a', "x"), ('b"', "y")], None),
        ("a.csv", 'text,label\n"Great" film,x\n', {}, [('"Great" film', "x")], "quotes as characters of the text"),
        (
            "a.csv",
            'text,label\n"a \\"b\\", c",x\n',
            {},
            [('a "b", c', "x")],
            "with backslashes before inner quotes",
        ),
        ("a.tsv", 'text\tlabel\n"a ""b"" c"\tx\nd\ty\n', {}, [('a "b" c', "x"), ("d", "y")], None),
        ("a.tsv", 'text\tlabel\n"a, b"\tx\nd\ty\n', {}, [("a, b", "x"), ("d", "y")], None),
        ("a.tsv", 'text\tlabel\n"a b"\tx\nd\ty\n', {}, [('"a b"', "x"), ("d", "y")], "quotes as characters"),
        ("a.tsv", 'text\tlabel\n"a b\tx\nd "e"\ty\n', {}, [('"a b', "x"), ('d "e"', "y")], "quotes as characters"),
        ("a.csv", "text\na\n\nb\n", BARE, [("a", None), ("b", None)], "rows without any value, left out: 1"),
        ("a.csv", 'text\n"a, b"\n""\n', BARE, [("a, b", None), ("", None)], "examples with an empty text, kept: 1"),
        ("a.csv", "1,a b,x\n", BARE | {"header": False, "text": ["2"]}, [("a b", None)], None),
        (
            "a.csv",
            "caf\xe9,1\n".encode("cp1252"),
            {"encoding": "cp1252", "header": False, "text": ["1"], "label": "2"},
            [("café", "1")],
            "read as CP1252",
        ),
        ("a.csv", "text,label\ncafé,1\n", {"encoding": "latin-1"}, [("cafÃ©", "1")], "is valid UTF-8, yet read as"),
        ("a.csv", PLAIN.replace(",", "^"), {"delimiter": "^"}, [("good", "pos"), ("bad", "neg")], None),
        ("a.txt", "a\tx\n", {"header": False, "text": ["1"], "label": "2"}, [("a", "x")], None),
        ("a.jsonl", lines({"premise": "a", "hypothesis": "b", "label": 1}), {}, [(("a", "b"), "1")], None),
        ("a.jsonl", lines({"text": "a\u2028b\x85c", "label": 1}), {}, [("a\u2028b\x85c", "1")], None),
    ],
)
def test_repairs_are_counted(
    name: str, content: str | bytes, options: dict[str, Any], expected: Any, noted: str | None, tmp_path: Path
) -> None:
    found = read(tmp_path, name, content, **options)
    assert pairs(found) == expected
    assert (noted in "\n".join(found.notes)) if noted else found.notes == []


def test_places_and_whole_records_are_kept(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", 'id,text,label\n1,"a\nb, c",x\n\n2,d,y\n')
    path = tmp_path / "a.csv"
    assert [each.source for each in found.examples] == [f"{path}:2", f"{path}:5"]
    assert found.examples[0].record == {"id": "1", "text": "a\nb, c", "label": "x"}
    assert (found.text_fields, found.label_field, found.format, found.delimiter) == (("text",), "label", "csv", ",")
    assert list(read(tmp_path, "a.csv", "id,text,label\n1,a,\n", labelled=False).examples[0].record) == [
        *("id", "text", "label")
    ]


@pytest.mark.parametrize("content", ["a\n" * 3, "word " * 100_000, '"' + "word, " * 100_000 + '"'])
def test_texts_of_any_length(content: str, tmp_path: Path) -> None:
    record = {"text": content, "label": "x"}
    assert pairs(read(tmp_path, "a.jsonl", lines(record))) == [(content, "x")]
    quoted = content.replace('"', '""')
    assert pairs(read(tmp_path, "a.csv", f'text,label\n"{quoted}",x\n', quoting="csv")) == [(content, "x")]


def test_streams(tmp_path: Path) -> None:
    for text, form in (
        (PLAIN, TableForm(format="csv")),
        (PLAIN.replace(",", "\t"), TableForm(format="tsv")),
        ("\ufeff" + PLAIN.replace("\n", "\r\n"), TableForm()),
        (lines({"text": "good", "label": "pos"}, {"text": "bad", "label": "neg"}), TableForm()),
    ):
        found = stream_examples(io.StringIO(text, newline=""), Wanted(), form)
        assert found.examples == [
            TextExample(("good",), "pos", f"stdin:{1 + (found.format != 'jsonl')}"),
            TextExample(("bad",), "neg", f"stdin:{2 + (found.format != 'jsonl')}"),
        ]
    bad = io.TextIOWrapper(io.BytesIO(b"text\na\n\xff\n"), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match="stdin:3: has bytes that are not UTF-8"):
        stream_examples(bad, Wanted(labelled=False))
    strict = io.TextIOWrapper(io.BytesIO(b"text\n\xff\n"), encoding="utf-8")
    with pytest.raises(DataError, match="stdin: is not utf-8"):
        stream_examples(strict, Wanted(labelled=False))
    with pytest.raises(DataError, match="there is nothing in it"):
        stream_examples(io.StringIO(""), Wanted())


@given(st.lists(st.tuples(st.text(max_size=12), st.text(min_size=1, max_size=4)), min_size=1, max_size=5))
def test_what_json_holds_is_read_as_it_is(records: list[tuple[str, str]]) -> None:
    stream = io.StringIO(lines(*({"text": text, "label": 1, "more": more} for text, more in records)))
    if not any(text.strip() for text, _ in records):
        with pytest.raises(DataError, match="every text is empty"):
            stream_examples(stream, Wanted(), TableForm(format="jsonl"))
        return
    found = stream_examples(stream, Wanted(), TableForm(format="jsonl"))
    assert [(each.texts[0], each.record["more"]) for each in found.examples] == records


def test_lists_need_no_separator(tmp_path: Path) -> None:
    found = read(tmp_path, "a.jsonl", lines({"text": "a", "label": ["x;y"]}), separator=";", **MULTI)
    assert pairs(found) == [("a", ("x;y",))]
    assert any("which --separator does not divide: 1" in note for note in found.notes)


def test_a_column_for_each_label(tmp_path: Path) -> None:
    table = "text,toxic,rude,calm\na,1,0,0\nb,0,0,0\nc,1,1.0,0\nd,True,false,0\n"
    found = read(tmp_path, "a.csv", table, label="toxic, rude,calm", **MULTI)
    assert pairs(found) == [("a", ("toxic",)), ("b", ()), ("c", ("toxic", "rude")), ("d", ("toxic",))]
    assert found.label_field == "toxic, rude,calm"
    assert found.notes == [f"{tmp_path}/a.csv: label 'calm' is 0 in every record"]
    records = lines({"text": "a", "toxic": True, "rude": 0}, {"text": "b", "toxic": 0, "rude": 1.0})
    found = read(tmp_path, "a.jsonl", records, label="toxic,rude", **MULTI)
    assert pairs(found) == [("a", ("toxic",)), ("b", ("rude",))]
    alone = read(tmp_path, "one.csv", 'text,"x,y"\na,1\nb,2\n', label="x,y")
    assert pairs(alone) == [("a", "1"), ("b", "2")], "one field of that name"
