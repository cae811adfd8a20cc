"""Muon: momentum whose matrices are orthogonalised before they are applied (Jordan et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

Scaling = Literal["original", "match_rms_adamw"]
Precision = Literal["fp32", "bf16"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
_EPS = 1e-7
# From this ratio of columns to rows on, iterating the Gram matrix costs fewer operations than the matrix.
_GRAM_RATIO = 1.5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised matrix by matrix, with decoupled weight decay.

    A group may carry ``blocks``: its matrices are ``blocks`` equal projections stored on top of each
    other (queries, keys and values; the two halves of a gated perceptron), and each is orthogonalised and
    scaled by itself, as if stored apart. ``scaling`` multiplies the learning rate by sqrt(max(1, rows /
    columns)) ("original") or by 0.2 sqrt(max(rows, columns)) ("match_rms_adamw", Liu et al. 2025, 2.2),
    which makes AdamW's rates fit. ``precision`` is the arithmetic of the orthogonalisation alone.

    Relations: with one block and "bf16" equals ``torch.optim.Muon``; there all matrices are worked on one
    by one.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        scaling: Scaling,
        precision: Precision,
    ) -> None:
        self._orthogonalise = ORTHOGONALISERS[precision]
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "scaling": scaling,
            "blocks": 1,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for parameter in group["params"]:
                _check_blocks(parameter, group["blocks"])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient; matrices of one shape are orthogonalised together."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        by_shape: dict[tuple[int, int, torch.device], list[_Block]] = {}
        for group in self.param_groups:
            for block in self._advance(group):
                rows, columns = block.update.shape
                key = (min(rows, columns), max(rows, columns), block.update.device)
                by_shape.setdefault(key, []).append(block)
        for blocks in by_shape.values():
            self._apply(blocks)
        return loss

    def _advance(self, group: dict[str, Any]) -> Iterator[_Block]:
        """Move the momentum on, decay the weights and yield what is to be orthogonalised."""
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        gradients = [p.grad for p in parameters]
        buffers = [self._buffer(p) for p in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, buffers, group["momentum"])
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        for parameter, update in zip(parameters, updates, strict=True):
            targets, pieces = parameter.chunk(group["blocks"]), update.chunk(group["blocks"])
            rate = group["lr"] * SCALINGS[group["scaling"]](*targets[0].shape)
            for target, piece in zip(targets, pieces, strict=True):
                yield _Block(target, piece, rate)

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer

    def _apply(self, blocks: list[_Block]) -> None:
        wide = torch.stack([b.update.mT if b.is_tall else b.update for b in blocks])
        for block, direction in zip(blocks, self._orthogonalise(wide), strict=True):
            block.target.add_(direction.mT if block.is_tall else direction, alpha=-block.rate)


def orthogonalise(wide: Float[Tensor, "layers rows columns"]) -> Float[Tensor, "layers rows columns"]:
    """Move the singular values of each matrix (rows <= columns) to about 1, in its own precision.

    Five Newton-Schulz steps x <- a x + b (x x^T) x + c (x x^T)^2 x leave them between about 0.7 and 1.2,
    which serves as well as 1 (Jordan et al. 2024). A zero matrix stays zero.
    """
    a, b, c = COEFFICIENTS
    x = _normalise(wide)
    for _ in range(NUM_ITERATIONS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def orthogonalise_by_gram(wide: Float[Tensor, "layers rows columns"]) -> Float[Tensor, "layers rows columns"]:
    """Do the same with the iteration on the small Gram matrix, touching the wide one only twice.

    The steps' polynomials in x x^T commute, so their product can be formed first and applied once: 1.5
    times fewer operations at columns = 2.7 rows. Needs fp32; rounding errors of bf16 would grow
    twelvefold a step.
    """
    a, b, c = COEFFICIENTS
    x = _normalise(wide)
    gram = torch.bmm(x, x.mT)
    product: Tensor | None = None
    for iteration in range(NUM_ITERATIONS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        product = polynomial if product is None else torch.bmm(polynomial, product)
        if iteration < NUM_ITERATIONS - 1:
            gram = torch.bmm(polynomial, torch.bmm(polynomial, gram))
    assert product is not None
    return torch.bmm(product, x)


def _in_fp32(wide: Tensor) -> Tensor:
    is_flat = wide.shape[2] >= _GRAM_RATIO * wide.shape[1]
    return (orthogonalise_by_gram if is_flat else orthogonalise)(wide.float())


def _in_bf16(wide: Tensor) -> Tensor:
    return orthogonalise(wide.bfloat16())


ORTHOGONALISERS: dict[Precision, Callable[[Tensor], Tensor]] = {"fp32": _in_fp32, "bf16": _in_bf16}

SCALINGS: dict[Scaling, Callable[[int, int], float]] = {
    "original": lambda rows, columns: math.sqrt(max(1.0, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}


@dataclass(frozen=True)
class _Block:
    """One matrix to move: a view of the weights, its update and its learning rate."""

    target: Tensor
    update: Tensor
    rate: float

    @property
    def is_tall(self) -> bool:
        return self.update.shape[0] > self.update.shape[1]


def _normalise(wide: Tensor) -> Tensor:
    # The Frobenius norm bounds the largest singular value, so the iteration starts where it converges.
    norms = torch.linalg.vector_norm(wide, dim=(1, 2), keepdim=True)
    scaled: Tensor = wide / norms.clamp(min=_EPS)
    return scaled


def _check_blocks(parameter: Tensor, blocks: int) -> None:
    if parameter.ndim != 2 or parameter.shape[0] % blocks:
        raise ValueError(f"Muon takes matrices of {blocks} equal blocks of rows, not {list(parameter.shape)}")
