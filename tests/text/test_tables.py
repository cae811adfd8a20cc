"""Tables: whatever writer of delimited text wrote them, they are read as they were written, or refused."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import DataError
from clozelm.text.repairs import Repairs
from clozelm.text.tables import DELIMITERS, looks_like_data, read_table

CELLS = st.text(alphabet='ab ",;|\t\n\r\\é', max_size=6)
ROWS = st.lists(st.tuples(CELLS, st.sampled_from(["x", "y", 'a "b"'])), min_size=1, max_size=6)
HEADER = ("text", "label")


def read(text: str, delimiter: str) -> list[tuple[str, ...]]:
    table = read_table(text, "a.csv", delimiter=delimiter, repairs=Repairs())
    assert table.names == list(HEADER)
    return [tuple(row.fields) for row in table.rows]


@pytest.mark.parametrize("expected", [",", "\t"])
@pytest.mark.parametrize("delimiter", DELIMITERS)
@given(rows=ROWS, quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
def test_what_a_writer_wrote_is_read_or_refused(
    expected: str, delimiter: str, rows: list[tuple[str, str]], quoting: int
) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerows([HEADER, *rows])
    try:
        found, said = read(file.getvalue(), expected), ""
    except DataError as error:
        found, said = rows, str(error)
    assert found == rows
    assert not said or "--quoting" in said or "--delimiter" in said


@given(rows=st.lists(st.tuples(st.text(alphabet='ab ",;', min_size=1, max_size=8), st.just("x")), max_size=5))
def test_quotes_that_are_characters_stay(rows: list[tuple[str, str]]) -> None:
    rows = [*rows, ('say "a', "x"), ("plain", "x")]
    text = "".join("\t".join(row) + "\n" for row in (HEADER, *rows))
    assert read(text, "\t") == rows


@given(text=st.text(alphabet='ab",;|\t\n\\ ', max_size=40), expected=st.sampled_from([",", "\t"]))
def test_any_text_is_a_table_or_an_error_with_its_line(text: str, expected: str) -> None:
    table = None
    try:
        table = read_table(text, "a.csv", delimiter=expected, repairs=Repairs())
    except DataError as error:
        said = str(error)
    if table is None:
        assert said.startswith("a.csv:")
        return
    width = len(table.names)
    assert all(len(row.fields) == width for row in table.rows)
    number = text.count("\n") + 1
    assert all(1 <= row.line <= number for row in table.rows)


def test_what_looks_like_data() -> None:
    for header, rows, expected in (
        (HEADER, [("a", "x")], False),
        (("gj04", "1"), [("gj04", "0")], True),
        (("a film to see", "pos"), [("b", "neg")], True),
        (("a", "pos"), [("b", "neg"), ("c", "pos")], True),
        (("", "text"), [("", "b")], False),
    ):
        text = "".join(",".join(row) + "\n" for row in (("q", "r"), *rows))
        table = read_table(text, "a.csv", delimiter=",", repairs=Repairs())
        assert looks_like_data(header, table.rows) is expected, header
