"""Find corpus files and open them as streams of bytes, whatever compression they have."""

from __future__ import annotations

import glob
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from clozelm.errors import DataError
from clozelm.text.valid import described, shortened

FORMATS = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSIONS = (".gz", ".xz", ".zst")
_HEAD_BYTES = 8192
_KINDS = (
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack it, or export it as .csv"),
    (b"\x1f\x8b", "a gzip file", "give its name the ending .gz"),
    (b"\xfd7zXZ\x00", "an xz file", "give its name the ending .xz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "give its name the ending .zst"),
    (b"BZh", "a bzip2 file", "unpack it first"),
    (b"PAR1", "a Parquet file", "give its name the ending .parquet"),
    (b"ARROW1", "an Arrow file", "give its name the ending .arrow to fine-tune, or save it as .parquet"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet or document", "export it as .csv or .txt"),
    (b"%PDF-", "a PDF file", "export its text"),
    (b"\x89PNG", "a PNG image", "name a file of text"),
)


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """List the files that paths, directories (searched whole) and globs name: in order, each once.

    A directory gives its files of known formats, sorted; hidden ones are left out, and .json where there are
    others, which it often describes. A file named by itself is read as text when its format is unknown.
    """
    if not paths:
        raise DataError("No corpus was named: give files, directories or globs.")
    found: dict[Path, None] = {}
    for path in map(named, paths):
        try:
            found.update(dict.fromkeys(_expand(path)))
        except OSError as error:
            raise DataError(f"{shortened(str(path))}: cannot be read ({error.strerror or error}).") from error
    return list(found)


def named(path: str | Path) -> Path:
    """Return the path of a name; an empty one, which would be the current directory, and no name are refused."""
    if not isinstance(path, str | os.PathLike):
        raise DataError(f"A file is named by a string or a path, not {described(path)}.")
    if path == "":
        raise DataError("An empty name was given for a file: name a file or directory.")
    return Path(path)


def format_of(path: Path) -> str:
    """Name the format of a file by its suffix, the compression left out: text where it is unknown."""
    return FORMATS.get(suffix_of(path), "text")


def suffix_of(path: Path) -> str:
    """Give the suffix of a file in lower case, the compression left out: .md for ``v1.2.MD.gz``."""
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed; an unreadable, damaged, empty or binary one is refused."""
    decompressed, damage = _codec(path)
    try:
        with path.open("rb") as raw, decompressed(raw) as stream:
            yield stream
    except damage as error:
        raise DataError(f"{path}: damaged {path.suffix} file ({error}).") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def check_text(path: Path) -> None:
    """Refuse an empty file, one of another kind by its first bytes, and one whose head has a NUL byte."""
    with open_bytes(path) as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise DataError(f"{path}: the file is empty.")
    if format_of(path) == "parquet":
        return
    refuse_other_kinds(path, head)
    if b"\0" in head:
        kind = "UTF-16 text" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "a binary file"
        raise DataError(f"{path}: looks like {kind} (it has NUL bytes), not UTF-8 text.")


def refuse_other_kinds(path: Path, head: bytes) -> None:
    """Refuse archives, images, documents and the like by the bytes they begin with."""
    for magic, kind, advice in _KINDS:
        if head.startswith(magic):
            raise DataError(f"{path}: looks like {kind}, not text: {advice}.")


def _expand(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        files = [each for each in sorted(path.rglob("*")) if each.is_file() and suffix_of(each) in FORMATS]
        files = [each for each in files if not any(p.startswith(".") for p in each.relative_to(path).parts)]
        files = [each for each in files if format_of(each) != "json"] or files
        if not files:
            raise DataError(f"{path}: no {', '.join(FORMATS)} files (plain or {', '.join(COMPRESSIONS)}) in it.")
        return files
    if path.exists():
        raise DataError(f"{path}: neither a file nor a directory.")
    matches = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(str(path)) else []
    if not matches:
        raise DataError(f"{path}: no such file or directory.")
    return [file for match in matches for file in _expand(Path(match))]


def _codec(path: Path) -> tuple[Callable[[IO[bytes]], Any], tuple[type[Exception], ...]]:
    """Choose what decompresses a file, and the errors by which that says that the data are damaged."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return lambda raw: gzip.GzipFile(fileobj=raw), (EOFError, gzip.BadGzipFile, zlib.error)
    if suffix == ".xz":
        return lzma.LZMAFile, (EOFError, lzma.LZMAError)
    if suffix != ".zst":
        return nullcontext, ()
    try:
        import zstandard
    except ImportError:
        raise DataError(f"{path}: reading .zst needs the package zstandard: `pip install zstandard`.") from None
    from clozelm.text.zstd import WholeFrames

    reader = zstandard.ZstdDecompressor().stream_reader
    damage = (EOFError, zstandard.ZstdError)
    return lambda raw: reader(WholeFrames(raw), read_across_frames=True), damage  # type: ignore[arg-type]
