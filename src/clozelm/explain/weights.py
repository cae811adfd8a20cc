"""What a model's file says of itself before it is used: numbers, ties, rows, heads and layers that do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clozelm.families import Family
from clozelm.nn.heads import MaskedLM
from clozelm.vocab import Vocabulary

_NOTHING = 1e-3  # of the middle of its like


@dataclass(frozen=True)
class FileFacts:
    """Names of tensors with numbers that are not finite; of tied tensors that differ, by how much at most."""

    not_finite: list[str]
    untied: dict[str, float]


def file_facts(tensors: Mapping[str, Tensor], family: Family) -> FileFacts:
    """Look at the tensors of a file under their stock names."""
    named = {family.spelling.modern(name): tensor for name, tensor in tensors.items()}
    untied = {}
    for twin, first in family.spelling.twins.items():
        if twin in named and first in named:
            one, other = named[twin].float(), named[first].float()
            if one.shape != other.shape:
                untied[twin] = float("inf")
            elif not torch.equal(one, other):
                untied[twin] = float((one - other).abs().max())
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    return FileFacts(bad, untied)


@dataclass(frozen=True)
class WeightFacts:
    """Embedding rows of ordinary pieces that are zero, or equal to another; heads and layers that add nothing.

    ``dead_heads`` are (layer, head), both from 0; a layer is dead when its attention or its perceptron is.
    """

    num_rows: int
    zero_rows: list[int]
    equal_rows: list[int]
    dead_heads: list[tuple[int, int]]
    dead_layers: list[int]


@torch.no_grad()
def weight_facts(model: MaskedLM, vocabulary: Vocabulary) -> WeightFacts:
    """Look at an opened model's weights; rows beyond the tokenizer's pieces are padding and not looked at."""
    ordinary = torch.from_numpy(vocabulary.ordinary_ids.copy())
    rows = model.decoder_weight.detach().float().cpu()[ordinary]
    is_zero = rows.abs().amax(dim=1) == 0
    _, place, counts = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
    is_equal = (counts[place] > 1) & ~is_zero
    layers: Any = model.encoder.layers
    heads = torch.stack([_head_norms(layer.attention) for layer in layers])
    perceptrons = torch.stack(
        [layer.mlp.down.weight.float().norm() * layer.mlp.up.weight.float().norm() for layer in layers]
    )
    least = _NOTHING * heads.median()
    dead = (heads < least).nonzero().tolist()
    whole = {number for number, each in enumerate(heads) if bool((each < least).all())}
    whole |= set((perceptrons < _NOTHING * perceptrons.median()).nonzero().flatten().tolist())
    return WeightFacts(
        num_rows=len(rows),
        zero_rows=ordinary[is_zero].tolist(),
        equal_rows=ordinary[is_equal].tolist(),
        dead_heads=[(layer, head) for layer, head in dead if layer not in whole],
        dead_layers=sorted(whole),
    )


def _head_norms(attention: Any) -> Tensor:
    """Return for every head how large what it reads times what it writes can be."""
    size = attention.out.weight.shape[1]
    values = attention.qkv.weight[2 * size :].float().view(attention.num_heads, -1, attention.qkv.weight.shape[1])
    out = attention.out.weight.float().t().reshape(attention.num_heads, -1, attention.out.weight.shape[0])
    norms: Tensor = values.flatten(1).norm(dim=1) * out.flatten(1).norm(dim=1)
    return norms
