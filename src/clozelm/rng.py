"""Randomness as an argument: counter-based generators named by a seed, a stream and coordinates."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

_WORD = (1 << 64) - 1
MAX_COORDINATES = 3


def generator(seed: int, stream: str, *coordinates: int) -> np.random.Generator:
    """Return the generator of one place in one stream, e.g. ``generator(seed, "mask", epoch, row)``.

    A pure function of its arguments: Philox with key (seed, hash of ``stream``) and the coordinates
    (at most three, each of 64 bits) in the high words of its counter. The low word counts the draws,
    so two places never overlap within 2^64 blocks. Source: Salmon et al. 2011, "Parallel random
    numbers: as easy as 1, 2, 3".
    """
    if len(coordinates) > MAX_COORDINATES:
        raise ValueError(f"{len(coordinates)} coordinates given; a counter holds {MAX_COORDINATES}")
    words = [c & _WORD for c in coordinates] + [0] * (MAX_COORDINATES - len(coordinates))
    key = np.array([seed & _WORD, _stream_key(stream)], dtype=np.uint64)
    counter = np.array([0, *words], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def seed_for(seed: int, stream: str, *coordinates: int) -> int:
    """Return a 63-bit seed for libraries that take an integer (torch generators)."""
    return int(generator(seed, stream, *coordinates).integers(0, 1 << 63, dtype=np.int64))


@lru_cache(maxsize=256)
def _stream_key(stream: str) -> int:
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
