"""What pages are put together from: the page itself, safe text, legends."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html import escape

from clozelm.report.page_style import STYLE
from clozelm.report.svg import COLOURS, sign

_KEPT = "\n\t"
_UNSEEN = {"Cc", "Cs"}
_ORDERS = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def document(title: str, parts: Iterable[str]) -> str:
    """Return a whole page with this body: no script, nothing loaded from elsewhere."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{plain(title)}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n"
        "</main></body></html>\n"
    )


def printable(text: object) -> str:
    """Return the text with a replacement mark for what cannot be shown or would disturb what stands beside it.

    Those are control characters, halves of surrogate pairs, and orders to change the direction of writing.
    """
    return "".join(
        "\ufffd" if char in _ORDERS or (unicodedata.category(char) in _UNSEEN and char not in _KEPT) else char
        for char in str(text).replace("\r\n", "\n")
    )


def plain(text: object) -> str:
    """Return any text so that it is nothing but text in a page, in attributes too."""
    return escape(printable(text), quote=True)


def swatch(number: int) -> str:
    """Return the mark of a colour as it stands in tables and legends."""
    return f'<i class="swatch t{number % COLOURS}" aria-hidden="true">{sign(number)}</i>'


def legend(names: Iterable[tuple[int, str]]) -> str:
    """Return a line that says what colours stand for."""
    each = (f"<span>{swatch(number)}{plain(name)}</span>" for number, name in names)
    return f'<p class="legend">{"".join(each)}</p>'
