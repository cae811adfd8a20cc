"""Documents from every format, and a clear line for every kind of bad file."""

import gzip
import json
import lzma
import random
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from clozelm.errors import DataError
from clozelm.text.readers import Document, documents, held_out_from

BLOCKS = "Title\n\nFirst line.\nSecond line.\n  \n\n\nLast – ünï.\n"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_units_and_line_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", BLOCKS)
    blocks = [("Title", 1), ("First line.\nSecond line.", 3), ("Last – ünï.", 8)]
    assert list(documents([path])) == [Document(text, f"{path}:{line}") for text, line in blocks]
    lines = [(d.text, int(d.source.rpartition(":")[2])) for d in documents([path], unit="line")]
    assert lines == [("Title", 1), ("First line.", 3), ("Second line.", 4), ("Last – ünï.", 8)]
    assert [d.text for d in documents([path], unit="file")] == [BLOCKS.strip()]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.compress), ("", bytes)],
)
def test_compression_bom_and_carriage_returns(tmp_path: Path, suffix: str, pack: object) -> None:
    raw = ("\ufeff" + BLOCKS).replace("\n", "\r\n").encode()
    path = write(tmp_path / f"a.txt{suffix}", pack(raw))  # type: ignore[operator]
    assert [d.text for d in documents([path])] == ["Title", "First line.\nSecond line.", "Last – ünï."]


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.compress)]
)
def test_damaged_compression_is_refused(tmp_path: Path, suffix: str, pack: object) -> None:
    whole = pack(BLOCKS.encode() * 50)  # type: ignore[operator]
    path = write(tmp_path / f"a.txt{suffix}", b"\x00\x01\x02 not compressed" + whole)
    with pytest.raises(DataError, match=r"a\.txt"):
        list(documents([path]))
    for missing in (1, 12, len(whole) - 2):
        with pytest.raises(DataError, match=f"damaged {suffix} file"):
            list(documents([write(tmp_path / f"b.txt{suffix}", whole[:-missing])]))


ZSTD_FRAMES = {
    "plain": zstandard.ZstdCompressor().compress,
    "checksum": zstandard.ZstdCompressor(write_checksum=True).compress,
    "no size": zstandard.ZstdCompressor(write_content_size=False).compress,
    "repeated": lambda raw: zstandard.compress(raw + b"x" * 400_000),
    "incompressible": lambda raw: zstandard.compress(raw + random.Random(0).randbytes(150_000).hex().encode()),
    "skipped": lambda raw: b"\x51\x2a\x4d\x18\x05\0\0\0later" + zstandard.compress(raw),
    "empty": lambda raw: zstandard.compress(b"") + zstandard.compress(raw),
}


@pytest.mark.parametrize("frame", ZSTD_FRAMES)
def test_zstd_is_whole_or_refused(tmp_path: Path, frame: str) -> None:
    first = ZSTD_FRAMES[frame](BLOCKS.encode())
    whole = first + zstandard.compress(b"\n\nthe second frame")
    assert list(documents([write(tmp_path / "a.txt.zst", whole)]))[-1].text == "the second frame"
    assert next(documents([write(tmp_path / "b.txt.zst", first)])).text == "Title"
    rng = random.Random(1)
    cuts = {*range(max(1, len(whole) - 40), len(whole)), *rng.choices(range(1, len(whole)), k=40)}
    ends = {len(first), 13 if frame == "skipped" else len(first), len(zstandard.compress(b""))}
    for cut in cuts - ends:
        with pytest.raises(DataError, match=r"damaged \.zst file \(it ends inside a frame"):
            list(documents([write(tmp_path / "c.txt.zst", whole[:cut])]))


def test_a_zstd_file_of_zeros_does_not_fill_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt.zst", zstandard.compress(b"abc " * 10_000_000))
    tracemalloc.start()
    assert sum(1 for _ in documents([path], max_characters=10_000)) > 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6


@pytest.mark.parametrize(("name", "package"), [("a.txt.zst", "zstandard"), ("a.parquet", "pyarrow")])
def test_a_package_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said = rf"{name}: reading \.\w+ needs the package {package}: `pip install {package}`\."
    with pytest.raises(DataError, match=said):
        list(documents([write(tmp_path / name, b"PAR1")]))


