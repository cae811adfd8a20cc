"""The corpus pipeline: documents in, a token store out; text is encoded by several processes, in order."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from clozelm.data.store import TOKENIZER, Manifest, StoreWriter
from clozelm.data.workers import checked_workers, run_ordered
from clozelm.errors import DataError
from clozelm.text.atomic import disk_errors
from clozelm.text.files import check_text, find_files, format_of
from clozelm.text.filters import FilterSettings, drop_reason
from clozelm.text.normalize import UnicodeForm, moved_spans, normalize
from clozelm.text.readers import MAX_CHARACTERS, Document, InvalidUtf8, Reading, Unit, held_out_from, read_all
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.word_cache import BatchEncoder
from clozelm.vocab import ANNOTATED

HELD_OUT = "held_out"
_BATCH_CHARACTERS = 2**20
_BATCH_DOCUMENTS = 4096


class PrepareSettings(BaseModel):
    """How raw text becomes tokens; everything here decides what is in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: Unit = Field(
        default="auto",
        description="What a document is; auto: records from jsonl, json, csv, tsv and parquet, files "
        "from md, else blocks between blank lines.",
    )
    field: str = Field(
        default="text", description="Text field of records; several, as in title,text, are joined by lines."
    )
    spans_field: str = Field(
        default="spans", description="Field of records with annotated [start, end] characters."
    )
    invalid_utf8: InvalidUtf8 = Field(default="replace", description="What to do about bytes that are not UTF-8.")
    max_document_characters: int = Field(
        default=MAX_CHARACTERS,
        ge=1000,
        description="Longer documents are cut here, at white space where there is some.",
    )
    unicode_form: UnicodeForm = Field(default="NFC", description="Unicode normalisation form.")
    keep_control: bool = Field(default=False, description="Keep control characters other than tabs and line ends.")
    collapse_spaces: bool = Field(
        default=False, description="Make every run of white space one space or one line end."
    )
    filters: FilterSettings = Field(default=FilterSettings(), description="Which documents to drop.")
    dedup: bool = Field(
        default=False,
        description="Drop documents that repeat an earlier one exactly (about 120 bytes of memory a document).",
    )
    hold_out: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the documents, from the end, that goes to held_out/ instead.",
    )

    def reading(self) -> Reading:
        """Give the part that the readers need."""
        return Reading(
            self.documents, self.field, self.spans_field, self.invalid_utf8, self.max_document_characters
        )

    def form(self) -> dict[str, Any]:
        """Give the part that ``normalize`` needs."""
        return {
            "unicode_form": self.unicode_form,
            "keep_control": self.keep_control,
            "collapse_spaces": self.collapse_spaces,
        }


@dataclass
class Totals:
    """What went into a store and what was left out."""

    bytes: int = 0
    characters: int = 0
    words: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def record(self) -> dict[str, Any]:
        """Give the counts as the manifest has them."""
        return {
            "text": {"bytes": self.bytes, "characters": self.characters, "words": self.words},
            "dropped": dict(sorted(self.dropped.items())),
        }


class PreparedBatch(NamedTuple):
    """What a worker makes of a batch; every array is per token or per kept document."""

    is_held_out: bool
    ids: NDArray[Any]
    flags: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    characters: NDArray[np.int64]
    words: NDArray[np.int64]
    digests: list[bytes]
    texts: list[str]
    dropped: Counter[str]


