"""The token store: a prepared corpus as memory-mapped shards of ids and flags.

The format is described in docs/reference/token-store.md.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import DataError
from clozelm.text.atomic import AtomicDirectory, disk_errors

FORMAT = 1
MANIFEST = "manifest.json"
LENGTHS, UNIGRAMS = "lengths.bin", "unigrams.bin"
TOKENIZER = "tokenizer"
SHARD_TOKENS = 2**26

Manifest = dict[str, Any]
Ids = NDArray[np.uint16] | NDArray[np.uint32]


class Fingerprinted(Protocol):
    """What the store asks of a tokenizer: its hash and the number of its pieces."""

    @property
    def fingerprint(self) -> str:
        """Hash of the definition."""

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""


class TokenStore:
    """Read a token store; its shards are mapped, never loaded whole."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Map the files that the manifest names; use ``TokenStore.open``, which checks them first."""
        self.path = path
        self.manifest = manifest
        self.dtype = np.dtype(manifest["dtype"])
        self.num_documents = int(manifest["num_documents"])
        self.num_tokens = int(manifest["num_tokens"])
        lengths = _mapped(path / LENGTHS, np.dtype(manifest["lengths_dtype"]))
        self.offsets: NDArray[np.int64] = np.zeros(self.num_documents + 1, np.int64)
        np.cumsum(lengths, out=self.offsets[1:])
        self._ids = [_mapped(path / _shard("tokens", i), self.dtype) for i in range(len(manifest["shards"]))]
        self._flags = [_mapped(path / _shard("flags", i), np.dtype(np.uint8)) for i in range(len(self._ids))]
        self._starts = np.cumsum([0, *(shard["num_tokens"] for shard in manifest["shards"])])

    @classmethod
    def open(cls, path: str | Path, tokenizer: Fingerprinted | None = None) -> Self:
        """Open a store, checking its manifest, sizes of files, the sum of lengths and, if given, the tokenizer."""
        path = Path(path)
        manifest = read_manifest(path)
        _check_files(path, manifest)
        if tokenizer is not None and tokenizer.fingerprint != manifest["tokenizer"]["fingerprint"]:
            raise DataError(
                f"{path} was prepared with tokenizer {manifest['tokenizer']['fingerprint']}, not with "
                f"{tokenizer.fingerprint}: use the one in {path / TOKENIZER} or prepare the corpus again."
            )
        store = cls(path, manifest)
        if store.offsets[-1] != store.num_tokens:
            _check_crc32(path / LENGTHS, manifest["lengths_crc32"])
            raise DataError(
                f"{path / MANIFEST} is damaged (num_tokens={store.num_tokens}, but {LENGTHS} adds up to "
                f"{store.offsets[-1]}): prepare the corpus again."
            )
        return store

    @property
    def fingerprint(self) -> str:
        """Hash what is in the store, from its manifest's counts and checksums: 16 hex digits."""
        parts = {key: self.manifest[key] for key in ("tokenizer", "num_documents", "num_tokens", "shards")}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def vocab_size(self) -> int:
        """Count the pieces of the tokenizer that made the store."""
        return int(self.manifest["tokenizer"]["vocab_size"])

    @property
    def tokenizer_path(self) -> Path:
        """Name the directory with the store's own copy of its tokenizer."""
        return self.path / TOKENIZER

    def document(self, index: int) -> tuple[Ids, NDArray[np.uint8]]:
        """View the ids and flags of one document, without special tokens."""
        if not 0 <= index < self.num_documents:
            raise IndexError(f"document {index} of {self.num_documents}")
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        return self.tokens(start, stop), self.flags(start, stop)

    def tokens(self, start: int, stop: int) -> Ids:
        """View the ids of tokens ``start`` to ``stop`` of the corpus; a copy where they cross shards."""
        return self._slice(self._ids, start, stop)

    def flags(self, start: int, stop: int) -> NDArray[np.uint8]:
        """View the flags (WORD_START, SENTENCE_START, ANNOTATED) of tokens ``start`` to ``stop``."""
        return self._slice(self._flags, start, stop)

    def unigram_counts(self) -> NDArray[np.int64]:
        """Count how often each piece occurs, int64[vocab_size]."""
        counts = np.fromfile(self.path / UNIGRAMS, np.int64)
        if counts.min(initial=0) < 0 or counts.sum() != self.num_tokens:
            raise DataError(
                f"{self.path / UNIGRAMS} is damaged (its counts do not add up to the {self.num_tokens:,} tokens of "
                "the manifest): prepare the corpus again."
            )
        return counts

    def verify(self) -> None:
        """Compare the checksum of every file of numbers with the manifest; reads the whole store."""
        for name, crc in _checksums(self.manifest).items():
            _check_crc32(self.path / name, crc)

    def _slice(self, shards: list[NDArray[Any]], start: int, stop: int) -> NDArray[Any]:
        if not 0 <= start <= stop <= self.num_tokens:
            raise IndexError(f"tokens {start}:{stop} of {self.num_tokens}")
        shard = int(np.searchsorted(self._starts, start, "right")) - 1
        if start == stop:
            return np.empty(0, shards[0].dtype if shards else np.uint8)
        parts = []
        while start < stop:
            base, end = int(self._starts[shard]), min(stop, int(self._starts[shard + 1]))
            parts.append(shards[shard][start - base : end - base])
            start, shard = end, shard + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class StoreWriter:
    """Write a store beside its place and move it there when it is whole.

    Leaving the ``with`` block by an exception, or without ``close``, leaves nothing behind.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fingerprint: str,
        vocab_size: int,
        replace: bool = False,
        shard_tokens: int = SHARD_TOKENS,
    ) -> None:
        """Refuse a place that is taken, unless ``replace`` and what is there is a token store."""
        self._directory = AtomicDirectory(path, replace=replace, is_ours=is_store)
        self.building = self._directory.building
        self._tokenizer = {"fingerprint": fingerprint, "vocab_size": vocab_size}
        self.dtype = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)
        self._shard_tokens = shard_tokens
        self._shards: list[dict[str, int]] = []
        self._open: tuple[IO[bytes], IO[bytes]] | None = None
        self._lengths: list[NDArray[np.uint32]] = []
        self._counts = np.zeros(vocab_size, np.int64)
        self.num_tokens = self.num_documents = 0

    def add(self, ids: NDArray[Any], flags: NDArray[np.uint8]) -> None:
        """Append one document."""
        self.add_many(ids, flags, np.array([len(ids)], np.int64))

    def add_many(self, ids: NDArray[Any], flags: NDArray[np.uint8], lengths: NDArray[Any]) -> None:
        """Append documents laid end to end; each lies whole in one shard."""
        if not len(ids) == len(flags) == int(lengths.sum()):
            raise ValueError(f"{len(ids)} ids, {len(flags)} flags, {int(lengths.sum())} tokens in the documents")
        self._counts += np.bincount(ids, minlength=len(self._counts))
        self._lengths.append(lengths.astype(np.uint32))
        self.num_documents += len(lengths)
        self.num_tokens += len(ids)
        ends = np.cumsum(lengths)
        start = 0
        while start < len(ids):
            room = self._shard_tokens - (self._shards[-1]["num_tokens"] if self._open else 0)
            fitting = int(np.searchsorted(ends, start + room, "right"))
            stop = int(ends[fitting - 1]) if fitting else 0
            if stop <= start and self._open:
                self._close_shard()
                continue
            if stop <= start:  # a document larger than a shard has a shard of its own
                stop = int(ends[np.searchsorted(ends, start, "right")])
            self._write(ids[start:stop], flags[start:stop])
            start = stop

    def close(self, extra: Manifest | None = None) -> Manifest:
        """Write lengths, counts and the manifest, then move the directory to its place."""
        self._close_shard()
        lengths = np.concatenate(self._lengths) if self._lengths else np.empty(0, np.uint32)
        if lengths.max(initial=0) < 2**16:
            lengths = lengths.astype(np.uint16)
        with disk_errors(self._directory.path):
            lengths.tofile(self.building / LENGTHS)
            self._counts.tofile(self.building / UNIGRAMS)
            manifest = {
                "format": FORMAT,
                "tokenizer": self._tokenizer,
                "dtype": str(self.dtype),
                "lengths_dtype": str(lengths.dtype),
                "num_documents": self.num_documents,
                "num_tokens": self.num_tokens,
                "lengths_crc32": zlib.crc32(lengths.data),
                "unigrams_crc32": zlib.crc32(self._counts.data),
                "shards": self._shards,
                **(extra or {}),
            }
            text = json.dumps(manifest, indent=2, ensure_ascii=False)
            (self.building / MANIFEST).write_text(text + "\n", encoding="utf-8")
        self._directory.commit()
        return manifest

    def abort(self) -> None:
        """Remove what was written; harmless after ``close``."""
        if self._open:
            for file in self._open:
                with suppress(OSError):  # what is still to be written may not fit on the disk
                    file.close()
            self._open = None
        self._directory.discard()

    def __enter__(self) -> Self:
        """Give the writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Remove an unfinished store."""
        self.abort()

    def _write(self, ids: NDArray[Any], flags: NDArray[np.uint8]) -> None:
        with disk_errors(self._directory.path):
            if self._open is None:
                names = [_shard(kind, len(self._shards)) for kind in ("tokens", "flags")]
                self._open = (open(self.building / names[0], "wb"), open(self.building / names[1], "wb"))  # noqa: SIM115
                self._shards.append({"num_tokens": 0, "tokens_crc32": 0, "flags_crc32": 0})
            shard = self._shards[-1]
            data = (ids.astype(self.dtype.newbyteorder("<"), copy=False).tobytes(), flags.tobytes())
            for kind, file, raw in zip(("tokens", "flags"), self._open, data, strict=True):
                file.write(raw)
                shard[f"{kind}_crc32"] = zlib.crc32(raw, shard[f"{kind}_crc32"])
            shard["num_tokens"] += len(ids)

    def _close_shard(self) -> None:
        if self._open:
            with disk_errors(self._directory.path):
                for file in self._open:
                    file.close()
            self._open = None


def is_store(path: str | Path) -> bool:
    """Tell whether a directory holds a token store, whole or damaged: by its manifest, or by its other files."""
    path = Path(path)
    manifest = _read_json(path / MANIFEST)
    is_told = isinstance(manifest, dict) and {"format", "shards", "tokenizer"} <= manifest.keys()
    return is_told or all((path / name).is_file() for name in (LENGTHS, UNIGRAMS))


def read_manifest(path: str | Path) -> Manifest:
    """Read and check the manifest of a store."""
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path} does not exist or is not a directory: make a token store with `cloze prepare`.")
    file = path / MANIFEST
    manifest = _read_json(file)
    if not is_store(path) and not is_torn(file):
        raise DataError(f"{path} is not a token store (no {MANIFEST} of one): make one with `cloze prepare`.")
    if not file.is_file():
        raise DataError(f"{file} is missing: the store is damaged, prepare the corpus again.")
    if isinstance(manifest, dict) and _is_count(manifest.get("format")) and manifest["format"] != FORMAT:
        raise DataError(f"{path} has token store format {manifest['format']}; this version reads {FORMAT}.")
    fault = _fault(manifest)
    if fault is not None:
        raise DataError(f"{file} is damaged ({fault}): prepare the corpus again.")
    checked: Manifest = manifest
    return checked


def is_torn(file: Path) -> bool:
    """Tell whether a manifest is there and cannot be read."""
    return file.is_file() and _read_json(file) is None


def _read_json(file: Path) -> Any:
    """Return what a file says; None where it is missing or torn."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _fault(manifest: Any) -> str | None:
    """Say what in a manifest of this format cannot be; None where it can be used."""
    if not isinstance(manifest, dict):
        return "it is no JSON object"
    tokenizer, shards = manifest.get("tokenizer"), manifest.get("shards")
    is_kind = {key: manifest.get(key) in ("uint16", "uint32") for key in ("dtype", "lengths_dtype")}
    counts = ("format", "num_documents", "num_tokens", "lengths_crc32", "unigrams_crc32")
    is_kind |= {key: _is_count(manifest.get(key)) for key in counts}
    is_kind["tokenizer"] = (
        isinstance(tokenizer, dict)
        and isinstance(tokenizer.get("fingerprint"), str)
        and _is_count(tokenizer.get("vocab_size"))
    )
    is_kind["shards"] = isinstance(shards, list) and all(map(_is_shard, shards))
    for key in ("text", "repaired"):  # what another program wrote may lack them
        noted = manifest.get(key, {})
        is_kind[key] = isinstance(noted, dict) and all(map(_is_count, noted.values()))
    wrong = next((key for key, is_right in is_kind.items() if not is_right), None)
    if wrong is not None:
        said = repr(manifest.get(wrong))
        return f"{wrong}={said if len(said) <= 40 else said[:37] + '...'}"
    total = sum(shard["num_tokens"] for shard in manifest["shards"])
    return None if total == manifest["num_tokens"] else f"its shards hold {total:,} tokens, not num_tokens"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_shard(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_count(value.get(key)) for key in ("num_tokens", "tokens_crc32", "flags_crc32")
    )


