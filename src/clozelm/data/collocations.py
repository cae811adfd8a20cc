"""Collocations mined from a token store: runs of two to five words that occur together more than by chance."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clozelm.data.counts import CountTable, WordSlice, word_slices
from clozelm.data.rows import Tokens
from clozelm.data.store import TokenStore
from clozelm.errors import SettingsError
from clozelm.hashes import Hashes, found_in
from clozelm.text.tokenizer import Tokenizer
from clozelm.vocab import WORD_START

FILE = "collocations.npz"
FORMAT = 1
MOST_COUNTED = 1 << 23
_DAMAGED = "is damaged, or of an older version: mined anew."
SHARES = {2: 0.5, 3: 0.25, 4: 0.125, 5: 0.125}
"""The part of the table that runs of n words get (Levine et al. 2020, code)."""


@dataclass(frozen=True)
class Mining:
    """Say what a collocation is: of 2 to ``longest`` words, seen ``min_count`` times, the best ``size`` in all.

    ``most_counted`` bounds the memory: so many different runs of one length are counted at once, 24 bytes each and
    about as much again while they are sorted. Defaults but the last: Levine et al. 2020, section 4.
    """

    size: int = 800_000
    min_count: int = 10
    longest: int = 5
    most_counted: int = MOST_COUNTED

    def __post_init__(self) -> None:
        if not 2 <= self.longest <= max(SHARES):
            raise SettingsError(f"masking.pmi.longest={self.longest} must be 2, 3, 4 or 5 words.")
        for name in ("size", "min_count"):
            if getattr(self, name) < 1:
                raise SettingsError(f"masking.pmi.{name}={getattr(self, name)} must be at least 1.")


class Ranked(NamedTuple):
    """The collocations of one number of words, by ascending hash.

    ``scores`` are PMI_n in nats, ``first`` the place in the corpus where each is met.
    """

    keys: Hashes
    counts: NDArray[np.int64]
    scores: NDArray[np.float64]
    first: NDArray[np.int64]


@dataclass(frozen=True)
class Collocations:
    """What was mined: ``ranked[i]`` are the collocations of i + 2 words.

    ``version`` names the mining and the store that was mined. ``undercount`` is how much too low a count may be, 0
    where everything fitted into memory. ``notice`` says why what lay in the store was not used.
    """

    ranked: tuple[Ranked, ...]
    version: str
    undercount: int = 0
    notice: str | None = None

    @property
    def tables(self) -> list[Hashes]:
        """The hashes alone, as masking needs them."""
        return [each.keys for each in self.ranked]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what was mined, from which tokens and how: 16 hex digits."""
        found = hashlib.sha256(self.version.encode())
        for each in self.ranked:
            for array in each:
                found.update(array.tobytes())
        return found.hexdigest()[:16]


def mine(store: Tokens, is_special: NDArray[np.bool_], mining: Mining, *, version: str = "") -> Collocations:
    """Count runs of words and keep those that belong together; reads the store ``longest`` + 1 times.

    Runs do not cross documents nor words with a special token. A run of n words is counted only if both of its runs
    of n - 1 words reached ``min_count``: no other can reach it. Its score is, over all ways to cut it into shorter
    runs, the smallest of log p(run) - sum of log p(part), p being counts over the number of runs of that length
    (Levine et al. 2020, equation 3). The best of each length are kept, in the shares of the paper's own lists
    (1/2 of 2 words, 1/4 of 3, 1/8 of 4 and of 5), if they score above 0; a length that has too few leaves its share
    unused. Ties go to the one met first.
    """
    tables: list[CountTable] = []
    totals = np.zeros(mining.longest + 1)
    for words in range(1, mining.longest + 1):
        table = CountTable(mining.most_counted)
        for part in word_slices(store, is_special):
            totals[words] += _count(part, words, tables, table, mining.min_count)
        table.keep(table.counts >= mining.min_count)
        tables.append(table)
    ranked = _ranked(store, is_special, tables, totals, mining)
    return Collocations(tuple(ranked), version, max(table.lost for table in tables))


def collocations(
    store: TokenStore, is_special: NDArray[np.bool_], mining: Mining | None = None, *, keep: bool = True
) -> Collocations:
    """Return the collocations of a store: those kept in it if they were mined in the same way, else new ones.

    A file that is damaged, or was mined from other tokens or with other settings, is not used; ``notice`` says so.
    New ones are written into the store's directory as ``collocations.npz``, whole or not at all, if ``keep``; where
    that cannot be written to they are only returned.
    """
    mining = mining or Mining()
    version = (
        f"{FORMAT}-{store.fingerprint}-{mining.size}-{mining.min_count}-{mining.longest}-{mining.most_counted}"
    )
    path = store.path / FILE
    found = _read(path, version)
    if isinstance(found, Collocations):
        return found
    mined = replace(mine(store, is_special, mining, version=version), notice=f"{path} {found}" if found else None)
    if keep:
        _write(path, mined)
    return mined


