"""Tagged sentences: columns as the shared tasks and their heirs write them, and lists in records."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import DataError
from clozelm.text.conll import Tagged, TaggedForm, read_tagged, stream_tagged, with_columns

PLAIN = "John B-PER\nlives O\n\nParis B-LOC\n"
EXPECTED = [(("John", "lives"), ("B-PER", "O")), (("Paris",), ("B-LOC",))]


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def read(folder: Path, content: str | bytes, name: str = "a.conll", **options: Any) -> Tagged:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    labelled = options.pop("labelled", True)
    return read_tagged(path, TaggedForm(**options), labelled=labelled)


def pairs(found: Tagged) -> list[tuple[tuple[str, ...], tuple[str, ...] | None]]:
    return [(each.words, each.tags) for each in found.sentences]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (PLAIN, {}),
        (PLAIN.replace(" ", "\t"), {}),
        (PLAIN.replace("\n", "\r\n"), {}),
        (PLAIN.replace("\n", "\r"), {}),
        (b"\xef\xbb\xbf" + PLAIN.encode(), {}),
        (PLAIN.encode("utf-16"), {}),
        (PLAIN.encode("cp1252"), {"encoding": "cp1252"}),
        (PLAIN.replace("\n\n", "\n\t\n"), {}),
        ("\n\n" + PLAIN + "\n\n\n", {}),
        ("# a comment\n" + PLAIN, {}),
        ("# sent_id = 1\n# text\t= x\n" + PLAIN.replace(" ", "\t"), {}),
        (PLAIN.replace(" ", " X Y "), {}),
        ("John x B-PER NNP\nlives x O VB\n\nParis x B-LOC NNP\n", {}),
        ("John I-NP B-PER\nlives I-VP O\n\nParis I-NP B-LOC\n", {}),
        ("1\tJohn\tB-PER\t-\n2\tlives\tO\t-\n\n1\tParis\tB-LOC\t-\n", {}),
        ("1\tJohn\tB-PER\n2-3\tlives\t_\n2\tlives\tO\n2.1\te\t_\n\n1\tParis\tB-LOC\n", {}),
        ("NNP John B-PER\nVB lives O\n\nNNP Paris B-LOC\n", {"word": "2"}),
        ("B-PER NNP John\nO VB lives\n\nB-LOC NNP Paris\n", {"word": "-1", "tag": "1"}),
        ("en:John B-PER\nen:lives O\n\nen:Paris B-LOC\n", {}),
        (lines(*({"tokens": words, "ner_tags": tags} for words, tags in EXPECTED)), {}),
        (lines(*({"w": words, "t": tags} for words, tags in EXPECTED)), {"word": "w", "tag": "t"}),
    ],
)
def test_the_same_sentences_from_each(content: str | bytes, options: dict[str, Any], tmp_path: Path) -> None:
    assert pairs(read(tmp_path, content, **options)) == EXPECTED


@pytest.mark.parametrize(
    ("content", "expected", "noted"),
    [
        ("a U-X\nb B-X\nc M-X\nd L-X\n", [("a", "S-X"), ("b", "B-X"), ("c", "I-X"), ("d", "E-X")], "L, U or M"),
        ("a PER\nb O\n", [("a", "I-PER"), ("b", "O")], "tags without B- or I-, read as I-: 1, first"),
        ("a\tO\n\tB-X\n", [("a", "O"), ("_", "B-X")], "empty words, read as '_': 1"),
        ("a\x07b\tO\nNew  York\tO\n", [("ab", "O"), ("New York", "O")], "odd white space, cleaned: 2"),
        ("New York\tO\nc\tO\n", [("New York", "O"), ("c", "O")], "words with a space in them, kept: 1"),
        ("en:a O\nen: O\n", [("a", "O"), ("_", "O")], "words after 'en:', read without it: 2"),
        ("en:a O\nb O\n", [("en:a", "O"), ("b", "O")], None),
        ("# O\n#tag B-X\n# a comment line\n", [("#", "O"), ("#tag", "B-X")], None),
        ("# x y\n#\tO\nfoo\tB-X\n", [("#", "O"), ("foo", "B-X")], None),
        ("a B-X NNP\nb O VB\n", [("a", "B-X"), ("b", "O")], "tags are read from column 2 of 3"),
        ("a I-NP O\nb I-VP O\n", [("a", "O"), ("b", "O")], None),
        ("{ O\n} B-X\n", [("{", "O"), ("}", "B-X")], None),
        ("a O\n" * 1001, [("a", "O")] * 1001, "are blank lines missing?): 1"),
    ],
)
def test_repairs_are_counted(content: str, expected: Any, noted: str | None, tmp_path: Path) -> None:
    found = read(tmp_path, content)
    assert [pair for words, tags in pairs(found) for pair in zip(words, tags or (), strict=True)] == expected
    assert (noted in "\n".join(found.notes)) if noted else found.notes == []


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("a O\nb\n", {}, "a.conll:2: has 1 column where line 1 has 2."),
        ("a O\nb O O\n", {}, "a.conll:2: has 3 columns where line 1 has 2."),
        ("a\tO\nb c\tO\nd O\n", {}, "a.conll:3: has 1 column where line 1 has 2."),
        ("a\tB-X\nb\t\n", {}, "a.conll:2: a tag is missing"),
        ("a NNP\nb VB\n", {}, "a.conll:1: 'NNP' is no tag: O, B-TYPE"),
        ("a B-X\nb 0\nc O\n", {}, "a.conll:2: '0' is no tag"),
        ("a b-per\nb O\n", {}, "a.conll:1: 'b-per' is no tag"),
        ("a B_PER\nb O\n", {}, "a.conll:1: 'B_PER' is no tag"),
        ("a PER-B\nb O\n", {}, "a.conll:1: 'PER-B' is no tag"),
        ("a B-X N\nb O V\nc B_X N\n", {}, "a.conll:3: 'B_X' is no tag"),
        ("a O\n", {"tag": "5"}, "--tag-column 5: there are 2 columns"),
        ("a O\n", {"tag": "0"}, "--tag-column 0"),
        ("a O\n", {"tag": "ner"}, "--tag-column 'ner' must be the number of a column"),
        ("a O\n", {"tag": "1"}, "both name column 1"),
        ("a\nb\n", {}, "a.conll:1: has one column, so no tags"),
        ("1\ta\tO\n3\tb\tO\n", {}, "a.conll:2: the number of the word goes from 1 to 3"),
        ("1\ta\tO\n2\tb\tO\n1\tc\tO\n", {}, "a.conll:3: the number of the word goes from 2 to 1"),
        ("", {}, "the file is empty"),
        ("\n# x\n-DOCSTART- O\n", {}, "there are no words in it"),
        (b"caf\xe9 O\n", {}, "a.conll:1: byte 0xe9 is not UTF-8"),
        (lines({"tokens": ["a"], "tags": []}), {}, "a.conll:1: 1 words and 0 tags in field 'tags'"),
        (lines({"tokens": ["a"], "tags": [3]}), {}, "holds 3: a tag is a name, not an id"),
        (lines({"tokens": ["a"], "tags": ["x_B"]}), {}, "a.conll:1: 'x_B' is no tag"),
        (lines({"tokens": "a", "tags": ["O"]}), {}, "field 'tokens' is a str, not a list"),
        (lines({"tokens": [None], "tags": ["O"]}), {}, "holds NoneType, not text"),
        (lines({"tokens": ["a"]}), {}, "no field ner_tags or tags"),
        (lines({"text": "a"}), {}, "no field tokens or words; the record has 'text'"),
        (lines({"tokens": []}), {"labelled": False}, "there are no sentences in it"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    content: str | bytes, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, content, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_documents_and_places(tmp_path: Path) -> None:
    text = "-DOCSTART- O\n\na O\n\nb O\n-DOCSTART- O\nc O\n\n# newdoc id = 3\n# text = d\nd O\n"
    found = read(tmp_path, text).sentences
    path = tmp_path / "a.conll"
    assert [(each.document, each.source) for each in found] == [
        *((0, f"{path}:3"), (0, f"{path}:5"), (1, f"{path}:7"), (2, f"{path}:11")),
    ]


@pytest.mark.parametrize(
    ("content", "expected", "noted"),
    [
        ("a\n#b\n# comment\n\nc\n", [("a", "#b"), ("c",)], None),
        ("a ?\nb x\n", [("a", "b")], "words are read from column 1 of 2"),
        ("1\ta\n2\tb\n", [("a", "b")], None),
        (lines({"words": ["a", 1]}), [("a", "1")], None),
    ],
)
def test_words_alone(content: str, expected: Any, noted: str | None, tmp_path: Path) -> None:
    found = read(tmp_path, content, labelled=False)
    assert pairs(found) == [(words, None) for words in expected]
    assert (noted in "\n".join(found.notes)) if noted else found.notes == []


def test_columns_are_added_and_all_else_stays(tmp_path: Path) -> None:
    text = "# a comment\n-DOCSTART- -X- O\n\na NN O \nb NN B-X\n\n\n-DOCSTART-\n\nc NN O"
    found = read(tmp_path, text, labelled=False)
    added = [[("O", "1.0"), ("B-X", "0.5")], [("O", "0.7")]]
    assert with_columns(found, added) == (
        "# a comment\n-DOCSTART- -X- O O O\n\na NN O O 1.0\nb NN B-X B-X 0.5\n\n\n-DOCSTART-\n\nc NN O O 0.7\n\n"
    )
    with pytest.raises(ValueError, match="shorter"):
        with_columns(found, added[:1])
    with pytest.raises(ValueError, match="shorter"):
        with_columns(found, [added[0][:1], added[1]])


def test_rows_of_several_words_keep_their_width(tmp_path: Path) -> None:
    text = "# text = du monde\n1-2\tdu\tO\n1\tde\tO\n2\tle\tO\n3\tmonde\tB-X\n\n"
    found = read(tmp_path, text, labelled=False)
    written = with_columns(found, [[("O",), ("O",), ("B-X",)]])
    assert written.split("\n")[1:3] == ["1-2\tdu\tO\t_", "1\tde\tO\tO"]
    assert pairs(stream_tagged(io.StringIO(written))) == [(("de", "le", "monde"), ("O", "O", "B-X"))]


WORDS = (
    st.text(min_size=1, max_size=6)
    .map(lambda text: " ".join(text.split()))
    .filter(lambda word: word.isprintable() and word and not word.startswith(("-DOCSTART-", "\ufeff")))
)
TAGS = st.sampled_from(["O", "B-PER", "I-PER", "E-creative-work", "S-x y"])
SENTENCES = st.lists(st.lists(st.tuples(WORDS, TAGS), min_size=1, max_size=5), min_size=1, max_size=4)


@given(SENTENCES, st.data())
def test_what_is_added_is_read_back(rows: list[list[tuple[str, str]]], data: st.DataObject) -> None:
    text = "x\tO\n\n"
    for row in rows:
        text += "-DOCSTART-\tO\n\n" if data.draw(st.booleans()) else ""
        text += "".join(f"{word}\t{tag}\n" for word, tag in row) + "\n"
    before = stream_tagged(io.StringIO(text))
    tags = [data.draw(st.lists(TAGS, min_size=len(e.words), max_size=len(e.words))) for e in before.sentences]
    found = stream_tagged(io.StringIO(text), labelled=False)
    again = stream_tagged(io.StringIO(with_columns(found, [[(tag,) for tag in each] for each in tags])))
    assert [(each.words, each.tags, each.document) for each in again.sentences] == [
        (each.words, tuple(mine), each.document) for each, mine in zip(before.sentences, tags, strict=True)
    ]


@given(st.text(alphabet="ab \t\nO-BX#1{", max_size=40), st.booleans())
def test_any_text_is_sentences_or_an_error(text: str, labelled: bool) -> None:
    try:
        sentences = stream_tagged(io.StringIO(text), labelled=labelled).sentences
    except DataError as error:
        sentences, said = [], str(error)
    assert sentences or said.startswith("stdin:")
    assert all(each.words and all(each.words) for each in sentences)
    assert all((each.tags is None) is not labelled for each in sentences)
    assert all(each.tags is None or len(each.tags) == len(each.words) for each in sentences)
