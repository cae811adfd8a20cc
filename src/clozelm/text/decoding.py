"""Decode whole files: a byte order mark is believed, anything else is UTF-8 unless an encoding is named."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import NamedTuple

from clozelm.errors import DataError
from clozelm.text.files import open_bytes, refuse_other_kinds

# Longest first: the mark of UTF-16 begins that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_USUAL_ENCODING = "cp1252"
_SHIFT_TO_JAPANESE = b"\x1b$"


class Decoded(NamedTuple):
    """The text of a file, its lines ended by newlines alone, and what there is to say about it."""

    text: str
    notes: list[str]


def read_text(path: Path, encoding: str | None = None) -> Decoded:
    """Read a whole file as text; ``encoding`` is believed over everything but a byte order mark against it.

    Raises ``DataError`` for a file that is empty, binary, or not in its encoding, with file:line.
    """
    with open_bytes(path) as stream:
        raw = stream.read()
    if not raw:
        raise DataError(f"{path}: the file is empty.")
    refuse_other_kinds(path, raw)
    marked = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    name = _checked_encoding(path, marked, encoding)
    if name in ("utf-8", "utf-8-sig"):
        _refuse_nul(path, raw)
    text = _decoded(path, raw, name)
    notes = [f"{path}: read as {name.upper()}"] if name not in ("utf-8", "utf-8-sig") else []
    if encoding is not None and not name.startswith("utf") and _is_utf8_beyond_ascii(raw):
        notes.append(f"{path}: is valid UTF-8, yet read as {name} because --encoding says so")
    return Decoded(unified_lines(text), notes)


def unified_lines(text: str) -> str:
    """Drop a byte order mark and end lines by newlines alone, whether they ended as on Windows or on an old Mac."""
    text = text.removeprefix("\ufeff")
    if "\r" not in text:
        return text
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def _checked_encoding(path: Path, marked: str | None, encoding: str | None) -> str:
    if encoding is None:
        return marked or "utf-8"
    try:
        info = codecs.lookup(encoding)
    except (LookupError, ValueError):
        raise DataError(f"--encoding {encoding!a} is unknown; usual are utf-8, cp1252, latin-1, utf-16.") from None
    if not info._is_text_encoding:
        raise DataError(
            f"--encoding {encoding!a} is no encoding of text; usual are utf-8, cp1252, latin-1, utf-16."
        )
    if marked is None and info.name in ("utf-16", "utf-32"):
        raise DataError(f"{path}: has no byte order mark: name --encoding {info.name}-le or {info.name}-be.")
    if marked is None:
        return info.name
    if info.name.removesuffix("-sig").split("-")[:2] != marked.removesuffix("-sig").split("-")[:2]:
        shown = marked.removesuffix("-sig").upper()
        raise DataError(f"{path}: begins with the byte order mark of {shown}: leave out --encoding {encoding}.")
    return marked


def _decoded(path: Path, raw: bytes, name: str) -> str:
    try:
        text = raw.decode(name)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: {_why_not(raw, error, name)}") from None
    except UnicodeError as error:
        raise DataError(f"{path}: is not {name} ({error}); name its encoding with --encoding.") from None
    if _SHIFT_TO_JAPANESE in raw and name == "utf-8":
        line = raw.count(b"\n", 0, raw.index(_SHIFT_TO_JAPANESE)) + 1
        raise DataError(f"{path}:{line}: looks like ISO-2022-JP; name it with --encoding iso-2022-jp.")
    if "\0" in text and name not in ("utf-8", "utf-8-sig"):
        raise DataError(f"{path}: has NUL characters when read as {name}; name its encoding with --encoding.")
    return text


def _why_not(raw: bytes, error: UnicodeDecodeError, name: str) -> str:
    """Say which byte is wrong, and what it would be in the most usual other encoding."""
    said = f"byte 0x{raw[error.start]:02x} is not {name.upper().removesuffix('-SIG')}"
    if name not in ("utf-8", "utf-8-sig"):
        return f"{said}; name the encoding of the file with --encoding."
    start = max(raw.rfind(b"\n", 0, error.start) + 1, error.start - 12)
    around = raw[start : error.start + 12].split(b"\n")[0]
    try:
        shown = re.sub(r"[\x00-\x1f]", " ", around.decode(_USUAL_ENCODING))
    except UnicodeDecodeError:
        return f"{said}; name the encoding of the file with --encoding."
    return f"{said}; --encoding {_USUAL_ENCODING} would read {shown!r}: name the encoding of the file."


def _refuse_nul(path: Path, raw: bytes) -> None:
    place = raw.find(b"\0")
    if place < 0:
        return
    head = raw[:4096]
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 3 and head[offset::2].count(0) > len(head) // 5:
            raise DataError(f"{path}: looks like UTF-16 without its mark: name it with --encoding {name}.")
    line = raw.count(b"\n", 0, place) + 1
    raise DataError(f"{path}:{line}: has a NUL byte: a binary file, or text in another encoding (--encoding).")


def _is_utf8_beyond_ascii(raw: bytes) -> bool:
    try:
        return not raw.decode("utf-8").isascii()
    except UnicodeDecodeError:
        return False