def best_collocations(table: Collocations, store: TokenStore, tokenizer: Tokenizer, n: int = 20) -> list[str]:
    """Return the text of the best ``n`` collocations of a store, by turns of 2, 3, .. words, best first."""
    by_words = [
        [_text(store, tokenizer, int(each.first[index]), words) for index in _best_first(each)[:n]]
        for words, each in enumerate(table.ranked, 2)
    ]
    turns = [texts[turn] for turn in range(n) for texts in by_words if turn < len(texts)]
    return turns[:n]


def _count(part: WordSlice, words: int, tables: list[CountTable], table: CountTable, min_count: int) -> int:
    """Count the runs of ``words`` words of a slice that may reach ``min_count``; return how many runs there are."""
    keys, may_count, shorter = part.keys, np.empty(0, np.bool_), part.keys
    for length, keys, may_count in part.runs(words):  # noqa: B007 the last is meant
        shorter = keys if length == words - 1 else shorter
    may = may_count.copy()
    if words > 1:
        is_frequent = found_in(tables[-1].keys, shorter)[1]
        may &= is_frequent[:-1] & is_frequent[1:]
    places = may.nonzero()[0]
    if places.size:
        table.add(keys[places], part.first[places])
    return int(np.count_nonzero(may_count))


def _ranked(
    store: Tokens,
    is_special: NDArray[np.bool_],
    tables: list[CountTable],
    totals: NDArray[np.float64],
    mining: Mining,
) -> Iterator[Ranked]:
    """Score what was counted where it is met first, and keep the best of every length."""
    scores = [np.full(table.keys.size, -np.inf) for table in tables]
    for part in word_slices(store, is_special):
        logs: list[NDArray[np.float64]] = []
        for words, keys, may_count in part.runs(len(tables)):
            place, is_there = found_in(tables[words - 1].keys, keys)
            is_there &= may_count
            with np.errstate(divide="ignore", invalid="ignore"):
                log = (
                    np.log(tables[words - 1].counts[place] / totals[words])
                    if is_there.any()
                    else np.zeros(keys.size)
                )
            log[~is_there] = -np.inf
            logs.append(log)
            if words > 1:
                is_first = is_there.copy()
                is_first[is_there] = tables[words - 1].first[place[is_there]] == part.first[: keys.size][is_there]
                here = is_first.nonzero()[0]
                scores[words - 1][place[here]] = logs[-1][here] - _best_cut(logs, here)
    whole = sum(SHARES[words] for words in range(2, len(tables) + 1))
    for words in range(2, len(tables) + 1):
        table, score = tables[words - 1], scores[words - 1]
        order = np.lexsort((table.first, -score))[: round(mining.size * SHARES[words] / whole)]
        kept = np.sort(order[score[order] > 0.0])
        yield Ranked(table.keys[kept], table.counts[kept], score[kept], table.first[kept])


def _best_cut(logs: list[NDArray[np.float64]], here: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the largest sum of log p over all ways to cut the runs that begin at ``here`` into shorter ones.

    ``logs[n - 1]`` holds log p of the run of n words from each word on; the runs have ``len(logs)`` words.
    """
    words = len(logs)
    best = [np.zeros(here.size)]
    for stop in range(1, words + 1):
        ways = [best[start] + logs[stop - start - 1][here + start] for start in range(stop) if stop - start < words]
        best.append(np.max(ways, axis=0))
    return best[-1]


def _best_first(ranked: Ranked) -> NDArray[np.int64]:
    return np.lexsort((ranked.first, -ranked.scores))


def _text(store: TokenStore, tokenizer: Tokenizer, first: int, words: int) -> str:
    """Read the words that begin at a place of the corpus."""
    end, size = int(store.offsets[store.offsets.searchsorted(first, side="right")]), 64
    while True:
        stop = min(first + size, end)
        later = (store.flags(first, stop) & WORD_START).nonzero()[0]
        later = later[later > 0]
        if later.size >= words or stop == end:
            stop = first + int(later[words - 1]) if later.size >= words else end
            return tokenizer.decode(store.tokens(first, stop)).strip()
        size *= 4


def _read(path: Path, version: str) -> Collocations | str:
    """Read a table, or say why it cannot be used; nothing where there is none."""
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            meta = json.loads(str(arrays["meta"]))
            if meta["version"] != version:
                return "was mined from other tokens or with other settings: mined anew."
            ranked = [Ranked(*(arrays[f"{name}_{words}"] for name in Ranked._fields)) for words in meta["words"]]
            table = Collocations(tuple(ranked), version, int(meta["undercount"]))
            is_same = meta["fingerprint"] == table.fingerprint
    except (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return _DAMAGED
    return table if is_same else _DAMAGED


def _write(path: Path, table: Collocations) -> None:
    words = range(2, len(table.ranked) + 2)
    meta = {
        "version": table.version,
        "words": list(words),
        "undercount": table.undercount,
        "fingerprint": table.fingerprint,
    }
    arrays = {
        f"{name}_{number}": array
        for number, each in zip(words, table.ranked, strict=True)
        for name, array in each._asdict().items()
    }
    aside = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with aside.open("wb") as file:
            np.savez(file, meta=np.array(json.dumps(meta)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        with suppress(OSError):
            aside.unlink()
