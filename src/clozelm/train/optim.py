"""The optimisers of a run: which weights go where, their rates, their gradients' norm, their state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clozelm.nn.decoder import CrossAttention
from clozelm.nn.encoder import Attention, FeedForward, Layer
from clozelm.train.masters import Masters
from clozelm.train.muon import Muon, Precision, Scaling

OptimiserName = Literal["adamw", "muon"]
Group = dict[str, Any]


class Optimisers:
    """One or more optimisers that step together, on the model's weights or on their masters.

    A step is: backward passes, each followed by ``collect``; ``clip``; ``set_scale``; ``step``;
    ``zero_grad``.
    """

    def __init__(self, parts: Mapping[str, torch.optim.Optimizer], masters: Masters | None) -> None:
        self._parts = dict(parts)
        self._masters = masters
        for group in self._groups():
            group.setdefault("base_lr", group["lr"])

    @property
    def parameters(self) -> list[Tensor]:
        """The tensors that are updated: the model's own, or their masters."""
        return [parameter for group in self._groups() for parameter in group["params"]]

    def set_scale(self, factor: float) -> None:
        """Set every learning rate to ``factor`` of its peak."""
        for group in self._groups():
            group["lr"] = group["base_lr"] * factor

    def collect(self) -> None:
        """Take a micro-batch's gradients over; needed after every backward pass when there are masters."""
        if self._masters is not None:
            self._masters.collect()

    def clip(self, max_norm: float | None) -> float:
        """Shorten the whole gradient to ``max_norm`` and return its norm before; see ``clip``."""
        return clip(self.parameters, max_norm)

    def step(self) -> None:
        """Update all weights."""
        for part in self._parts.values():
            part.step()
        if self._masters is not None:
            self._masters.publish()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for part in self._parts.values():
            part.zero_grad(set_to_none=True)

    def learning_rates(self) -> dict[str, float]:
        """Return the rate in force, by optimiser."""
        return {name: float(part.param_groups[0]["lr"]) for name, part in self._parts.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a bit-identical continuation needs, masters included."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts.items()}
        if self._masters is not None:
            state["masters"] = self._masters.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict`` of optimisers built the same way; anything else is a ValueError."""
        expected = set(self._parts) | ({"masters"} if self._masters is not None else set())
        if set(state) != expected:
            raise ValueError(f"optimiser state of {sorted(state)} does not fit {sorted(expected)}")
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        if self._masters is not None:
            self._masters.load_state_dict(state["masters"])

    def _groups(self) -> Iterable[Group]:
        return (group for part in self._parts.values() for group in part.param_groups)


def build(
    model: nn.Module,
    *,
    name: OptimiserName,
    learning_rate: float,
    muon_learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
    momentum: float,
    scaling: Scaling,
    precision: Precision,
    split: bool = False,
    masters: Masters | None = None,
) -> Optimisers:
    """Build the optimisers of ``OPTIMISERS[name]`` over the model's weights, or over their ``masters``.

    AdamW decays everything but biases and norms (Devlin et al. 2018, A.2). With "muon" the matrices
    inside layers go to Muon, everything else (embeddings, head, norms, biases) to AdamW
    (Jordan et al. 2024).
    """
    matrices, others = OPTIMISERS[name](model)
    adamw = torch.optim.AdamW(
        _decay_groups(_tensors(others, masters), weight_decay),
        lr=learning_rate,
        betas=betas,
        eps=eps,
        fused=True,
    )
    parts: dict[str, torch.optim.Optimizer] = {"adamw": adamw}
    if matrices:
        parts["muon"] = Muon(
            _block_groups(_tensors(matrices, masters), _blocks(model) if split else {}),
            lr=muon_learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            scaling=scaling,
            precision=precision,
        )
    return Optimisers(parts, masters)


@torch.no_grad()
def clip(parameters: Iterable[Tensor], max_norm: float | None) -> float:
    """Scale all gradients together to a norm of at most ``max_norm``; return the norm before, in fp32.

    None measures only. A norm that is not finite is returned and nothing is scaled: the loop decides.
    Relations: equals ``torch.nn.utils.clip_grad_norm_``, without its pass over gradients that are short
    enough.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return 0.0
    norms = torch._foreach_norm(gradients, 2, torch.float32)
    norm = float(torch.linalg.vector_norm(torch.stack(norms)))
    if max_norm is not None and max_norm < norm < float("inf"):
        torch._foreach_mul_(gradients, max_norm / (norm + 1e-6))
    return norm


Named = dict[str, nn.Parameter]


def _all_to_adamw(model: nn.Module) -> tuple[Named, Named]:
    return {}, dict(model.named_parameters())


def _matrices_to_muon(model: nn.Module) -> tuple[Named, Named]:
    layers = [part for part in model.modules() if isinstance(part, Layer | CrossAttention)]
    inside = {id(p) for layer in layers for p in layer.parameters() if p.ndim == 2}
    named = dict(model.named_parameters())
    matrices = {name: p for name, p in named.items() if id(p) in inside}
    return matrices, {name: p for name, p in named.items() if id(p) not in inside}


OPTIMISERS: dict[OptimiserName, Callable[[nn.Module], tuple[Named, Named]]] = {
    "adamw": _all_to_adamw,
    "muon": _matrices_to_muon,
}
"""How each optimiser splits the weights: what Muon takes, what AdamW takes."""


def _tensors(named: Named, masters: Masters | None) -> dict[str, Tensor]:
    return {name: p if masters is None else masters.tensors[name] for name, p in named.items()}


def _decay_groups(named: Mapping[str, Tensor], weight_decay: float) -> list[Group]:
    # Norms' weights and all biases are the vectors of a model; whatever has rows and columns decays.
    decayed = [p for p in named.values() if p.ndim >= 2]
    kept = [p for p in named.values() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _block_groups(named: Mapping[str, Tensor], blocks: Mapping[str, int]) -> list[Group]:
    groups: dict[int, list[Tensor]] = {}
    for name, tensor in named.items():
        groups.setdefault(blocks.get(name, 1), []).append(tensor)
    return [{"params": tensors, "blocks": count} for count, tensors in sorted(groups.items())]


def _blocks(model: nn.Module) -> dict[str, int]:
    """Return how many projections each fused weight holds, by its name."""
    counts: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            counts[f"{name}.qkv.weight"] = 3
        if isinstance(module, CrossAttention):
            counts[f"{name}.key_value.weight"] = 2
        if isinstance(module, FeedForward) and module.is_gated:
            counts[f"{name}.up.weight"] = 2
    return counts
