"""The fused loss equals `F.cross_entropy` in value and gradient, for any number of chunks."""

import pytest
import torch
import torch.nn.functional as F

from clozelm.nn import cross_entropy
from clozelm.nn.cross_entropy import linear_cross_entropy

COUNT, VOCAB, HIDDEN = 37, 101, 16


@pytest.fixture(params=[1, 5 * 4 * VOCAB, 1 << 26], ids=["a row a chunk", "5 rows", "all at once"])
def chunk_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", request.param)


def inputs(scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    vectors = scale * torch.randn(COUNT, HIDDEN, generator=generator)
    weight = torch.randn(VOCAB, HIDDEN, generator=generator)
    bias = torch.randn(VOCAB, generator=generator)
    labels = torch.randint(VOCAB, (COUNT,), generator=generator)
    labels[:5] = 3  # the same answer more than once, so that gradients add up
    return vectors.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), labels


@pytest.mark.usefixtures("chunk_bytes")
@pytest.mark.parametrize("scale", [1.0, 40.0])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_values_and_gradients(scale: float, is_weighted: bool) -> None:
    """A scale of 40 makes logits of hundreds, whose exponentials overflow unless the largest is taken off."""
    *ours, labels = inputs(scale)
    *theirs, _ = inputs(scale)
    importance = torch.linspace(0.0, 3.0, COUNT) if is_weighted else None
    loss, each, right = linear_cross_entropy(*ours, labels, importance)
    (2.5 * loss).backward()
    logits = theirs[0] @ theirs[1].T + theirs[2]
    nats = F.cross_entropy(logits, labels, reduction="none")
    expected = (nats * importance).sum() if importance is not None else nats.sum()
    (2.5 * expected).backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert torch.allclose(each, nats.detach(), rtol=1e-5, atol=1e-5)
    assert not each.requires_grad
    assert torch.equal(right, logits.argmax(1) == labels)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.grad - other.grad).abs().max() <= 1e-5 * other.grad.abs().max()


def test_without_gradients() -> None:
    *given, labels = inputs()
    with torch.no_grad():
        loss, _, right = linear_cross_entropy(*given, labels)
    expected, _, others = linear_cross_entropy(*given, labels)
    assert torch.equal(loss, expected)
    assert torch.equal(right, others)
    assert not loss.requires_grad


def test_inputs_are_not_changed() -> None:
    *given, labels = inputs()
    before = [one.detach().clone() for one in given]
    linear_cross_entropy(*given, labels)[0].backward()
    assert all(torch.equal(one.detach(), old) for one, old in zip(given, before, strict=True))


def test_half_precision_sums_in_fp32() -> None:
    *given, labels = inputs()
    halves = [one.detach().bfloat16().requires_grad_() for one in given]
    loss, *_ = linear_cross_entropy(*halves, labels)
    loss.backward()
    exact = F.cross_entropy(halves[0].float() @ halves[1].float().T + halves[2].float(), labels, reduction="sum")
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), rel=1e-2)
    assert {one.grad.dtype for one in halves} == {torch.bfloat16}
