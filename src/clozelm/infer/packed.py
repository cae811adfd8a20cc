"""Weights laid out for products with a few rows, for a model that is asked about one sentence after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clozelm.nn.linear import Linear, missing_rows

MOST_TOKENS = 128
_CALLS_BEFORE = 4

_Key = tuple[int, int]
_calls: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
_packed: WeakKeyDictionary[nn.Linear, tuple[_Key, Any]] = WeakKeyDictionary()


@contextmanager
def packed_weights(model: nn.Module, tokens: int) -> Iterator[None]:
    """Let the linear layers of a model use packed copies of their weights inside, from its fifth small batch on.

    A product of a few rows with a large matrix spends half its time on rearranging the matrix, which is done once
    here. The copies take as much memory as the weights, live as long as the model and are made anew when a weight
    was changed. Nothing happens for more than 128 tokens, while a model is trained, on a GPU, in other precisions
    than fp32 and bf16, and where PyTorch lacks oneDNN.
    """
    if not _pays(model, tokens):
        yield
        return
    layers = [
        part
        for part in model.modules()
        if isinstance(part, nn.Linear) and type(part) in (nn.Linear, Linear) and "forward" not in vars(part)
    ]
    for layer in layers:
        layer.forward = _forward(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _pays(model: nn.Module, tokens: int) -> bool:
    first = next(model.parameters())
    is_able = first.device.type == "cpu" and _has_onednn(first.dtype)
    if tokens > MOST_TOKENS or model.training or not is_able:
        return False
    _calls[model] = _calls.get(model, 0) + 1
    return _calls[model] > _CALLS_BEFORE


@cache
def _has_onednn(dtype: torch.dtype) -> bool:
    is_there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    names = ["_linear_pointwise", "_reorder_linear_weight"]
    if dtype == torch.bfloat16:
        names.append("_is_mkldnn_bf16_supported")
    elif dtype != torch.float32:
        return False
    is_there = is_there and all(hasattr(torch.ops.mkldnn, name) for name in names)
    return is_there and (dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def _forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight = layer.weight.detach()
    key = (weight.data_ptr(), layer.weight._version)
    if layer not in _packed or _packed[layer][0] != key:
        _packed[layer] = (key, torch.ops.mkldnn._reorder_linear_weight(weight, 16))
    form = _packed[layer][1]
    bias = None if layer.bias is None else layer.bias.detach()

    def forward(x: Tensor) -> Tensor:
        missing = missing_rows(x)
        given = F.pad(x, (0, 0, 0, missing)) if missing else x
        out: Tensor = torch.ops.mkldnn._linear_pointwise(given, form, bias, "none", [], "")
        return out[: len(x)] if missing else out

    return forward
