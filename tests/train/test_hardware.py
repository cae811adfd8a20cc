"""Device and precision: what is asked for is taken, `auto` measures, what is not there is said."""

import pytest
import torch

from clozelm.errors import SettingsError
from clozelm.train import hardware
from clozelm.train.hardware import choose_device, choose_precision, describe_machine, matrix_rate

CPU = torch.device("cpu")


@pytest.mark.parametrize(("bf16", "chosen"), [(2.0, "bf16"), (1.2, "fp32"), (0.2, "fp32")])
def test_auto_takes_bf16_only_where_it_is_clearly_faster(
    bf16: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"fp32": 1.0, "bf16": bf16}
    monkeypatch.setattr(hardware, "matrix_rate", lambda precision, *_, **__: rates[precision])
    assert choose_precision("auto", CPU) == chosen


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_named_precision_is_taken_without_measuring(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(hardware, "matrix_rate")
    assert choose_precision(name, CPU) == name


def test_matrix_rate_is_measured_once() -> None:
    rate = matrix_rate("fp32", CPU, size=64, seconds=0.01)
    assert 1e6 < rate < 1e15
    assert matrix_rate("fp32", CPU, size=64, seconds=0.01) == rate


@pytest.mark.parametrize("name", ["abacus", "cuda:x", "", "meta"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"run.device='{name}' is not a device"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="PyTorch sees no GPU here"):
        choose_device(name)
    assert choose_device("auto") == CPU


def test_a_gpu_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(SettingsError, match=r"run\.device='cuda:1': PyTorch sees only 1 GPU here"):
        choose_device("cuda:1")


def test_the_machine_is_described_in_a_line() -> None:
    before = torch.get_num_threads()
    try:
        for count, said in ((1, "1 thread of "), (2, "2 threads of ")):
            torch.set_num_threads(count)
            assert describe_machine(CPU).startswith(said)
    finally:
        torch.set_num_threads(before)
    assert "\n" not in describe_machine(CPU)
