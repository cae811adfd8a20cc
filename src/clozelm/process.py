"""How a process that trains should treat memory and waiting threads; called before PyTorch is loaded."""

from __future__ import annotations

import ctypes
import os
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt, from glibc's malloc.h


def tune_process() -> None:
    """Keep freed memory, and let OpenMP threads that wait spin for some microseconds only.

    A step frees and takes the same few hundred megabytes again, and a thread that spins for long loses whole time
    slices beside any other busy process: see docs/decisions/0005. ``GOMP_SPINCOUNT`` stays as the user has set it;
    memory is kept on Linux with glibc only.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
    except (OSError, AttributeError):
        return
