"""Every faster implementation equals the readable definition of its name: values, gradients, and in the model."""

import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import torch

from clozelm import nn
from clozelm.families import FAMILIES
from clozelm.nn.attention import rotary_angles, weigh
from clozelm.nn.fast import FAST, half_attention
from clozelm.nn.select import fastest
from tests import tiny_models

# Differentiated first, constants after it.
Given = tuple[torch.Tensor | None, ...]
# For fp32 the order of a few additions and multiplications; for bf16 one unit in the last place, 2^-8.
TOLERANCES = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


def geglu_inputs() -> Iterator[Given]:
    for shape in ((2,), (1, 10), (7, 34), (3, 5, 6), (0, 4)):
        yield (normal(*shape),)


def split_heads_inputs() -> Iterator[Given]:
    for batch, seq, heads, size in ((1, 1, 1, 2), (3, 7, 5, 6), (2, 33, 1, 10)):
        positions = torch.randint(0, 500, (batch, seq), generator=torch.Generator().manual_seed(seq))
        yield normal(batch, seq, 3, heads, size), *rotary_angles(positions, size, 10_000.0)
        yield normal(batch, seq, 3, heads, size), None, None


INPUTS: dict[str, Callable[[], Iterator[Given]]] = {
    "geglu": geglu_inputs,
    "split_heads": split_heads_inputs,
}


def normal(*shape: int) -> torch.Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def readable(name: str) -> Callable[..., torch.Tensor]:
    """The function of that name that a module of `clozelm.nn` defines."""
    modules = [f"clozelm.nn.{each.name}" for each in pkgutil.iter_modules(nn.__path__) if not each.ispkg]
    found = [(module, vars(import_module(module)).get(name)) for module in modules]
    (definition,) = [each for module, each in found if each is not None and each.__module__ == module]
    return definition


def value_and_gradient(function: Callable[..., torch.Tensor], given: Given, dtype: torch.dtype) -> tuple[Any, Any]:
    assert given[0] is not None
    leaf = given[0].to(dtype, copy=True).requires_grad_()
    out = function(leaf.clone(), *given[1:])  # a copy: it may be written over
    out = torch.stack(out) if isinstance(out, tuple) else out
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    (out * weight).sum().backward()
    assert out.dtype == dtype
    return out.detach(), leaf.grad


@pytest.mark.parametrize("name", FAST)
def test_it_stands_for_a_readable_definition(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = readable(name)
    assert fastest(definition) is FAST[name] is not definition
    monkeypatch.delitem(FAST, name)
    assert fastest(definition) is definition


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", INPUTS)
def test_values_and_gradients(name: str, dtype: torch.dtype) -> None:
    tolerance = TOLERANCES[dtype]
    for given in INPUTS[name]():
        before = [each.clone() for each in given if each is not None]
        ours = value_and_gradient(FAST[name], given, dtype)
        theirs = value_and_gradient(readable(name), given, dtype)
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
        after = [each for each in given if each is not None]
        assert all(torch.equal(one, other) for one, other in zip(after, before, strict=True))


def test_all_are_compared() -> None:
    assert FAST.keys() == INPUTS.keys() | {"weigh"}  # that one below: three of its inputs have gradients


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sharpness", [1, 4])
@pytest.mark.parametrize(("rows", "heads", "queries", "keys", "size"), [(3, 4, 128, 128, 64), (40, 12, 7, 65, 10)])
def test_weigh_in_half_precision_is_as_exact_as_the_fused_kernel(
    rows: int,
    heads: int,
    queries: int,
    keys: int,
    size: int,
    sharpness: int,
    masked: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values and all gradients are at most twice as far from fp64 as PyTorch's own; rows come in chunks."""
    monkeypatch.setattr(half_attention, "_SCORE_BYTES", 4 * 2 * heads * queries * keys)
    generator = torch.Generator().manual_seed(rows)
    given = [torch.randn(rows, heads, count, size, generator=generator) for count in (queries, keys, keys)]
    given[0] *= sharpness
    given = [
        each.transpose(1, 2).contiguous().transpose(1, 2).bfloat16() for each in given
    ]  # strided as in a model
    documents = torch.randint(0, 3, (rows, keys), generator=generator)
    seen = documents[:, :queries, None] == documents[:, None, :]
    mask = seen[:, None] if masked else None
    weight = torch.randn(rows, heads, queries, size, generator=generator).bfloat16()

    def results(function: Callable[..., torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [each.to(dtype, copy=True).requires_grad_() for each in given]
        out = function(*leaves, mask)
        assert ("Weigh" in type(out.grad_fn).__name__) == (function is FAST["weigh"])
        out.backward(weight.to(dtype))
        return [each.double() for each in (out.detach(), *(leaf.grad for leaf in leaves)) if each is not None]

    exact = results(weigh, torch.float64)
    ours, fused = results(FAST["weigh"], torch.bfloat16), results(weigh, torch.bfloat16)
    for one, other, truth in zip(ours, fused, exact, strict=True):
        assert (one - truth).norm() <= 2 * (other - truth).norm()


@pytest.mark.parametrize(
    ("dtype", "learns", "most_bytes"), [("float32", True, 1000), ("bfloat16", False, 1000), ("bfloat16", True, 10)]
)
def test_weigh_leaves_the_rest_to_the_fused_kernel(
    dtype: str, learns: bool, most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half_attention, "_MOST_BYTES", most_bytes)
    query, key, value = (torch.randn(1, 2, 9, 4, dtype=getattr(torch, dtype)) for _ in range(3))
    query.requires_grad_(learns)
    ours, fused = (function(query, key, value, None) for function in (FAST["weigh"], weigh))
    assert torch.equal(ours, fused)


@pytest.mark.parametrize("name", ["geglu", "split_heads"])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_no_gradients_of_gradients(name: str, dtype: torch.dtype) -> None:
    """They would be wrong, so there are none."""
    given = next(INPUTS[name]())
    assert given[0] is not None
    leaf = given[0].to(dtype, copy=True).requires_grad_()
    out = FAST[name](leaf.clone(), *given[1:])
    total = (out[0] if isinstance(out, tuple) else out).square().sum()
    (gradient,) = torch.autograd.grad(total, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_computes_the_same_without_them(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_models.tiny_model(family)
    batch = tiny_models.packed(tiny_models.documents([19, 4, 1, 30]), 59)

    def run() -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        model.zero_grad()
        logits = model(batch)
        logits.square().mean().backward()
        return logits.detach(), [parameter.grad for parameter in model.parameters()]

    logits, gradients = run()
    for name in tuple(FAST):
        monkeypatch.delitem(FAST, name)
    plain, plain_gradients = run()
    assert (logits - plain).abs().max() <= 1e-6 * logits.abs().max()
    torch.testing.assert_close(gradients, plain_gradients, rtol=1e-5, atol=1e-6)
