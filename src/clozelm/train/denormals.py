"""Numbers below 1e-38, with which a CPU computes many times slower than with others.

Attention that has become sharp gives most tokens next to no weight, and its gradients are products of such weights:
on a trained encoder they make a backward pass several times slower. They count as 0 while a step is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_PARALLEL = 1 << 20  # elements that are shared out to all threads


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Count denormal numbers as 0 in this thread, and in threads that it starts meanwhile; no more afterwards.

    What has no such switch computes as ever.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def start_threads() -> None:
    """Start the threads that share products out, unless they run already; they go on counting denormals as 0."""
    with flushed_denormals():
        torch.ones(_PARALLEL).add_(1.0)
