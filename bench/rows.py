"""Rows for the benchmarks, from raw text: WordPiece of the shape's size, grouped rows or one sentence a row.

Made once per corpus and kept under the output folder, so that every side of every run reads the same ids.
"""

import gzip
import hashlib
import json
import lzma
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.workload import CLS, SEP, SHAPES, SPECIAL_TOKENS, write_rows

ROW_LENGTH = 128
OPENERS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}


def paragraphs(paths: Sequence[Path]) -> Iterator[str]:
    """The texts of a corpus: the lines of plain text, the `text` of JSON lines; empty ones are left out."""
    for path in paths:
        with OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line)["text"] if ".jsonl" in path.name else line
                if text.strip():
                    yield text.strip()


def sentences(paths: Sequence[Path]) -> Iterator[str]:
    """The same texts cut behind full stops: a rough cut is enough for lengths that are like real ones."""
    for paragraph in paragraphs(paths):
        yield from (part for part in re.split(r"(?<=[.!?]) +", paragraph) if part)


def rows_of(shape: str, kind: str, paths: Sequence[Path], count: int, folder: Path) -> Path:
    """Return the file with ``count`` rows, ``grouped`` or ``sentences``, and make it when it is not there."""
    key = json.dumps([shape, kind, count, [(str(path), path.stat().st_size) for path in paths]])
    name = f"{shape}-{kind}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    path = folder / f"{name}{'.npy' if kind == 'grouped' else '.npz'}"
    if path.exists():
        return path
    texts = list(islice(sentences(paths) if kind == "sentences" else paragraphs(paths), 4 * count))
    encoded = _encode(texts, SHAPES[shape].vocab_size)
    rows = list(islice(_grouped(encoded) if kind == "grouped" else _single(encoded), count))
    if len(rows) < count:
        raise SystemExit(f"the corpus gives {len(rows)} of the {count} rows the benchmark needs: name more text")
    write_rows(path, rows)
    return path


def random_rows(shape: str, kind: str, count: int, folder: Path) -> Path:
    """Rows of ids drawn as words fall in text (Zipf), for a machine without a corpus."""
    rng = np.random.default_rng(0)
    ordinary = SHAPES[shape].vocab_size - len(SPECIAL_TOKENS)
    lengths = np.full(count, ROW_LENGTH) if kind == "grouped" else rng.integers(8, 72, count)
    rows = [_framed((rng.zipf(1.2, n - 2) % ordinary + len(SPECIAL_TOKENS)).tolist()) for n in lengths]
    path = folder / f"{shape}-{kind}-random-{count}{'.npy' if kind == 'grouped' else '.npz'}"
    write_rows(path, rows)
    return path


def _encode(texts: list[str], vocab_size: int) -> Iterator[list[int]]:
    """Train WordPiece on the texts and encode them; special tokens get the ids of the workload."""
    from tokenizers import implementations

    tokenizer = implementations.BertWordPieceTokenizer(lowercase=True)  # type: ignore[attr-defined]
    source: Any = texts  # its annotation asks for batches of texts; it takes texts
    tokenizer.train_from_iterator(
        source, vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        yield encoding.ids


def _framed(ids: list[int]) -> np.ndarray:
    return np.array([CLS, *ids, SEP])


def _single(encoded: Iterator[list[int]]) -> Iterator[np.ndarray]:
    return (_framed(ids[: ROW_LENGTH - 2]) for ids in encoded if len(ids) >= 4)


def _grouped(encoded: Iterator[list[int]]) -> Iterator[np.ndarray]:
    """Join the framed texts and cut into whole rows, as transformers' run_mlm groups them."""
    waiting: list[int] = []
    for ids in encoded:
        waiting += [CLS, *ids, SEP]
        while len(waiting) >= ROW_LENGTH:
            yield np.array(waiting[:ROW_LENGTH])
            waiting = waiting[ROW_LENGTH:]
