"""Normalisation and filters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.text.filters import FilterSettings, drop_reason, repeated_line_share, top_bigram_share
from clozelm.text.normalize import moved_spans, normalize


def test_normalize() -> None:
    assert normalize("e\u0301 \x00x\x1f\x85\ty\r\nz\rw") == "\u00e9 x\ty\nz\nw"
    assert normalize(" a \t b\u00a0c \n\n  d ", collapse_spaces=True) == "a b c\nd"
    assert normalize("e\u0301\x00", unicode_form="keep", keep_control=True) == "e\u0301\x00"


@given(st.text())
def test_normalize_twice_is_once(text: str) -> None:
    for is_collapsing in (False, True):
        once = normalize(text, collapse_spaces=is_collapsing)
        assert normalize(once, collapse_spaces=is_collapsing) == once


def test_spans_move_with_the_text() -> None:
    text = "\x00e\u0301  big \x01 cat"
    spans = ((1, 3), (text.index("cat"), len(text)))
    for is_collapsing in (False, True):
        moved = moved_spans(text, spans, collapse_spaces=is_collapsing)
        whole = normalize(text, collapse_spaces=is_collapsing)
        assert [whole[a:b].strip() for a, b in moved] == ["é", "cat"]


@pytest.mark.parametrize(
    ("text", "limits", "reason"),
    [
        ("fine text", {}, None),
        (" \n ", {}, "empty"),
        ("short", {"min_characters": 6}, "min_characters"),
        ("longer", {"max_characters": 5}, "max_characters"),
        ("12 34 a", {"min_letter_share": 0.5}, "min_letter_share"),
        ("abc 你好 1", {"min_letter_share": 0.5}, None),
        ("a\nb\na\na", {"max_repeated_line_share": 0.3}, "max_repeated_line_share"),
        ("buy now buy now buy now ok", {"max_top_bigram_share": 0.2}, "max_top_bigram_share"),
    ],
)
def test_drop_reason(text: str, limits: dict[str, float], reason: str | None) -> None:
    assert drop_reason(text, FilterSettings(**limits)) == reason


def test_shares() -> None:
    assert repeated_line_share("a\nb\na\n\n") == pytest.approx(1 / 3)
    assert top_bigram_share("ab cd ab cd xx") == pytest.approx(8 / 10)
    assert top_bigram_share("all words differ here") == 0
