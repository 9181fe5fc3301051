"""Interleaved timing: each task has its own process, and one process runs at a time.

In each round every process runs its task once, in alternating order, so that a machine that slows down or speeds up
does so for all of them (compare Google Benchmark's random interleaving). A turn ends when the process is idle,
because the threads of an engine spin for a while after a run.
"""

import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any, Generic, TypeVar

from blitznet.core.errors import BlitzNetError
from blitznet.core.interrupts import INTERRUPTS
from blitznet.core.progress import Progress, no_progress

Value = TypeVar("Value")
BenchTask = Callable[[], Value]
"""runs once in each round and returns its measurement"""
BenchTaskFactory = Callable[[], BenchTask[Value]]
"""creates a task in its new process; picklable: a function of a module, or a partial of one"""

_SAMPLE_SECONDS = 0.02
"""interval over which a process's computing time is measured"""
_IDLE_FRACTION = 0.1
"""fraction of the interval; a process that computes for less is idle"""
_IDLE_TIMEOUT = 10.0
"""seconds to wait until a process is idle"""


def run_interleaved(
    factories: Sequence[BenchTaskFactory[Value]], rounds: int, *, warmup: int = 1, progress: Progress = no_progress
) -> list[list[Value]]:
    """Run each task once per round, in its own process.

    Args:
        factories: One for each process.
        rounds: Rounds to measure.
        warmup: Rounds to run first, without measuring.
        progress: Called after each run.

    Returns:
        The values of each task, one for each measured round.

    Raises:
        BlitzNetError: A task raised one; the message is the same.
        RuntimeError: A task raised another error, whose traceback is the message, or its process ended.
    """
    values: list[list[Value]] = [[] for _ in factories]
    total = len(factories) * (warmup + rounds)
    with _start_workers(factories) as workers:
        for round_index in range(warmup + rounds):
            for index in _order(len(factories), round_index):
                values[index].append(workers[index].run())
                progress("runs", sum(map(len, values)), total)
    return [task_values[warmup:] for task_values in values]


def _order(count: int, round_index: int) -> Sequence[int]:
    return range(count) if round_index % 2 == 0 else range(count)[::-1]


@contextmanager
def _start_workers(factories: Sequence[BenchTaskFactory[Value]]) -> Iterator[list["_Worker[Value]"]]:
    """Start a process for each task, one after the other; end all of them on exit."""
    workers: list[_Worker[Value]] = []
    try:
        for factory in factories:
            workers.append(_Worker(factory))
            workers[-1].receive()
        yield workers
    finally:
        for worker in workers:
            worker.close()


class _Worker(Generic[Value]):
    """The parent's end of one process."""

    def __init__(self, factory: BenchTaskFactory[Value]) -> None:
        context = get_context("spawn")  # a fork would inherit the locks of the parent's threads, and its memory
        self._pipe, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, factory), daemon=True)
        self._process.start()
        child.close()

    def run(self) -> Value:
        """Run the task once."""
        try:
            self._pipe.send(None)
        except OSError as error:
            raise self._ended() from error
        value: Value = self.receive()
        return value

    def receive(self) -> Any:
        """The next value that the process sends; an error that it sends is raised."""
        try:
            value, error = self._pipe.recv()
        except (EOFError, OSError) as ended:
            raise self._ended() from ended
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """End the process, killing it if it is busy."""
        self._pipe.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ended(self) -> RuntimeError:
        self._process.join(1)
        return RuntimeError(f"a benchmark process ended unexpectedly with exit code {self._process.exitcode}")


def _serve(pipe: Connection, factory: BenchTaskFactory[Any]) -> None:
    """Main function of a process: run the task for each message, until the pipe is closed."""
    for number in INTERRUPTS:  # they end the parent, which closes the pipe
        signal.signal(number, signal.SIG_IGN)
    try:
        task = factory()
        _wait_until_idle()
        pipe.send((None, None))
        while True:
            pipe.recv()
            value = task()
            _wait_until_idle()
            pipe.send((value, None))
    except (EOFError, BrokenPipeError):
        return
    except BlitzNetError as error:
        pipe.send((None, BlitzNetError(str(error))))  # some subclasses cannot be pickled
    except Exception:
        pipe.send((None, RuntimeError(traceback.format_exc())))


def _wait_until_idle() -> None:
    """Wait until no thread of this process computes or is ready to run."""
    start = perf_counter()
    while perf_counter() - start < _IDLE_TIMEOUT:
        used = process_time()
        sleep(_SAMPLE_SECONDS)
        if process_time() - used < _IDLE_FRACTION * _SAMPLE_SECONDS and not _has_running_threads():
            return
    raise BlitzNetError(
        f"expected the threads of a benchmark process to be idle within {_IDLE_TIMEOUT:.0f} s, but they still compute"
    )


def _has_running_threads() -> bool:
    """Whether another thread than this one is ready to run; False where there is no /proc."""
    states = []
    for thread in Path("/proc/self/task").glob("*/stat"):
        with suppress(OSError):  # the thread has ended
            states.append(thread.read_text().rpartition(")")[2].split()[0])
    return states.count("R") > 1
