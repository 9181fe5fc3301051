"""The threads that look at images: a queue of fixed length, and lanes that take what waits, a few at a time.

A lane does all of a image's work, from its bytes to the answer's bytes, so that the thread which speaks HTTP does
nothing else. What came while a lane was busy goes through the network together, at most `batch` at once: nobody
waits for others to come.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, Full, Queue
from threading import Thread

from blitznet.core.image import ImageSource
from blitznet.postprocess.result import Result
from blitznet.runtime.engine import Engine, replicas_of
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.preprocess import ModelInput

Render = Callable[[ImageSource, Result], bytes]
"""a image's answer as it goes out"""


class BusyError(Exception):
    """The queue is full."""


class ClosedError(Exception):
    """The pool takes nothing more."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A image that waits."""

    image: ImageSource
    score: float | None
    class_map: bool
    render: Render
    answer: "Future[bytes]" = field(default_factory=Future)


class Pool:
    """Looks at images that others hand in."""

    def __init__(self, predictor: Predictor, *, queue: int = 64, batch: int = 4) -> None:
        """Begin as many lanes as the engine can be divided into; `queue` images may wait."""
        self._predictor = predictor
        self._batch = batch
        self._waiting: Queue[Job | None] = Queue(queue)
        self._open = True
        self._lanes = [
            Thread(target=self._work, args=(engine,), name=f"blitznet-lane-{number}", daemon=True)
            for number, engine in enumerate(replicas_of(predictor.engine))
        ]
        for lane in self._lanes:
            lane.start()

    @property
    def waiting(self) -> int:
        """Images in the queue."""
        return self._waiting.qsize()

    @property
    def open(self) -> bool:
        """Whether images are taken."""
        return self._open

    def submit(self, job: Job) -> "Future[bytes]":
        """Hand a image in. Raises BusyError where too many wait, ClosedError where nothing is taken any more."""
        if not self._open:
            raise ClosedError("the server is going down")
        try:
            self._waiting.put_nowait(job)
        except Full:
            raise BusyError(f"{self._waiting.maxsize} images are waiting already") from None
        return job.answer

    def close(self) -> None:
        """Take nothing more, and wait until what was taken is answered."""
        self._open = False
        for _ in self._lanes:
            self._waiting.put(None)
        for lane in self._lanes:
            lane.join()

    def _work(self, engine: Engine) -> None:
        while (first := self._waiting.get()) is not None:
            jobs = [first]
            while len(jobs) < self._batch:
                try:
                    job = self._waiting.get_nowait()
                except Empty:
                    break
                if job is None:  # the end, which another lane may have to hear of
                    self._waiting.put(None)
                    break
                jobs.append(job)
            self._look([job for job in jobs if job.answer.set_running_or_notify_cancel()], engine)

    def _look(self, jobs: Sequence[Job], engine: Engine) -> None:
        """Answer these; what is wrong with one is told to that one alone."""
        fed: list[tuple[Job, ModelInput]] = []
        for job in jobs:
            _told(job, partial(self._feed, job, fed))
        for alike in _alike(fed):
            score, class_map = alike[0][0].score, alike[0][0].class_map
            look = partial(self._predictor.infer, min_score=score, class_map=class_map, engine=engine)
            try:
                results = look([one for _, one in alike])
            except Exception as error:  # of the engine: everybody's
                for job, _ in alike:
                    job.answer.set_exception(error)
                continue
            for (job, _), result in zip(alike, results, strict=True):
                _told(job, partial(_answer, job, result))

    def _feed(self, job: Job, fed: list[tuple[Job, ModelInput]]) -> None:
        fed.append((job, self._predictor.preprocess(job.image)))


def _answer(job: Job, result: Result) -> None:
    job.answer.set_result(job.render(job.image, result))


def _told(job: Job, work: Callable[[], object]) -> None:
    """Do it; whoever waits for the job hears what went wrong."""
    try:
        work()
    except Exception as error:  # a lane goes on, whatever a image does to it
        job.answer.set_exception(error)


def _alike(fed: Sequence[tuple[Job, ModelInput]]) -> list[list[tuple[Job, ModelInput]]]:
    """Those that ask for the same, which can be looked at together, in parts that engines are prepared for."""
    groups: dict[tuple[float | None, bool], list[tuple[Job, ModelInput]]] = {}
    for job, one in fed:
        groups.setdefault((job.score, job.class_map), []).append((job, one))
    return [part for group in groups.values() for part in _in_powers(group)]


def _in_powers(group: list[tuple[Job, ModelInput]]) -> Iterator[list[tuple[Job, ModelInput]]]:
    """The group in parts of 1, 2, 4, 8 ...: engines prepare for each size they meet, which takes them a second."""
    first = 0
    while left := len(group) - first:
        size = 1 << (left.bit_length() - 1)
        yield group[first : first + size]
        first += size