def _check_files(path: Path, manifest: Manifest) -> None:
    sizes = {LENGTHS: manifest["num_documents"] * np.dtype(manifest["lengths_dtype"]).itemsize}
    sizes[UNIGRAMS] = manifest["tokenizer"]["vocab_size"] * 8
    for index, shard in enumerate(manifest["shards"]):
        sizes[_shard("tokens", index)] = shard["num_tokens"] * np.dtype(manifest["dtype"]).itemsize
        sizes[_shard("flags", index)] = shard["num_tokens"]
    for name, size in sizes.items():
        file = path / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            what = "is missing" if found is None else f"holds {found} bytes, not the {size} of the manifest"
            raise DataError(f"{file} {what}: the store is damaged, prepare the corpus again.")


def _checksums(manifest: Manifest) -> dict[str, int]:
    shards = {
        _shard(kind, index): shard[f"{kind}_crc32"]
        for index, shard in enumerate(manifest["shards"])
        for kind in ("tokens", "flags")
    }
    return shards | {LENGTHS: manifest["lengths_crc32"], UNIGRAMS: manifest["unigrams_crc32"]}


def _check_crc32(path: Path, crc: int) -> None:
    if _crc32_of(path) != crc:
        raise DataError(f"{path} is damaged (wrong checksum): prepare the corpus again.")


def _crc32_of(path: Path) -> int:
    data = _mapped(path, np.dtype(np.uint8))
    crc = 0
    for start, stop in pairwise([*range(0, len(data), 2**24), len(data)]):
        crc = zlib.crc32(data[start:stop].tobytes(), crc)
    return crc


def _shard(kind: str, index: int) -> str:
    return f"{kind}-{index:05d}.bin"


def _mapped(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype.newbyteorder("<"), mode="r")
