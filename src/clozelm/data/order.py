"""A seeded order of the documents that is computed where it is needed and never held in memory."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clozelm.rng import generator

_ROUNDS = 8


def shuffled(indices: NDArray[np.int64], size: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Send each index below ``size`` to its place in the epoch's permutation of ``range(size)``.

    A Feistel network over pairs (left, right) of two near-equal ranges whose product is at least
    ``size``; what falls outside is sent on until it falls inside (cycle walking). Memory is that of
    ``indices``, whatever ``size`` is. Source: Black and Rogaway 2002, "Ciphers with arbitrary finite
    domains", sections 4 and 5.
    """
    width = max(1, math.isqrt(max(size - 1, 0)) + 1)
    height = max(1, -(-size // width))
    keys = generator(seed, "document order", epoch).integers(0, 1 << 64, _ROUNDS, dtype=np.uint64)
    places = _rounds(indices.astype(np.uint64), width, height, keys)
    outside = np.flatnonzero(places >= size)
    while outside.size:
        places[outside] = _rounds(places[outside], width, height, keys)
        outside = outside[places[outside] >= size]
    return places.astype(np.int64)


def _rounds(values: NDArray[np.uint64], width: int, height: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Permute ``range(width * height)``: each round moves one half by a hash of the other."""
    w, h = np.uint64(width), np.uint64(height)
    left, right = values // h, values % h
    for number, key in enumerate(keys):
        if number % 2:
            right = (right + _mixed(left ^ key) % h) % h
        else:
            left = (left + _mixed(right ^ key) % w) % w
    return left * h + right


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit words with the finaliser of SplitMix64 (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
