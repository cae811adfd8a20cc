"""Text as tokens on disk with what is known of every word, so that memory does not grow with the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from clozelm.data.store import StoreWriter, TokenStore
from clozelm.errors import DataError
from clozelm.explain.error_words import WordCounts, sentence_words, shapes_and_lengths, word_keys
from clozelm.text.atomic import disk_errors
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.word_cache import BatchEncoder

_CHARACTERS_AT_ONCE = 1 << 20
_COLUMNS: dict[str, type] = {
    "shapes": np.uint8,
    "letters": np.uint8,
    "sentences": np.uint16,
    "keys": np.uint64,
    "pieces": np.uint8,
}


@dataclass(frozen=True)
class Corpus:
    """A text's tokens, and for every token of it what is known of its word, mapped from disk.

    ``shapes`` are places in ``SHAPES``, ``letters`` characters of the word, ``sentences`` words of the sentence,
    ``keys`` hashes of the word and ``pieces`` how many it has. ``words`` counts the words of this text.
    """

    store: TokenStore
    shapes: NDArray[np.uint8]
    letters: NDArray[np.uint8]
    sentences: NDArray[np.uint16]
    keys: NDArray[np.uint64]
    pieces: NDArray[np.uint8]
    words: WordCounts


@contextmanager
def spooled(texts: Iterable[str], tokenizer: Tokenizer) -> Iterator[Corpus]:
    """Write texts as tokens into a temporary directory, which is removed at the end, and map it.

    The ids are those of ``prepare`` and ``evaluate``. Raises ``DataError`` when no token comes out.
    """
    with TemporaryDirectory(prefix="cloze-errors-") as folder:
        words = _write(texts, tokenizer, Path(folder))
        store = TokenStore.open(Path(folder) / "tokens")
        if not store.num_tokens:
            raise DataError("There is no text to examine.")
        columns: dict[str, Any] = {
            name: np.memmap(Path(folder) / name, dtype, mode="r") for name, dtype in _COLUMNS.items()
        }
        yield Corpus(store=store, words=words, **columns)


def _write(texts: Iterable[str], tokenizer: Tokenizer, folder: Path) -> WordCounts:
    """Write the store and a file for every column."""
    encoder, words = BatchEncoder(tokenizer), WordCounts()
    with disk_errors(folder), ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / name, "wb")) for name in _COLUMNS}
        empty = StoreWriter(folder / "tokens", fingerprint=tokenizer.fingerprint, vocab_size=tokenizer.vocab_size)
        writer = stack.enter_context(empty)
        for batch in _batches(texts):
            encoded = encoder(batch)
            writer.add_many(encoded.ids, encoded.flags, encoded.lengths)
            ends = np.cumsum(encoded.lengths)
            for text, end, length in zip(batch, ends.tolist(), encoded.lengths.tolist(), strict=True):
                part = slice(end - length, end)
                _describe(files, words, encoded.ids[part], encoded.flags[part], text, encoder)
        writer.close()
    return words


def _describe(
    files: Mapping[str, IO[bytes]],
    words: WordCounts,
    ids: NDArray[np.uint32],
    flags: NDArray[np.uint8],
    text: str,
    encoder: BatchEncoder,
) -> None:
    """Write the columns of one document, and count its words."""
    keys, sizes = word_keys(ids, flags)
    words.add(keys)
    shapes, letters = shapes_and_lengths(text, encoder.offsets(text), flags)
    columns: dict[str, NDArray[Any]] = {
        "shapes": shapes,
        "letters": letters,
        "sentences": sentence_words(flags),
        "keys": np.repeat(keys, sizes),
        "pieces": np.repeat(np.minimum(sizes, 255), sizes),
    }
    for name, dtype in _COLUMNS.items():
        files[name].write(columns[name].astype(dtype, copy=False).tobytes())


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _CHARACTERS_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
