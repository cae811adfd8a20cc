"""Normalise text: composed Unicode, no control characters and, if asked for, single spaces."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from clozelm.text.readers import Spans

UnicodeForm = Literal["NFC", "NFKC", "keep"]

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_RUN = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")


def normalize(
    text: str, *, unicode_form: UnicodeForm = "NFC", keep_control: bool = False, collapse_spaces: bool = False
) -> str:
    """Bring a text into one form; unchanged text is given back as it is.

    Control characters are removed except tab and line ends; a lone carriage return becomes a line end.
    Collapsing leaves one space for a run of white space, one line end for a run with line ends, and none
    outside.
    """
    if unicode_form != "keep" and not text.isascii() and not unicodedata.is_normalized(unicode_form, text):
        text = unicodedata.normalize(unicode_form, text)
    if not keep_control and _CONTROL.search(text):
        text = _CONTROL.sub("", text)
    if not keep_control and "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if collapse_spaces:
        text = _LINES.sub("\n", _RUN.sub(" ", text)).strip()
    return text


def moved_spans(text: str, spans: Spans, **form: object) -> Spans:
    """Say where spans of a text lie in the normalised text, by normalising what is before their edges."""
    edges = {edge: len(normalize(text[:edge], **form)) for span in spans for edge in span}  # type: ignore[arg-type]
    return tuple((edges[start], edges[stop]) for start, stop in spans)