def prepare(
    paths: Sequence[str | Path],
    tokenizer: Tokenizer,
    out: str | Path,
    settings: PrepareSettings | None = None,
    *,
    workers: int | None = None,
    replace: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Turn a corpus into a token store at ``out``; the store is the same for any number of workers.

    ``settings.hold_out`` puts the last documents into a store of their own, ``out/held_out``, and their text
    into ``out/held_out.jsonl``. ``progress`` is called with the documents read and the tokens written so far.
    """
    settings = settings or PrepareSettings()
    workers = checked_workers(workers)
    files = _checked_files(paths)
    reading = settings.reading()
    started = time.perf_counter()
    with _Output(out, tokenizer, settings, replace=replace) as output:
        tasks = _batches(read_all(files, reading), _split_point(files, settings))
        argument = (tokenizer.backend.to_str(), tokenizer.config, settings)
        for batch in run_ordered(BatchPreparer, argument, tasks, workers=workers):
            output.add(batch)
            if progress:
                progress(output.num_read, output.num_tokens)
        return output.close(_origin(files, settings, reading) | {"seconds": time.perf_counter() - started})


def training_documents(paths: Sequence[str | Path], settings: PrepareSettings) -> Iterator[Document]:
    """Yield what ``prepare`` does not hold out, normalised as it encodes it, for a tokenizer to learn from."""
    files = _checked_files(paths)
    form = settings.form()
    kept = islice(read_all(files, settings.reading()), _split_point(files, settings))
    return (Document(normalize(document.text, **form), document.source) for document in kept)


class BatchPreparer:
    """Normalise, filter and encode batches; one lives in every worker."""

    def __init__(self, argument: tuple[str, dict[str, Any], PrepareSettings]) -> None:
        definition, config, self._settings = argument
        self._tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(definition), config)
        self._encode = BatchEncoder(self._tokenizer)
        self._dtype = np.uint16 if self._tokenizer.vocab_size <= 2**16 else np.uint32
        self._form = self._settings.form()

    def __call__(self, task: tuple[bool, list[Document]]) -> PreparedBatch:
        """Prepare one batch of documents."""
        is_held_out, documents = task
        dropped: Counter[str] = Counter()
        kept: list[Document] = []
        for document in documents:
            text = normalize(document.text, **self._form)
            reason = drop_reason(text, self._settings.filters)
            if reason:
                dropped[reason] += 1
            else:
                spans = moved_spans(document.text, document.annotated, **self._form) if document.annotated else ()
                kept.append(Document(text, document.source, spans))
        return self._encoded(is_held_out, kept, dropped)

    def _encoded(self, is_held_out: bool, kept: list[Document], dropped: Counter[str]) -> PreparedBatch:
        texts = [document.text for document in kept]
        raw = [text.encode("utf-8") for text in texts]
        ids, flags, lengths = self._encode(texts)
        starts = np.cumsum(lengths) - lengths
        for document, start, length in zip(kept, starts, lengths, strict=True):
            if document.annotated:
                flags[start : start + length] |= self._annotated(document)
        return PreparedBatch(
            is_held_out,
            ids.astype(self._dtype),
            flags,
            lengths,
            np.fromiter(map(len, raw), np.int64, len(raw)),
            np.fromiter(map(len, texts), np.int64, len(raw)),
            np.fromiter((text.count(" ") + text.count("\n") + 1 for text in texts), np.int64, len(raw)),
            [hashlib.blake2b(each, digest_size=16).digest() for each in raw] if self._settings.dedup else [],
            texts if is_held_out else [],
            dropped,
        )

    def _annotated(self, document: Document) -> NDArray[np.uint8]:
        """Mark the tokens that share a character with an annotated span."""
        offsets = self._encode.offsets(document.text)
        marked = np.zeros(len(offsets), np.bool_)
        is_written = offsets[:, 1] > offsets[:, 0]
        for start, stop in document.annotated:
            marked |= is_written & (offsets[:, 0] < stop) & (offsets[:, 1] > start)
        return marked.astype(np.uint8) * np.uint8(ANNOTATED)


class _Output:
    """The store being written and, if asked for, the held-out one inside it."""

    def __init__(self, out: str | Path, tokenizer: Tokenizer, settings: PrepareSettings, *, replace: bool) -> None:
        self._tokenizer, self._place = tokenizer, Path(out)
        self._identity = {"fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size}
        self._main = StoreWriter(out, replace=replace, **self._identity)  # type: ignore[arg-type]
        self._held: StoreWriter | None = None
        if settings.hold_out:
            self._held = StoreWriter(self._main.building / HELD_OUT, **self._identity)  # type: ignore[arg-type]
        self._totals = {False: Totals(), True: Totals()}
        self._seen: set[bytes] = set()
        self.num_read = self.num_tokens = 0

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in (self._held, self._main):
            if writer is not None:
                writer.abort()

    def add(self, batch: PreparedBatch) -> None:
        totals = self._totals[batch.is_held_out]
        totals.dropped += batch.dropped
        self.num_read += len(batch.lengths) + batch.dropped.total()
        batch = self._without_duplicates(batch, totals)
        writer = self._held if batch.is_held_out and self._held else self._main
        writer.add_many(batch.ids, batch.flags, batch.lengths)
        totals.bytes += int(batch.num_bytes.sum())
        totals.characters += int(batch.characters.sum())
        totals.words += int(batch.words.sum())
        self.num_tokens += len(batch.ids)
        if batch.texts:
            self._write_texts(batch.texts)

    def close(self, origin: Manifest) -> Manifest:
        for writer, totals in ((self._held, self._totals[True]), (self._main, self._totals[False])):
            if writer is None:
                continue
            if not writer.num_tokens:
                read, why = self.num_read, dict(totals.dropped) or "they hold no text"
                raise DataError(f"No tokens: {read} documents were read and none was left ({why}).")
            with disk_errors(self._place):
                self._tokenizer.write(writer.building / TOKENIZER)
            manifest = writer.close(origin | totals.record())
            origin = origin | {HELD_OUT: {key: manifest[key] for key in ("num_tokens", "num_documents", "text")}}
        return manifest

    def _without_duplicates(self, batch: PreparedBatch, totals: Totals) -> PreparedBatch:
        """Drop documents whose digest was seen before, here or in an earlier batch."""
        if not batch.digests:
            return batch
        keep = np.ones(len(batch.digests), np.bool_)
        for index, digest in enumerate(batch.digests):
            keep[index] = digest not in self._seen
            self._seen.add(digest)
        if keep.all():
            return batch
        totals.dropped["duplicate"] += int((~keep).sum())
        tokens = np.repeat(keep, batch.lengths)
        per_document = {
            name: getattr(batch, name)[keep] for name in ("lengths", "num_bytes", "characters", "words")
        }
        texts = [text for text, is_kept in zip(batch.texts, keep, strict=False) if is_kept]
        return batch._replace(ids=batch.ids[tokens], flags=batch.flags[tokens], texts=texts, **per_document)

    def _write_texts(self, texts: list[str]) -> None:
        path = self._main.building / f"{HELD_OUT}.jsonl"
        with disk_errors(self._place), path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


def _checked_files(paths: Sequence[str | Path]) -> list[Path]:
    """Find the files of a corpus and look at the head of each, before the first is read for long."""
    files = find_files(paths)
    for path in files:
        check_text(path)
    return files


def _split_point(files: Sequence[Path], settings: PrepareSettings) -> int | None:
    """Count the documents if some are held out, of which some must be left; None holds out none."""
    if not settings.hold_out:
        return None
    count = sum(1 for _ in read_all(files, settings.reading()))
    split = held_out_from(count, settings.hold_out)
    if count and not split:
        name = str(files[0]) if len(files) == 1 else "The corpus"
        is_divisible = settings.documents != "line" and any(format_of(path) == "text" for path in files)
        advice = "pass --documents line" if is_divisible else "give more documents"
        documents = f"{count} document{'s' * (count != 1)}"
        share = f"--hold-out {settings.hold_out:g}"
        raise DataError(f"{name} was read as {documents}, which {share} keeps apart: {advice}, or --hold-out 0.")
    return split


def _batches(documents: Iterator[Document], split: int | None) -> Iterator[tuple[bool, list[Document]]]:
    """Group documents into batches of about a million characters, none across the split."""
    training = documents if split is None else islice(documents, split)
    for is_held_out, part in ((False, training), (True, documents)):
        batch: list[Document] = []
        size = 0
        for document in part:
            batch.append(document)
            size += len(document.text)
            if size >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
                yield is_held_out, batch
                batch, size = [], 0
        if batch:
            yield is_held_out, batch


def _origin(files: Sequence[Path], settings: PrepareSettings, reading: Reading) -> Manifest:
    return {
        "sources": [{"path": str(path), "bytes": path.stat().st_size} for path in files],
        "repaired": dict(sorted(reading.counts.items())),
        "settings": settings.model_dump(),
    }
