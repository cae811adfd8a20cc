"""Weights of low precision in the model, with masters of full precision for the optimiser."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn


class Masters:
    """The fp32 weights that are trained, while the model computes with rounded copies of them.

    A learning rate's step is far below bf16's resolution of 2^-8; added to the rounded weights it would
    vanish, added to the masters it counts (Micikevicius et al. 2018, 3.1). Every floating-point parameter
    of ``model`` is converted to ``dtype``, in place; gradients of micro-batches are summed in fp32. Those named in
    ``exact`` stay as they are and are their own masters.

    Relations: with ``dtype`` fp32 equals training without masters.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, exact: Collection[str] = ()) -> None:
        weights = {name: p for name, p in model.named_parameters() if p.is_floating_point()}
        self._working = {name: p for name, p in weights.items() if name not in exact}
        self.tensors: dict[str, Tensor] = {
            name: p.detach().to(torch.float32, copy=True) if name in self._working else p
            for name, p in weights.items()
        }
        for parameter in self._working.values():
            parameter.data = parameter.data.to(dtype)

    @torch.no_grad()
    def collect(self) -> None:
        """Add the model's gradients to the masters' and drop them; call after each backward pass."""
        for name, parameter in self._working.items():
            if parameter.grad is None:
                continue
            master = self.tensors[name]
            if master.grad is None:
                master.grad = parameter.grad.to(torch.float32, copy=True)
            else:
                master.grad.add_(parameter.grad)
            parameter.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Round the masters into the model."""
        torch._foreach_copy_(list(self._working.values()), [self.tensors[name] for name in self._working])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the masters by their parameter's name."""
        return {name: tensor.detach() for name, tensor in self.tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the masters over bit by bit and round them into the model."""
        if state.keys() != self.tensors.keys():
            raise ValueError(f"masters of other parameters: {sorted(state.keys() ^ self.tensors.keys())[:3]}")
        for name, master in self.tensors.items():
            master.copy_(state[name])
        self.publish()
