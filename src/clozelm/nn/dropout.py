"""Dropout whose mask is a pure function of a seed, cheap on a CPU."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

_STEPS = 1 << 16  # the rate is rounded to 1/65536


class Dropout(nn.Module):
    """Zero each element with probability ``rate`` and scale the rest (Srivastava et al. 2014).

    The mask comes from a stream that ``reseed`` starts, so that a step can be repeated bit for bit. Unlike
    ``nn.Dropout`` it draws 16 bits an element: on a CPU this costs about a fifth. The rate is exact to 1/65536
    and the scale uses the rounded rate, so the expectation is exact.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self._threshold = round(rate * _STEPS)
        self._generator: np.random.Generator | None = None

    @property
    def is_active(self) -> bool:
        """Whether a call would change its input."""
        return self.training and self._threshold > 0

    def reseed(self, seed: int) -> None:
        """Start a new stream of masks."""
        self._generator = np.random.Generator(np.random.SFC64(seed))

    def forward(self, x: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        """Return ``x`` with some elements dropped; ``x`` itself when not training."""
        if not self.is_active:
            return x
        keep = self._draw(x.numel(), x.device).view(x.shape)
        # The scale multiplies as a Python number: rounded to bf16 it would move the expectation.
        return (x * keep) * (_STEPS / (_STEPS - self._threshold))

    def _draw(self, count: int, device: torch.device) -> Tensor:
        if self._generator is None:
            self.reseed(0)
        assert self._generator is not None
        if device.type == "cuda":
            seed = int(self._generator.integers(1 << 62))
            bits = torch.empty(count, device=device)
            bits.uniform_(generator=torch.Generator(device).manual_seed(seed))
            return bits >= self._threshold / _STEPS
        words = self._generator.bit_generator.random_raw((count + 3) // 4)
        drawn = torch.from_numpy(words.view(np.uint16)[:count].view(np.int16))
        return drawn >= self._threshold - _STEPS // 2


def reseed_dropout(model: nn.Module, seed: int) -> None:
    """Start every dropout stream of ``model`` anew; each module gets its own stream."""
    modules = (module for module in model.modules() if isinstance(module, Dropout))
    for index, module in enumerate(modules):
        module.reseed((seed * 1_000_003 + index) % (1 << 63))
