"""Text that can be encoded, and how messages name it."""

from __future__ import annotations

from clozelm.errors import ClozeError


def is_valid(text: str) -> bool:
    """Whether a text has no lone surrogates, which is how bytes that are not UTF-8 come in."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def require_valid(text: str) -> None:
    """Refuse text that cannot be encoded."""
    if not is_valid(text):
        raise ClozeError(f"{shortened(text)!r} is not valid text: it has bytes that are not UTF-8.")


def shortened(text: str, limit: int = 60) -> str:
    """Return the beginning of a text, to name it in a message."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def described(value: object) -> str:
    """Name what was given in place of something else: its type and how it is written, or None."""
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind} ({shortened(repr(value))})"
