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
    hidden, wide = config.hidden_size, config.intermediate_size
    tokens = float(piece_lengths.sum())
    pairs = float((piece_lengths.astype(np.float64) ** 2).sum())
    mean_pairs = pairs / max(tokens, 1.0)
    perceptron = hidden * wide * (3 if config.gated else 2)
    layer = tokens * (4 * hidden**2 + perceptron) + 2 * pairs * hidden
    last = tokens * 2 * hidden**2 + count * (2 * hidden**2 + perceptron + 2 * mean_pairs * hidden)
    head = count * (hidden**2 + hidden * config.vocab_size)
    return 6.0 * ((config.num_layers - 1) * layer + last + head)
