"""The optimisers: parity with torch's, what goes where, clipping, exact continuation."""

import io

import pytest
import torch

from clozelm.nn.config import EncoderConfig
from clozelm.nn.heads import MaskedLM
from clozelm.train.muon import ORTHOGONALISERS, SCALINGS, Muon, orthogonalise, orthogonalise_by_gram
from clozelm.train.optim import OPTIMISERS, build, clip

SETTINGS = {
    "learning_rate": 1e-2,
    "muon_learning_rate": 2e-2,
    "weight_decay": 0.1,
    "betas": (0.9, 0.98),
    "eps": 1e-6,
    "momentum": 0.95,
    "scaling": "match_rms_adamw",
    "precision": "fp32",
}
SHAPES = [(24, 24), (24, 24), (24, 64), (64, 24), (24, 30), (72, 24)]


def _model(seed=0, **config):
    model = MaskedLM(
        EncoderConfig(
            **{
                "vocab_size": 50,
                "hidden_size": 16,
                "num_layers": 2,
                "num_heads": 2,
                "intermediate_size": 24,
                "gated": True,
                "rotary": True,
                "norm_first": True,
            }
            | config
        )
    )
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def _set_gradients(parameters, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def _matrices():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in SHAPES]


def _muon(params, scaling="original", precision="fp32"):
    return Muon(params, lr=0.02, momentum=0.9, weight_decay=0.3, scaling=scaling, precision=precision)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 1e-6), ("fp32", 4e-2)])
def test_muon_equals_torch(scaling, precision, tolerance):
    """Torch orthogonalises in bf16, some 1% off; ours does in fp32 on request."""
    ours, theirs = _matrices(), _matrices()
    start = [p.detach().clone() for p in ours]
    optimiser = _muon(ours, scaling, precision)
    reference = torch.optim.Muon(theirs, lr=0.02, momentum=0.9, weight_decay=0.3, adjust_lr_fn=scaling)
    for step in range(4):
        _set_gradients(ours, step)
        _set_gradients(theirs, step)
        optimiser.step()
        reference.step()
    for mine, other, before in zip(ours, theirs, start, strict=True):
        moved = (other - before).norm()
        assert (mine - other).norm() <= tolerance * moved


def test_blocks_are_orthogonalised_as_if_stored_apart():
    fused = torch.randn(72, 24, generator=torch.Generator().manual_seed(2))
    apart = [part.clone() for part in fused.chunk(3)]
    gradient = torch.randn(72, 24, generator=torch.Generator().manual_seed(3))
    fused.grad = gradient
    for part, piece in zip(apart, gradient.chunk(3), strict=True):
        part.grad = piece.clone()
    _muon([{"params": [fused], "blocks": 3}], "match_rms_adamw").step()
    _muon(apart, "match_rms_adamw").step()
    assert torch.allclose(fused, torch.cat(apart), atol=1e-7)


def test_blocks_must_divide_the_rows():
    with pytest.raises(ValueError, match="3 equal blocks"):
        _muon([{"params": [torch.zeros(16, 8)], "blocks": 3}])


@pytest.mark.parametrize("shape", [(24, 24), (24, 64), (24, 25), (1, 9)])
def test_orthogonalised_singular_values_are_about_one(shape):
    left, _, right = torch.linalg.svd(
        torch.randn(3, *shape, generator=torch.Generator().manual_seed(4)), full_matrices=False
    )
    wide = left * torch.linspace(0.1, 1.0, shape[0]) @ right
    for apply in ORTHOGONALISERS.values():
        values = torch.linalg.svdvals(apply(wide).float())
        assert (values > 0.6).all()
        assert (values < 1.3).all()


@pytest.mark.parametrize("rank", [1, 4, 24])
def test_gram_iteration_equals_the_plain_one(rank):
    """Also where most singular values are noise, which rounding errors could blow up."""
    generator = torch.Generator().manual_seed(5)
    left = torch.randn(2, 24, rank, generator=generator)
    wide = left @ torch.randn(2, rank, 64, generator=generator) * 1e-4
    wide += 1e-9 * torch.randn(2, 24, 64, generator=generator)
    assert torch.allclose(orthogonalise_by_gram(wide), orthogonalise(wide.double()).float(), atol=1e-4)
    zero = torch.zeros(1, 24, 64)
    assert torch.equal(orthogonalise_by_gram(zero), zero)


