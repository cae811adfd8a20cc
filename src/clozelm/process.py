"""How a process that trains should treat memory and waiting threads; called before PyTorch is loaded."""

from __future__ import annotations

import ctypes
import os
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt, from glibc's malloc.h


def tune_process() -> None:
    """Keep freed memory, use huge pages, let waiting threads sleep soon; variables that are set stay as they are.

    A step frees and takes the same few hundred megabytes again; returned to the kernel, each page would cost a
    fault at the next step. Threads that wait by spinning for long lose whole time slices beside any other busy
    process; 2000 turns, some microseconds, cost nothing measurable on an idle machine.
    See docs/decisions/0005. Memory is kept on Linux with glibc only.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
    except (OSError, AttributeError):
        return
