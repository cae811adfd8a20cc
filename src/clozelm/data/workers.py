"""Run one function over batches in worker processes, results in order.

Workers are plain subprocesses that speak pickle over pipes: unlike ``multiprocessing`` they neither fork a
process with threads nor import the caller's main module again, so a script needs no ``if __name__ ==
"__main__"``.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Generic, TypeVar

from clozelm.errors import DataError, SettingsError

Task = TypeVar("Task")
Result = TypeVar("Result")
_WAITING_PER_WORKER = 2
_MOST_PER_CORE, _ALWAYS_ALLOWED = 4, 16


def run_ordered(
    factory: Callable[[Any], Callable[[Task], Result]], argument: Any, tasks: Iterable[Task], *, workers: int
) -> Iterator[Result]:
    """Yield ``factory(argument)(task)`` for every task, in order; one worker means this process.

    ``factory`` must be importable by name; at most a few tasks for each worker are held. A process starts when a
    task comes and all others are busy: few tasks start few.
    """
    if workers <= 1:
        yield from map(factory(argument), tasks)
        return
    pool = _Pool[Task, Result](factory, argument, workers)
    try:
        yield from pool.run(tasks)
    finally:
        pool.close()


def available_cores() -> int:
    """Count the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checked_workers(workers: int | None) -> int:
    """Return how many processes to work in, one a core by default; far more than there are cores are refused."""
    cores = available_cores()
    most = max(_MOST_PER_CORE * cores, _ALWAYS_ALLOWED)
    if workers is not None and workers > most:
        raise SettingsError(
            f"--workers {workers} are too many for {cores} cores: give {most} at most, or leave it out for {cores}."
        )
    return workers or cores


class _Pool(Generic[Task, Result]):
    """Subprocesses, and a thread for each that waits for its answer."""

    def __init__(self, factory: Callable[[Any], Any], argument: Any, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._job = (factory, argument)
        self._workers = workers
        self._limit = workers * _WAITING_PER_WORKER

    def run(self, tasks: Iterable[Task]) -> Iterator[Result]:
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            unfinished = sum(not each.done() for each in waiting)
            if len(self._processes) < self._workers and len(self._processes) <= unfinished:
                self._add_process()
            waiting.append(self._threads.submit(self._call, task))
            if len(waiting) >= self._limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _add_process(self) -> None:
        try:
            process = _start()
        except OSError as error:
            raise DataError(
                f"A worker process could not be started ({error.strerror}): try fewer --workers."
            ) from None
        self._processes.append(process)
        with suppress(OSError):  # one that is dead already says so at its first task
            _send(process.stdin, self._job)
        self._idle.put(process)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._threads.shutdown()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]

    def _call(self, task: Task) -> Result:
        process = self._idle.get()
        try:
            _send(process.stdin, task)
            is_done, result = pickle.load(process.stdout)  # type: ignore[arg-type]
        except (OSError, EOFError, pickle.UnpicklingError):
            code = process.wait()
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            raise DataError(
                f"A worker process ended ({how}), perhaps for want of memory: try fewer --workers."
            ) from None
        finally:
            self._idle.put(process)  # dead or alive: a task that waits for one must not wait for ever
        if not is_done:
            raise result
        answer: Result = result
        return answer


def _start() -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
    code = "from clozelm.data.workers import _serve; _serve()"
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _serve() -> None:
    """Answer tasks from standard input until it ends; standard output carries nothing else."""
    tasks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        factory, argument = pickle.load(tasks)
        call = factory(argument)
        while True:
            task = pickle.load(tasks)
            try:
                answer = (True, call(task))
            except Exception as error:  # raised again by the caller
                answer = (False, error)
            _send(answers, answer)


def _send(pipe: Any, content: Any) -> None:
    stream: BinaryIO = pipe
    pickle.dump(content, stream, protocol=5)
    stream.flush()
