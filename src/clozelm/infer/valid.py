"""Text that a model can be asked about."""

from __future__ import annotations

from clozelm.errors import ClozeError


def check_text(text: str) -> None:
    """Refuse text with lone surrogates, which is how bytes that are not UTF-8 come in."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ClozeError(f"{shortened(text)!r} is not valid text: it has bytes that are not UTF-8.")


def shortened(text: str, limit: int = 60) -> str:
    """Return the beginning of a text, to name it in a message."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
