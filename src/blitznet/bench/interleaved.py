"""Things to be timed, each in a process of its own, of which one computes at a time.

Round after round every process has its turn, in changing order, so that a machine that grows slower or faster does
so for all of them. A turn ends when the process is quiet: engines' threads go on spinning for a while after a run.
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

Answer = TypeVar("Answer")
Work = Callable[[], Answer]
"""what is done in a turn"""
Job = Callable[[], Work[Answer]]
"""called in the new process, gives its work; must be picklable: a function of a module, or a partial of one"""
Watch = Callable[[int, int], None]
"""called with how many turns are over, and of how many"""

_PAUSE, _QUIET, _PATIENCE = 0.02, 0.1, 10.0
"""seconds that are looked at, the part of them that may be computed in, and how long to wait for that"""


def run_interleaved(
    jobs: Sequence[Job[Answer]], rounds: int, *, warmup: int = 1, watch: Watch | None = None
) -> list[list[Answer]]:
    """Each job's answers, one for each round; those of `warmup` rounds before are left out.

    Raises BlitzNetError where a job raises one, with its message, and RuntimeError with the traceback of all else.
    """
    answers: list[list[Answer]] = [[] for _ in jobs]
    with _opened(jobs) as workers:
        for turn in range(warmup + rounds):
            for place in _order(len(jobs), turn):
                answers[place].append(workers[place].turn())
                if watch is not None:
                    watch(sum(map(len, answers)), len(jobs) * (warmup + rounds))
    return [given[warmup:] for given in answers]


def _order(count: int, turn: int) -> Sequence[int]:
    return range(count) if turn % 2 == 0 else range(count)[::-1]


@contextmanager
def _opened(jobs: Sequence[Job[Answer]]) -> Iterator[list["_Worker[Answer]"]]:
    """A process for each job, opened one after the other, all gone at the end."""
    workers: list[_Worker[Answer]] = []
    try:
        for job in jobs:
            workers.append(_Worker(job))
            workers[-1].answer()
        yield workers
    finally:
        for worker in workers:
            worker.close()


class _Worker(Generic[Answer]):
    """The parent's side of one process."""

    def __init__(self, job: Job[Answer]) -> None:
        context = get_context("spawn")  # a fork would take the parent's threads' locks along, and its memory
        self._pipe, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, job), daemon=True)
        self._process.start()
        child.close()

    def turn(self) -> Answer:
        """Let it work once."""
        try:
            self._pipe.send(None)
        except OSError as error:
            raise self._gone() from error
        answer: Answer = self.answer()
        return answer

    def answer(self) -> Any:
        """What it says next; its error, if that is what it says."""
        try:
            answer, error = self._pipe.recv()
        except (EOFError, OSError) as gone:
            raise self._gone() from gone
        if error is not None:
            raise error
        return answer

    def close(self) -> None:
        """End it; it computes nothing now, or nothing that is still wanted."""
        self._pipe.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _gone(self) -> RuntimeError:
        self._process.join(1)
        return RuntimeError(f"a process that was to be timed ended by itself, exit code {self._process.exitcode}")


def _serve(pipe: Connection, job: Job[Any]) -> None:
    """The process's side: works when told to, ends when the pipe does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which closes the pipe
    try:
        work = job()
        _settle()
        pipe.send((None, None))
        while True:
            pipe.recv()
            answer = work()
            _settle()
            pipe.send((answer, None))
    except (EOFError, BrokenPipeError):
        return
    except BlitzNetError as error:
        pipe.send((None, BlitzNetError(str(error))))  # not every kind of it travels
    except Exception:
        pipe.send((None, RuntimeError(traceback.format_exc())))


def _settle() -> None:
    """Wait until no thread of this process computes, or would if it were let."""
    start = perf_counter()
    while perf_counter() - start < _PATIENCE:
        used = process_time()
        sleep(_PAUSE)
        if process_time() - used < _QUIET * _PAUSE and not _others_run():
            return
    raise BlitzNetError(f"threads of a process that was timed still compute {_PATIENCE:.0f} s after their work")


def _others_run() -> bool:
    """Whether another thread than this one is ready to run; unknown, so no, where there is no /proc."""
    states = []
    for thread in Path("/proc/self/task").glob("*/stat"):
        with suppress(OSError):  # it may be gone by now
            states.append(thread.read_text().rpartition(")")[2].split()[0])
    return states.count("R") > 1