@pytest.mark.parametrize("name", ["a.md", "v1.2.md", "A.MD", "README.en.md", "v1.2.md.gz", "a.MD.GZ"])
def test_markdown_is_one_document_a_file(tmp_path: Path, name: str) -> None:
    raw = BLOCKS.encode()
    path = write(tmp_path / name, gzip.compress(raw) if name.lower().endswith(".gz") else raw)
    assert [d.text for d in documents([path])] == [BLOCKS.strip()]


@pytest.mark.parametrize("name", ["notes.md.txt", "notes.md", "md"])
def test_only_the_last_suffix_counts(tmp_path: Path, name: str) -> None:
    assert len(list(documents([write(tmp_path / name, BLOCKS)]))) == (1 if name == "notes.md" else 3)


def test_record_formats_agree(tmp_path: Path) -> None:
    rows = [{"title": "A", "text": 'one, "two"\nthree'}, {"title": "B", "text": "vier"}]
    write(tmp_path / "r.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    write(tmp_path / "r.json", "\ufeff " + json.dumps(rows, indent=2) + "\n")
    write(tmp_path / "lines.json", "\n".join(map(json.dumps, rows)))
    write(tmp_path / "r.csv", 'title,text\nA,"one, ""two""\nthree"\nB,vier\n')
    write(tmp_path / "r.tsv", 'title\ttext\nA\t"one, ""two""\nthree"\nB\tvier\n')
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    for name in ("r.jsonl", "r.json", "lines.json", "r.csv", "r.tsv", "r.parquet"):
        found = [d.text for d in documents([tmp_path / name], field="title,text")]
        assert found == ['A\none, "two"\nthree', "B\nvier"], name
    assert [d.source[-2:] for d in documents([tmp_path / "r.csv"])] == [":2", ":4"]
    assert [d.source[-2:] for d in documents([tmp_path / "r.json"])] == [":2", ":6"]
    assert list(documents([write(tmp_path / "none.json", "[ ]")])) == []
    assert len(list(documents([write(tmp_path / "r.json.gz", gzip.compress(json.dumps(rows).encode()))]))) == 2


def test_a_json_array_is_read_item_by_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the pieces fall that the file is read in, and without holding it."""
    rows = [{"text": f'Text {i} \\ " 日本 [{{,]}}', "n": [i, None, -1.5e3]} for i in range(20)]
    written = json.dumps(rows, indent=1, ensure_ascii=False)
    write(tmp_path / "a.json", written)
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr("clozelm.text.readers._READ_BYTES", size)
        found = list(documents([tmp_path / "a.json"]))
        assert [d.text for d in found] == [row["text"] for row in rows]
        lines = [number for number, line in enumerate(written.split("\n"), 1) if line == " {"]
        assert [int(d.source.rpartition(":")[2]) for d in found] == lines
    monkeypatch.undo()
    with (tmp_path / "b.json").open("w") as file:
        file.write("[" + ",\n".join(f'{{"text": "{i} {"x" * 9000}"}}' for i in range(4000)) + "]")
    tracemalloc.start()
    assert sum(1 for _ in documents([tmp_path / "b.json"])) == 4000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6 < (tmp_path / "b.json").stat().st_size


def test_an_endless_json_item_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clozelm.text.readers._MAX_RECORD", 5000)
    monkeypatch.setattr("clozelm.text.readers._READ_BYTES", 1000)
    path = write(tmp_path / "a.json", '[{"text": "' + "x" * 100_000 + '"}]')
    with pytest.raises(DataError, match=r"a\.json:1: not an item of a JSON array \(no end of it in 5,000 char"):
        list(documents([path]))


def test_a_field_of_plain_text_is_refused(tmp_path: Path) -> None:
    plain, record = write(tmp_path / "a.txt", "x"), write(tmp_path / "b.jsonl", '{"body": "y"}')
    with pytest.raises(DataError, match=r"a\.txt: plain text has no field 'body': leave out --field"):
        list(documents([plain], field="body"))
    assert [d.text for d in documents([plain, record], field="body")] == ["x", "y"]


def test_blank_lines_of_a_table_are_no_records(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", '\n text ,\n\na,1\n \n"b\n\nc",2\n\nd,3\n\n')
    found = [(d.text, d.source.rpartition(":")[2]) for d in documents([path])]
    assert found == [("a", "4"), ("b\n\nc", "6"), ("d", "10")]


def test_directories_globs_and_order(tmp_path: Path) -> None:
    for name in ("b/two.txt", "a/one.md", "c.csv.txt", "d.bin", ".hidden/three.txt"):
        write(tmp_path / name, name)
    write(tmp_path / "about.json", "{}")
    write(tmp_path / "only" / "a.json", '[{"text": "three"}]')
    assert [d.text for d in documents([tmp_path])] == ["a/one.md", "b/two.txt", "c.csv.txt"]
    assert [d.text for d in documents([tmp_path / "only"])] == ["three"]
    assert [d.text for d in documents([tmp_path / "*" / "*.txt", tmp_path / "b/two.txt"])] == ["b/two.txt"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.txt", b"", "the file is empty"),
        ("image.txt", b"\x89PNG\r\n\x00\x00", "looks like a PNG image, not text"),
        ("program.txt", b"\x7fELF\x02\x00\x00", "looks like a binary file"),
        ("paper.txt", b"%PDF-1.7\n%\xe2\xe3\n", "looks like a PDF file, not text: export its text"),
        ("table.csv", b"PK\x03\x04\x14", "looks like a zip archive or a spreadsheet, not text"),
        ("packed.txt", b"BZh91AY&SY", "looks like a bzip2 file, not text: unpack it first"),
        (
            "packed.jsonl",
            gzip.compress(b"{}", mtime=0),
            "looks like a gzip file, not text: give its name the ending .gz",
        ),
        ("packed.md", lzma.compress(b"x"), "looks like an xz file"),
        ("packed.json", zstandard.compress(b"x"), "looks like a zstd file"),
        ("twice.txt.gz", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "looks like a gzip file"),
        ("table.arrow", b"ARROW1\0\0", "looks like an Arrow file"),
        ("table.txt", b"PAR1\x15", "looks like a Parquet file"),
        ("utf16.txt", "hi".encode("utf-16"), "UTF-16"),
        ("bad.jsonl", b'{"text": "a"}\n{"text": \n', r"bad\.jsonl:2: not a JSON record"),
        ("list.jsonl", b"[1]\n", r"list\.jsonl:1: a JSON record must be an object, not list"),
        (
            "field.jsonl",
            b'{"body": "a", "id": 1}\n',
            r"field\.jsonl:1: no field 'text'; the record has body, id",
        ),
        ("field.csv", b"body,id\nx,1\n", r"field\.csv:2: no field 'text'; the record has body, id"),
        ("ragged.csv", b"text,id\n\nx,1\n\ny\n", r"ragged\.csv:5: has 1 field where line 1 has 2"),
        ("ragged.tsv", b"\ntext\tid\nx\t1\t2\n", r"ragged\.tsv:3: has 3 fields where line 2 has 2"),
        ("twice.csv", b"text,id,text\nx,1,y\n", r"twice\.csv:1: two columns are called 'text'; rename one"),
        (
            "pretty.json",
            b'{\n "text": "a"\n}',
            r"pretty\.json:1: not a JSON record .* or an array in a \.json file",
        ),
        ("list.json", b'[{"text": "a"},\n [1]]', r"list\.json:2: a JSON record must be an object, not list"),
        ("open.json", b'[{"text": "a"},\n\n', r"open\.json:3: not an item of a JSON array \(Expecting value\)"),
        ("cut.json", b'[{"text": "a"}\n', r"cut\.json:2: not a JSON array \(',' or ']' expected, not the end of"),
        ("two.json", b'[{"text": "a"}]\n[]', r"two\.json:2: something follows the JSON array"),
        ("comma.json", b'[{"text": "a"} {"text": "b"}]', r"comma\.json:1: not a JSON array \(',' or ']' expected"),
        ("quote.json", b'[{"text": "a}]', r"quote\.json:1: not an item of a JSON array \(Unterminated string"),
        ("deep.json", b"[" * 100_000, r"deep\.json:1: not an item of a JSON array"),
        ("field.json", b'[\n{"body": "a"}]', r"field\.json:2: no field 'text'; the record has body"),
        ("nested.jsonl", b'{"text": {"a": 1}}\n', r"nested\.jsonl:1: field 'text' is a dict, not text"),
        ("span.jsonl", b'{"text": "abc", "spans": [[1, 9]]}\n', r"span\.jsonl:1: span \[1, 9\] lies outside"),
        ("span.jsonl", b'{"text": "abc", "spans": 3}\n', r"span\.jsonl:1: 'spans' must be a list"),
        ("bad.parquet", b"PAR1 not really", "cannot be read as Parquet"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        list(documents([write(tmp_path / name, content)]))


def test_missing_and_wrong_unit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        documents([tmp_path / "missing.txt"])
    with pytest.raises(DataError, match=r"no \.txt"):
        documents([tmp_path])
    with pytest.raises(DataError, match="No corpus"):
        documents([])
    with pytest.raises(DataError, match="An empty name was given for a file"):
        documents([""])
    with pytest.raises(DataError, match=r"not None"):
        documents([None])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"^n+…: cannot be read \(File name too long\)"):
        documents(["n" * 5000])
    with pytest.raises(DataError, match="plain text has no records"):
        list(documents([write(tmp_path / "a.txt", "x")], unit="record"))
    with pytest.raises(DataError, match="holds records"):
        list(documents([write(tmp_path / "a.jsonl", "{}")], unit="line"))


def test_invalid_utf8_is_counted_or_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"good\nbad \xff here\nugly \xc3\n\xe4\xbd\xa0")
    counts: Counter[str] = Counter()
    found = [d.text for d in documents([path], unit="line", invalid_utf8="replace", counts=counts)]
    assert found == ["good", "bad \ufffd here", "ugly \ufffd", "你"]
    assert counts == {"invalid_utf8_lines": 2}
    with pytest.raises(DataError, match=r"a\.txt:2: invalid UTF-8, byte 0xff"):
        list(documents([path]))


def test_lone_surrogates_in_json_are_replaced_or_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "a\\ud800b"}\n')
    assert [d.text for d in documents([path], invalid_utf8="replace")] == ["a\ufffdb"]
    with pytest.raises(DataError, match=r"a\.jsonl:1: the text holds half a surrogate pair"):
        list(documents([path]))


def test_long_documents_are_cut_at_white_space(tmp_path: Path) -> None:
    text = "wörd " * 5000
    counts: Counter[str] = Counter()
    cut = [d.text for d in documents([write(tmp_path / "a.txt", text)], max_characters=1000, counts=counts)]
    assert all(len(each) <= 1000 for each in cut)
    assert " ".join(cut) == text.strip()
    assert counts["cut_documents"] == len(cut) - 1


def test_spans_follow_a_cut(tmp_path: Path) -> None:
    text = "aaaa " * 300
    record = json.dumps({"text": text, "spans": [[0, 4], [995, 1004], [1490, 1494]]})
    cut = list(documents([write(tmp_path / "a.jsonl", record)], max_characters=1000))
    marked = [[d.text[a:b] for a, b in d.annotated] for d in cut]
    assert marked == [["aaaa", "aaaa"], ["aaaa", "aaaa"]]


def test_a_huge_single_line_does_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        for _ in range(30):
            file.write("日本語のテキスト".encode() * 43_000)
    tracemalloc.start()
    longest = max(len(d.text) for d in documents([path], max_characters=100_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert longest <= 100_000
    assert peak < 12e6 < path.stat().st_size


def test_held_out_from() -> None:
    assert held_out_from(6017, 0.05) == 5716
    assert held_out_from(10, 0.0) == 10
    assert held_out_from(10, 0.001) == 9
