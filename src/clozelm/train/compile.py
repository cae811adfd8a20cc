"""``torch.compile`` for the parts that gain from it, where a compiler is there."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import Literal

import torch

from clozelm.nn.encoder import Layer
from clozelm.nn.heads import MaskedLM


def compile_layers(model: MaskedLM, wanted: Literal["auto", "yes", "no"], device: torch.device) -> list[str]:
    """Compile the perceptron of every layer in place and return what is to be said about it.

    ``auto`` compiles on a GPU; on a CPU the gain is below 10% and the first step waits half a minute. Without
    a compiler the run goes on uncompiled, with a notice where compilation was asked for. Weights keep their
    names. Attention stays as it is: its kernels are fused already.
    """
    if wanted == "no" or (wanted == "auto" and device.type != "cuda"):
        return []
    if not has_compiler(device):
        what = "Triton" if device.type == "cuda" else "a C++ compiler (g++ or clang++)"
        return [f"run.compile={wanted}: {what} is not installed here, so nothing is compiled."]
    for layer in model.encoder.layers:
        assert isinstance(layer, Layer)
        layer.mlp.compile(dynamic=True)
    return []


def has_compiler(device: torch.device) -> bool:
    """Whether what ``torch.compile`` needs for ``device`` is installed."""
    if device.type == "cuda":
        return find_spec("triton") is not None
    return any(shutil.which(name) for name in ("g++", "clang++"))
