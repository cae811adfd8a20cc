"""What this machine can do: device, precision, and the rate of its matrix products."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Literal

import torch

from clozelm.nn.device import named_device

Precision = Literal["fp32", "bf16"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """Return the device a setting names; ``auto`` takes a GPU where there is one."""
    return named_device(name, setting="run.device")


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return the precision to compute in; ``auto`` measures and takes bf16 only where it is clearly faster.

    A CPU without bf16 matrix instructions emulates them several times slower than fp32, and neither the
    processor's name nor the library says so; one product of each does.
    """
    if name != "auto":
        return "bf16" if name == "bf16" else "fp32"
    size = 1024 if device.type == "cpu" else 4096  # small products on a GPU measure how fast they are launched
    fp32 = matrix_rate("fp32", device, size=size, seconds=0.2)
    bf16 = matrix_rate("bf16", device, size=size, seconds=0.2)
    return "bf16" if bf16 > 1.3 * fp32 else "fp32"


@lru_cache(maxsize=8)
def matrix_rate(precision: Precision, device: torch.device, *, size: int = 4096, seconds: float = 4.0) -> float:
    """Return FLOP/s of the best of up to 20 square matrix products of ``size``, tried for ``seconds``."""
    left = torch.randn(size, size, device=device).to(DTYPES[precision])
    right = torch.randn(size, size, device=device).to(DTYPES[precision])
    best, started = float("inf"), time.perf_counter()
    for trial in range(20):
        begin = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begin)
        if trial >= 1 and time.perf_counter() - started > seconds:
            break
    return 2 * size**3 / best


def describe_machine(device: torch.device) -> str:
    """Return one line that names the processor, for run records."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads != 1)} of {_processor()}, {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "an unnamed processor"
