"""``torch.compile`` for the parts that gain from it, where a compiler is there."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from clozelm.nn.encoder import Layer


def compile_layers(model: nn.Module, wanted: Literal["auto", "yes", "no"], device: torch.device) -> list[str]:
    """Compile the perceptron of every layer in place and return what is to be said about it.

    ``auto`` compiles on a GPU; on a CPU the gain is below 10% and the first step waits half a minute. Where
    the compiler does not work the run goes on uncompiled, with a notice. Weights keep their
    names. Attention stays as it is: its kernels are fused already.
    """
    if wanted == "no" or (wanted == "auto" and device.type != "cuda"):
        return []
    problem = compiler_problem(device)
    if problem is not None:
        return [f"run.compile={wanted}: the compiler does not work here ({problem}), so nothing is compiled."]
    for part in model.modules():
        if isinstance(part, Layer):
            part.mlp.compile(dynamic=True)
    return []


def compiler_problem(device: torch.device) -> str | None:
    """Compile and run one small function on ``device``; return the first line of what went wrong, or None.

    Trying is the only way to know: besides a compiler, ``torch.compile`` needs headers, and on a GPU Triton.
    """
    try:
        torch.compile(lambda x: x.relu() + 1)(torch.ones(8, device=device))
    except Exception as error:  # whatever stops the compiler, the run goes on without it
        return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return None
