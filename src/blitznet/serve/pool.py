"""Worker threads that predict images: a queue of fixed length, and one worker for each replica of the engine.

A worker does all the work of an image, from its bytes to the response's bytes, so the event loop only handles HTTP.
Images that arrive while a worker is busy go through the network together, at most `batch` at once; no image waits
for a batch to fill.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from threading import Thread

from blitznet.core.image import ImageSource
from blitznet.postprocess.result import Result
from blitznet.runtime.engine import Engine, replicas_of
from blitznet.runtime.predictor import BasePredictor
from blitznet.runtime.preprocess import ModelInput

Render = Callable[[ImageSource, Result], bytes]
"""renders a result as the response's bytes"""


class BusyError(Exception):
    """The queue is full."""


class ClosedError(Exception):
    """The pool is closed."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """An image in the queue."""

    image: ImageSource
    min_score: float
    class_map: bool
    """whether `render` needs the class map"""
    render: Render
    future: "Future[bytes]" = field(default_factory=Future)


class Pool:
    """Predicts queued images in worker threads."""

    def __init__(self, predictor: BasePredictor, *, max_queue: int = 64, batch: int = 4) -> None:
        """Start one worker for each replica of the engine.

        Args:
            predictor: Preprocesses images and runs the network.
            max_queue: Maximum number of images in the queue.
            batch: Maximum number of images that go through the network together.
        """
        self._predictor = predictor
        self._batch = batch
        self._queue: Queue[Job | None] = Queue(max_queue)
        self._open = True
        self._workers = [
            Thread(target=self._work, args=(engine,), name=f"blitznet-worker-{index}", daemon=True)
            for index, engine in enumerate(replicas_of(predictor.engine))
        ]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Number of images in the queue."""
        return self._queue.qsize()

    @property
    def open(self) -> bool:
        """Whether the pool accepts images."""
        return self._open

    def submit(self, job: Job) -> "Future[bytes]":
        """Queue an image; the future returns the rendered bytes.

        Raises:
            BusyError: The queue is full.
            ClosedError: The pool is closed.
        """
        if not self._open:
            raise ClosedError("the server is shutting down")
        try:
            self._queue.put_nowait(job)
        except Full:
            raise BusyError(f"the queue is full: {self._queue.maxsize} images are waiting") from None
        return job.future

    def close(self) -> None:
        """Accept no more images, and wait for the results of the queued ones."""
        self._open = False
        for _ in self._workers:
            self._queue.put(None)
        for worker in self._workers:
            worker.join()

    def _work(self, engine: Engine) -> None:
        """Process jobs until the pool closes."""
        while (first := self._queue.get()) is not None:
            jobs = [first]
            while len(jobs) < self._batch:
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    break
                if job is None:  # the end marker of another worker
                    self._queue.put(None)
                    break
                jobs.append(job)
            self._process([job for job in jobs if job.future.set_running_or_notify_cancel()], engine)

    def _process(self, jobs: Sequence[Job], engine: Engine) -> None:
        """Set the future of every job; an error of one image affects that job only."""
        inputs: list[tuple[Job, ModelInput]] = []
        for job in jobs:
            try:
                inputs.append((job, self._predictor.preprocess(job.image)))
            except Exception as error:  # any error of one image, so that the worker continues
                job.future.set_exception(error)
        for batch in _batches(inputs):
            first, _ = batch[0]
            try:
                results = self._predictor.infer(
                    [model_input for _, model_input in batch],
                    min_score=first.min_score,
                    class_map=first.class_map,
                    engine=engine,
                )
            except Exception as error:  # an error of the engine affects the whole batch
                for job, _ in batch:
                    job.future.set_exception(error)
                continue
            for (job, _), result in zip(batch, results, strict=True):
                try:
                    job.future.set_result(job.render(job.image, result))
                except Exception as error:
                    job.future.set_exception(error)


def _batches(inputs: Sequence[tuple[Job, ModelInput]]) -> Iterator[list[tuple[Job, ModelInput]]]:
    """Jobs with equal options, in batches whose sizes are powers of two.

    An engine compiles for each new batch size, which takes about a second; few sizes keep that rare.
    """
    groups: dict[tuple[float, bool], list[tuple[Job, ModelInput]]] = {}
    for job, model_input in inputs:
        groups.setdefault((job.min_score, job.class_map), []).append((job, model_input))
    for group in groups.values():
        start = 0
        while remaining := len(group) - start:
            size = 1 << (remaining.bit_length() - 1)
            yield group[start : start + size]
            start += size
