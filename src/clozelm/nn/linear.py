"""Products with a weight matrix whose number of rows takes few values where each new one costs time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_MOST_ROWS = 2048  # beyond them copying the rows costs as much as the program


def linear(
    x: Float[Tensor, "*rows width"], weight: Float[Tensor, "out width"], bias: Float[Tensor, "out"] | None = None
) -> Float[Tensor, "*rows out"]:
    """Equal ``F.linear``; in bf16 on a CPU it is computed on a rounded number of rows."""
    missing = missing_rows(x)
    if not missing:
        return F.linear(x, weight, bias)
    return F.linear(F.pad(x, (0, 0, 0, missing)), weight, bias)[: len(x)]


def missing_rows(x: Float[Tensor, "*rows width"]) -> int:
    """Return how many rows of zeros round ``x`` up to one of eight sizes between powers of two.

    In bf16 on a CPU, oneDNN makes a program for every size it has not met, in 4 to 15 milliseconds, often longer
    than the product takes. The number of predictions differs in every batch. Elsewhere, and for many rows, nothing
    is rounded.
    """
    is_half_on_cpu = x.dtype == torch.bfloat16 and x.device.type == "cpu"
    if torch.compiler.is_compiling() or x.dim() != 2 or not is_half_on_cpu or len(x) > _MOST_ROWS:
        return 0
    return -len(x) % (1 << max(0, len(x).bit_length() - 4))


class Linear(nn.Linear):
    """``nn.Linear`` by ``linear``."""

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows out"]:
        """Return ``x`` times the transposed weight, plus the bias."""
        return linear(x, self.weight, self.bias)
