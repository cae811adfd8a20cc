"""Floating-point operations that a training step must do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clozelm.nn.config import EncoderConfig


def step_flops(config: EncoderConfig, piece_lengths: NDArray[np.int64], count: int) -> float:
    """Return the FLOPs of forward and backward over document pieces, ``count`` of whose tokens are scored.

    Counts matrix products only, 2 per multiply-add and twice the forward for the backward. What a step need
    not do is not counted: attention across documents, padding, the vocabulary at positions that nobody
    scores, and, in the last layer, everything but keys and values there. Nothing is counted twice for
    recomputation.
    """
    hidden, last = config.hidden_size, config.num_layers - 1
    tokens = float(piece_lengths.sum())
    perceptron = hidden * config.intermediate_size * (3 if config.gated else 2)
    total = float(count) * (hidden**2 + hidden * config.vocab_size)
    for index in range(config.num_layers):
        pairs = visible_pairs(piece_lengths, None if config.is_global(index) else config.window)
        if index < last:
            total += tokens * (4 * hidden**2 + perceptron) + 2 * pairs * hidden
        else:
            share = count / max(tokens, 1.0)
            total += tokens * 2 * hidden**2 + count * (2 * hidden**2 + perceptron) + 2 * pairs * share * hidden
    return 6.0 * total


def visible_pairs(piece_lengths: NDArray[np.int64], window: int | None) -> float:
    """Return how many (query, key) pairs see each other in document pieces, all of them or ``window`` wide."""
    lengths = piece_lengths.astype(np.float64)
    if window is None:
        return float((lengths**2).sum())
    reach = np.minimum(window // 2, lengths - 1)
    return float((lengths * (2 * reach + 1) - reach * (reach + 1)).sum())
