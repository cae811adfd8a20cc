"""Products on a rounded number of rows: the same numbers, few sizes, and only where sizes cost."""

import pytest
import torch
import torch.nn.functional as F

from clozelm.nn.cross_entropy import linear_cross_entropy
from clozelm.nn.linear import Linear, missing_rows


@pytest.mark.parametrize("count", [0, 1, 15, 17, 33, 950])
@pytest.mark.parametrize("has_bias", [True, False])
def test_the_same_as_the_stock_layer(count: int, has_bias: bool) -> None:
    ours = Linear(12, 5, bias=has_bias).bfloat16()
    x = torch.randn(count, 12).bfloat16()
    weight = torch.randn(count, 5).bfloat16()
    results = []
    for function in (ours, lambda given: F.linear(given, ours.weight, ours.bias)):
        ours.zero_grad()
        leaf = x.clone().requires_grad_()
        out = function(leaf)
        (out * weight).sum().backward()
        results.append([out.detach(), leaf.grad, *(parameter.grad for parameter in ours.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2)
        assert one.shape == other.shape


def test_sizes_are_few_and_near() -> None:
    sizes = set()
    for count in range(1, 2049):
        rounded = count + missing_rows(torch.empty(count, 1, dtype=torch.bfloat16))
        assert count <= rounded < count * 1.125
        sizes.add(rounded)
    assert len(sizes) <= 8 * 12
    assert missing_rows(torch.empty(2049, 1, dtype=torch.bfloat16)) == 0


@pytest.mark.parametrize("x", [torch.empty(950, 3), torch.empty(2, 475, 3, dtype=torch.bfloat16)])
def test_nothing_is_rounded_in_fp32_or_for_rows_of_rows(x: torch.Tensor) -> None:
    assert missing_rows(x) == 0


@pytest.mark.parametrize("chunk", [1 << 20, 3000])
def test_the_loss_has_nothing_of_the_rows_that_were_added(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clozelm.nn.cross_entropy.CHUNK_BYTES", chunk)
    monkeypatch.setattr("clozelm.nn.cross_entropy._BLOCK_BYTES", 400)
    vectors, weight, bias = torch.randn(37, 8), torch.randn(30, 8), torch.randn(30)
    labels = torch.randint(30, (37,))
    half = [each.bfloat16().requires_grad_() for each in (vectors, weight, bias)]
    exact = [each.detach().double().requires_grad_() for each in half]
    losses = linear_cross_entropy(*half, labels)
    losses.total.backward()
    wanted = F.cross_entropy(F.linear(*exact), labels, reduction="none")
    wanted.sum().backward()
    assert losses.each.shape == losses.right.shape == (37,)
    torch.testing.assert_close(losses.each.double(), wanted.detach(), rtol=2e-2, atol=2e-2)
    for one, other in zip(half, exact, strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=3e-2, atol=5e-2)
