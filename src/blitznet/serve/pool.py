"""Worker threads that predict images: a queue of fixed length, and one worker for each replica of the engine.

A worker does all the work of an image, from its bytes to the response's bytes, so the event loop only handles HTTP.
Images that arrive while a worker is busy go through the network together, at most `batch` at once; no image waits
for a batch to fill.
"""

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread

import numpy as np

from blitznet.core.errors import DataError, without_frames
from blitznet.core.image import ImageSource
from blitznet.postprocess.result import Result
from blitznet.runtime.engine import Engine, replicas_of
from blitznet.runtime.predictor import BasePredictor
from blitznet.runtime.preprocess import ModelInput
from blitznet.serve.admission import BusyError

Render = Callable[[ImageSource, Result], bytes]
"""renders a result as the response's bytes"""

_LOGGER = logging.getLogger("blitznet.serve")
_NICE = 5
"""priority of the threads that predict and parse; the event loop's is 0, which is higher"""


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

    def __init__(self, predictor: BasePredictor, *, max_queue: int = 64, batch: int = 4, warm_up: bool = False) -> None:
        """Start one worker for each replica of the engine.

        Args:
            predictor: Preprocesses images and runs the network.
            max_queue: Maximum number of images in the queue.
            batch: Maximum number of images that go through the network together.
            warm_up: Whether each worker first runs every batch size once; the pool is not ready before.
        """
        self._predictor = predictor
        self._batch = batch
        self._max_queue = max_queue
        self._queue: deque[Job] = deque()
        self._computed = 0
        self._changed = Condition()
        self._open = True
        engines = replicas_of(predictor.engine)
        self._cold = len(engines) if warm_up else 0
        self._workers = [
            Thread(target=self._work, args=(engine, warm_up), name=f"blitznet-worker-{index}", daemon=True)
            for index, engine in enumerate(engines)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Number of images in the queue."""
        return len(self._queue)

    @property
    def computed(self) -> int:
        """Number of images that went through the network, without those of the warm-up."""
        return self._computed

    @property
    def open(self) -> bool:
        """Whether the pool accepts images."""
        return self._open

    @property
    def ready(self) -> bool:
        """Whether the pool accepts images and all workers are warm."""
        return self._open and not self._cold

    def require_open(self) -> None:
        """Raise ClosedError if the pool is closed."""
        if not self._open:
            raise ClosedError("the server is shutting down")

    def submit(self, *jobs: Job) -> None:
        """Queue all images or none; the future of each returns the rendered bytes.

        Raises:
            BusyError: The queue has not enough room for all of them.
            ClosedError: The pool is closed.
        """
        with self._changed:
            self.require_open()
            if len(self._queue) + len(jobs) > self._max_queue:
                raise BusyError(
                    f"the queue is full: {len(self._queue)} of at most {self._max_queue} images are waiting, "
                    f"and the request has {len(jobs)}"
                )
            self._queue.extend(jobs)
            self._changed.notify(len(jobs))

    def withdraw(self, jobs: Sequence[Job]) -> None:
        """Cancel images that nobody waits for any more; those in the queue leave it."""
        with self._changed:
            for job in jobs:
                if job.future.cancel() and job in self._queue:
                    self._queue.remove(job)

    def close(self) -> None:
        """Accept no more images, and wait for the results of the queued ones."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self, engine: Engine, warm_up: bool) -> None:
        """Process jobs until the pool closes."""
        lower_priority()
        if warm_up:
            self._warm_up(engine)
        while self._process_next(engine):
            pass

    def _process_next(self, engine: Engine) -> bool:
        """Process the next jobs, of which nothing stays in memory; False at the end."""
        jobs = self._take()
        self._process(jobs, engine)
        return bool(jobs)

    def _take(self) -> list[Job]:
        """The next images, as many as go through the network together; none when the pool is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or not self._open)
            count = min(self._batch, len(self._queue))
            return [self._queue.popleft() for _ in range(count)]

    def _warm_up(self, engine: Engine) -> None:
        """Run each batch size once, which engines compile when they first meet it."""
        height, width = self._predictor.spec.size
        blank = ImageSource(np.zeros((height, width, 3), np.uint8))
        try:
            model_input = self._predictor.preprocess(blank)
            size = 1
            while size <= self._batch and self._open:
                for result in self._predictor.infer([model_input] * size, min_score=0.5, class_map=True, engine=engine):
                    _ = result.class_map  # computed on access
                size *= 2
        except Exception:  # requests give the same error
            _LOGGER.exception("warm-up of the network")
        with self._changed:
            self._cold -= 1

    def _process(self, jobs: Sequence[Job], engine: Engine) -> None:
        """Set the future of every job; an error of one image affects that job only."""
        inputs: list[tuple[Job, ModelInput]] = []
        for job in jobs:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                inputs.append((job, self._predictor.preprocess(job.image)))
            except DataError as error:
                job.future.set_exception(without_frames(error))
            except Exception as error:  # any error of one image, so that the worker continues
                job.future.set_exception(error)
        for batch in _batches(inputs):
            self._infer(batch, engine)

    def _infer(self, batch: list[tuple[Job, ModelInput]], engine: Engine) -> None:
        """Predict and render a batch; after an error of the engine each of its images is tried alone."""
        first, _ = batch[0]
        try:
            results = self._predictor.infer(
                [model_input for _, model_input in batch],
                min_score=first.min_score,
                class_map=first.class_map,
                engine=engine,
            )
        except Exception as error:
            if len(batch) == 1:
                first.future.set_exception(error)
            else:
                for entry in batch:
                    self._infer([entry], engine)
            return
        with self._changed:
            self._computed += len(batch)
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


def lower_priority() -> None:
    """Let the event loop run before this thread where they share a processor."""
    if sys.platform == "linux":  # elsewhere the priority is that of the process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
