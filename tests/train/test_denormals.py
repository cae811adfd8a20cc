"""Denormal numbers: counted as 0 within a step, in the threads of products too, and nowhere else."""

import subprocess
import sys

import pytest
import torch

from clozelm.train.denormals import flushed_denormals

TINY = 1e-40  # denormal in fp32

THREADS = """
import torch
from clozelm.train.denormals import start_threads
torch.set_num_threads(2)
start_threads()
numbers = torch.full((1 << 20,), 1e-40)
halves = (numbers * 1.0).view(2, -1).ne(0).any(1).tolist()
print(halves)
"""


def product() -> float:
    return float(torch.tensor([TINY]) * torch.tensor([1.0]))


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU has no such switch")
def test_only_within() -> None:
    assert product() != 0.0
    with flushed_denormals():
        assert product() == 0.0
    assert product() != 0.0
    with pytest.raises(ZeroDivisionError), flushed_denormals():
        raise ZeroDivisionError
    assert product() != 0.0


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU has no such switch")
def test_threads_that_were_started_for_it_go_on() -> None:
    """The first thread has left the block; the second has inherited it for good."""
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, False]"
