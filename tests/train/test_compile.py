"""Compilation where there is a compiler, a notice where there is none."""

import pytest
import torch

from clozelm.nn.config import EncoderConfig
from clozelm.nn.heads import MaskedLM
from clozelm.train import compile as compiling

CPU = torch.device("cpu")


def tiny() -> MaskedLM:
    model = MaskedLM(EncoderConfig(50, 16, 2, 2, 24, 32, rotary=True, norm_first=True, gated=True, use_bias=False))
    model.initialise(torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("wanted", ["no", "auto"])
def test_a_cpu_is_left_uncompiled_unless_asked(wanted: str) -> None:
    model = tiny()
    assert compiling.compile_layers(model, wanted, CPU) == []  # type: ignore[arg-type]
    assert all(layer.mlp._compiled_call_impl is None for layer in model.encoder.layers)


def test_without_a_compiler_there_is_a_notice_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: object) -> object:
        raise RuntimeError("no compiler found\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    model = tiny()
    (notice,) = compiling.compile_layers(model, "yes", CPU)
    assert "(no compiler found)" in notice
    assert all(layer.mlp._compiled_call_impl is None for layer in model.encoder.layers)


@pytest.mark.slow
def test_compiled_perceptrons_compute_the_same(unchecked_shapes: None) -> None:
    if problem := compiling.compiler_problem(CPU):
        pytest.skip(f"no working compiler on this machine: {problem}")
    plain, compiled = tiny(), tiny()
    names = list(plain.state_dict())
    assert compiling.compile_layers(compiled, "yes", CPU) == []
    assert list(compiled.state_dict()) == names
    x = torch.randn(7, 16, generator=torch.Generator().manual_seed(1))
    expected, given = plain.encoder.layers[0].mlp(x), compiled.encoder.layers[0].mlp(x)
    torch.testing.assert_close(given, expected, atol=1e-5, rtol=1e-5)