def test_muon_takes_the_layers_matrices_and_adamw_the_rest():
    model = _model()
    optimisers = build(model, name="muon", **SETTINGS)
    matrices, others = OPTIMISERS["muon"](model)
    assert len(matrices) == 2 * 4
    assert all(name.startswith("encoder.layers.") for name in matrices)
    assert "encoder.embeddings.tokens.weight" in others
    assert "head.dense.weight" in others
    assert len(optimisers.parameters) == len(list(model.parameters()))
    for split, blocks in ((False, {1: 8}), (True, {1: 4, 2: 2, 3: 2})):
        state = build(model, name="muon", **SETTINGS, split=split).state_dict()["muon"]["param_groups"]
        assert {group["blocks"]: len(group["params"]) for group in state} == blocks


@pytest.mark.parametrize("name", OPTIMISERS)
def test_biases_and_norms_do_not_decay(name):
    model = _model(use_bias=True)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    build(model, name=name, **SETTINGS).step()
    for key, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, before[key]), key
        else:
            assert parameter.norm() < before[key].norm(), key


@pytest.mark.parametrize("name", OPTIMISERS)
def test_continues_bit_by_bit(name):
    straight, stopped = _model(), _model()
    first, second = build(straight, name=name, **SETTINGS), build(stopped, name=name, **SETTINGS)
    for step in range(6):
        if step == 3:
            buffer = io.BytesIO()
            torch.save(second.state_dict(), buffer)
            buffer.seek(0)
            resumed = _model(seed=9)
            resumed.load_state_dict(stopped.state_dict())
            stopped, second = resumed, build(resumed, name=name, **SETTINGS)
            second.load_state_dict(torch.load(buffer, weights_only=True))
        for model, optimisers in ((straight, first), (stopped, second)):
            _set_gradients(model.parameters(), step)
            optimisers.set_scale(1.0 - step / 10)
            optimisers.step()
            optimisers.zero_grad()
    assert first.learning_rates() == second.learning_rates()
    for one, other in zip(straight.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(one, other)


def test_state_of_other_optimisers_is_refused():
    state = build(_model(), name="adamw", **SETTINGS).state_dict()
    with pytest.raises(ValueError, match="does not fit"):
        build(_model(), name="muon", **SETTINGS).load_state_dict(state)


def test_scale_is_of_the_peak_not_of_the_last_rate():
    optimisers = build(_model(), name="muon", **SETTINGS)
    optimisers.set_scale(0.5)
    optimisers.set_scale(0.5)
    assert optimisers.learning_rates() == {"adamw": 0.005, "muon": 0.01}


@pytest.mark.parametrize("max_norm", [0.5, 1e3])
def test_clip_equals_torch(max_norm):
    ours, theirs = _matrices(), _matrices()
    _set_gradients(ours, 0)
    _set_gradients(theirs, 0)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert clip(ours, max_norm) == pytest.approx(float(expected), rel=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, other.grad, rtol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_clip_returns_what_is_not_finite_and_changes_nothing(bad):
    ours = _matrices()
    _set_gradients(ours, 0)
    ours[0].grad[0, 0] = bad
    before = [p.grad.clone() for p in ours]
    assert not torch.isfinite(torch.tensor(clip(ours, 1.0)))
    for parameter, gradient in zip(ours, before, strict=True):
        assert torch.equal(parameter.grad.nan_to_num(), gradient.nan_to_num())


def test_clip_without_a_limit_measures_and_without_gradients_is_zero():
    parameter = torch.zeros(2, requires_grad=True)
    assert clip([parameter], 1.0) == 0.0
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip([parameter], None) == 5.0
    assert parameter.grad.tolist() == [3.0, 4.0]
