"""Masters of full precision: plain training when nothing is rounded, small steps kept when it is."""

import copy

import pytest
import torch

from clozelm.nn.config import EncoderConfig
from clozelm.nn.heads import MaskedLM
from clozelm.train.masters import Masters
from clozelm.train.optim import OPTIMISERS, build
from clozelm.types import TokenBatch

SETTINGS = {
    "learning_rate": 1e-3,
    "muon_learning_rate": 1e-3,
    "weight_decay": 0.1,
    "betas": (0.9, 0.98),
    "eps": 1e-6,
    "momentum": 0.95,
    "scaling": "match_rms_adamw",
    "precision": "fp32",
}


def _model(seed=0):
    model = MaskedLM(EncoderConfig(vocab_size=40, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32))
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def _backward(model, step):
    ids = torch.randint(1, 40, (2, 8), generator=torch.Generator().manual_seed(step))
    batch = TokenBatch(ids, torch.ones_like(ids), torch.arange(8).expand(2, 8))
    torch.nn.functional.cross_entropy(model(batch).float().flatten(0, 1), ids.flatten()).backward()


def _train(model, optimisers, steps):
    for step in steps:
        for part in range(2):
            _backward(model, 2 * step + part)
            optimisers.collect()
        optimisers.clip(1.0)
        optimisers.step()
        optimisers.zero_grad()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_fp32_masters_are_plain_training(name):
    plain, mastered = _model(), _model()
    masters = Masters(mastered, torch.float32)
    _train(plain, build(plain, name=name, **SETTINGS), range(4))
    _train(mastered, build(mastered, name=name, masters=masters, **SETTINGS), range(4))
    for key, parameter in plain.named_parameters():
        assert torch.equal(parameter, mastered.get_parameter(key)), key
        assert torch.equal(parameter, masters.tensors[key]), key


@pytest.mark.parametrize("name", OPTIMISERS)
def test_bf16_continues_bit_by_bit(name):
    straight, stopped = _model(), _model()
    first = build(straight, name=name, masters=Masters(straight, torch.bfloat16), **SETTINGS)
    second = build(stopped, name=name, masters=Masters(stopped, torch.bfloat16), **SETTINGS)
    _train(straight, first, range(4))
    _train(stopped, second, range(2))
    resumed = _model(seed=5)
    third = build(resumed, name=name, masters=Masters(resumed, torch.bfloat16), **SETTINGS)
    third.load_state_dict(second.state_dict())
    _train(resumed, third, range(2, 4))
    for key, parameter in straight.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(key)), key


def test_steps_below_the_resolution_of_bf16_add_up():
    model = _model()
    masters = Masters(model, torch.bfloat16)
    optimisers = build(model, name="adamw", masters=masters, **(SETTINGS | {"learning_rate": 1e-4}))
    norm = "encoder.layers.0.mlp_norm.weight"
    for _ in range(100):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimisers.collect()
        optimisers.step()
        optimisers.zero_grad()
    assert model.get_parameter(norm).dtype == torch.bfloat16
    assert torch.allclose(masters.tensors[norm], torch.tensor(0.99), atol=1e-4)
    assert torch.equal(model.get_parameter(norm), masters.tensors[norm].bfloat16())


def test_masters_of_another_model_are_refused():
    masters = Masters(_model(), torch.bfloat16)
    with pytest.raises(ValueError, match="masters of other parameters"):
        masters.load_state_dict({"weight": torch.zeros(1)})


@pytest.mark.parametrize("name", OPTIMISERS)
def test_exact_weights_are_their_own_masters(name):
    """They stay in fp32, are trained as the others, and continue bit by bit."""
    table = "encoder.embeddings.positions.weight"
    model, resumed = _model(), _model()
    masters = Masters(model, torch.bfloat16, [table])
    optimisers = build(model, name=name, masters=masters, **SETTINGS)
    before = model.get_parameter(table).detach().clone()
    _train(model, optimisers, range(2))
    assert model.get_parameter(table).dtype == torch.float32
    assert model.head.bias.dtype == torch.bfloat16
    assert masters.tensors[table] is model.get_parameter(table)
    assert not torch.equal(model.get_parameter(table), before)
    assert not any(tensor.requires_grad for tensor in masters.state_dict().values())
    again = build(resumed, name=name, masters=Masters(resumed, torch.bfloat16, [table]), **SETTINGS)
    again.load_state_dict(copy.deepcopy(optimisers.state_dict()))
    _train(model, optimisers, range(2, 4))
    _train(resumed, again, range(2, 4))
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(key)), key
