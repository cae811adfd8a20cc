"""Floating-point operations that computing a model must cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clozelm.nn.config import EncoderConfig
from clozelm.types import Context

TRAINING = 3.0
"""A forward and a backward pass cost three times the forward pass: the backward has two products for each one."""


def encoder_flops(
    config: EncoderConfig, piece_lengths: NDArray[np.int64], count: int, context: Context = "both"
) -> float:
    """Return the FLOPs of a forward pass over document pieces, ``count`` of whose tokens are asked for.

    Counts matrix products only, 2 per multiply-add. What need not be done is not counted: attention across
    documents, padding, tokens out of ``context``, and, in the last layer, everything but keys and values at
    positions nobody asks for.
    """
    hidden, last = config.hidden_size, config.num_layers - 1
    tokens = float(piece_lengths.sum())
    perceptron = hidden * config.intermediate_size * (3 if config.gated else 2)
    total = 0.0 if config.embedding_size is None else tokens * config.embedding_size * hidden
    for index in range(config.num_layers):
        pairs = visible_pairs(piece_lengths, None if config.is_global(index) else config.window, context)
        if index < last:
            total += tokens * (4 * hidden**2 + perceptron) + 2 * pairs * hidden
        else:
            share = count / max(tokens, 1.0)
            total += tokens * 2 * hidden**2 + count * (2 * hidden**2 + perceptron) + 2 * pairs * share * hidden
    return 2.0 * total


def decoder_flops(
    config: EncoderConfig, target_lengths: NDArray[np.int64], piece_lengths: NDArray[np.int64]
) -> float:
    """Return the FLOPs of a forward pass of a decoder over ``target_lengths``, beside the encoder's pieces.

    Counts as ``encoder_flops`` does; in cross-attention every target token reads the whole of its piece.
    """
    hidden = config.hidden_size
    tokens, read = float(target_lengths.sum()), float(piece_lengths[target_lengths > 0].sum())
    perceptron = hidden * config.intermediate_size * (3 if config.gated else 2)
    crossed = float((target_lengths.astype(np.float64) * piece_lengths).sum())
    total = 0.0 if config.embedding_size is None else tokens * config.embedding_size * hidden
    for index in range(config.num_layers):
        pairs = visible_pairs(target_lengths, None if config.is_global(index) else config.window, "left")
        own = tokens * (4 * hidden**2 + perceptron) + 2 * pairs * hidden
        total += own + (tokens + read) * 2 * hidden**2 + 2 * crossed * hidden
    return 2.0 * total


def vocabulary_flops(config: EncoderConfig, count: int) -> float:
    """Return the FLOPs of a forward pass through the head for masked language modelling at ``count`` positions."""
    width = config.embedding_width
    return 2.0 * count * (config.hidden_size * width + width * config.vocab_size)


def visible_pairs(piece_lengths: NDArray[np.int64], window: int | None, context: Context = "both") -> float:
    """Return how many (query, key) pairs see each other in document pieces, all of them or ``window`` wide."""
    lengths = piece_lengths.astype(np.float64)
    reach = lengths - 1 if window is None else np.minimum(window // 2, lengths - 1)
    one_side = lengths * reach - reach * (reach + 1) / 2
    return float((lengths + (2 if context == "both" else 1) * one_side).sum())
