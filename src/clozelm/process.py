"""How threads of a process that computes should wait; called before PyTorch is loaded."""

from __future__ import annotations

import os


def tune_process() -> None:
    """Let OpenMP threads that wait spin for some microseconds only, unless the user has set how long.

    A thread that spins for long loses whole time slices beside any other busy process: see docs/decisions/0005.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
