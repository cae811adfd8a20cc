"""Low-rank updates of fixed matrices (Hu et al. 2021, arXiv 2106.09685): fine-tuning in little memory."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clozelm.nn.encoder import Encoder

_PARTS = (("attention", "qkv"), ("attention", "out"), ("mlp", "up"), ("mlp", "down"))


class LoraLinear(nn.Module):
    """A linear layer whose matrix is fixed, plus ``alpha / rank`` times a trained product of rank ``rank``.

    ``down`` begins random and ``up`` at 0, so that the layer begins as it was.
    """

    def __init__(self, fixed: nn.Linear, *, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.fixed = fixed
        self.scale = alpha / rank
        wide = fixed.weight
        self.down = nn.Parameter(torch.empty(rank, wide.shape[1]).normal_(0.0, 1 / rank, generator=generator))
        self.up = nn.Parameter(torch.zeros(wide.shape[0], rank))

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows out"]:
        """Return what the layer with the updated matrix would, without making it."""
        out: Tensor = self.fixed(x) + (x @ self.down.t()) @ self.up.t() * self.scale
        return out

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return the fixed layer with the update added to its matrix."""
        self.fixed.weight += self.up @ self.down * self.scale
        return self.fixed


def add_lora(encoder: Encoder, *, rank: int, alpha: float, generator: torch.Generator) -> None:
    """Fix all weights of an encoder and give every matrix of its layers an update of rank ``rank``."""
    encoder.requires_grad_(False)
    for layer in encoder.layers:
        for part, name in _PARTS:
            inside = getattr(layer, part)
            setattr(inside, name, LoraLinear(getattr(inside, name), rank=rank, alpha=alpha, generator=generator))


def merge_lora(encoder: Encoder) -> None:
    """Add all updates to their matrices: the encoder is then as any other."""
    for layer in encoder.layers:
        for part, name in _PARTS:
            inside = getattr(layer, part)
            if isinstance(getattr(inside, name), LoraLinear):
                setattr(inside, name, getattr(inside, name).merged())
    encoder.requires_grad_(True)
