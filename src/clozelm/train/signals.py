"""Signals that ask a training to end: it finishes its step and saves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turn SIGTERM and Ctrl-C into an event while training, a second Ctrl-C into what it usually is.

    Only a main thread may catch signals; in another the event never sets.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    for name in before:
        signal.signal(name, stop)
    try:
        yield event
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
