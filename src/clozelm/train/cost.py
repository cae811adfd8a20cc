"""What a step must cost before any is done, and the memory that training took."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

from clozelm.data.store import TokenStore
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.run import Run
from clozelm.train.settings import PretrainSettings

_STEPS = 8


def flops_a_step(settings: PretrainSettings, store: TokenStore, tokenizer: Tokenizer) -> float:
    """Return the FLOPs that an update must do on average: of eight steps at masking rates spread over a run.

    Nothing is trained or written. What packing leaves to chance moves it by less than a percent.
    """
    run = Run(settings, store=store, tokenizer=tokenizer, out=Path(), heldout=None, precision="fp32")
    run.num_steps, total = _STEPS, 0.0
    for step in range(_STEPS):
        run.step = step
        data = run.batches.step(run.cursor, run.mask_rate())
        run.cursor, total = data.next_cursor, total + data.flops
    return total / _STEPS


def restart_peak(device: torch.device) -> None:
    """Begin to watch anew how much memory is taken; on Linux and on a GPU, elsewhere it is that of the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes(device: torch.device) -> int:
    """Return the most memory in bytes that was taken since ``restart_peak``.

    On a GPU what tensors took there; else the resident memory of this process, libraries and data included.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
