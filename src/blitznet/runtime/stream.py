"""Streaming inference: decoding, running the network and using the results overlap.

One thread reads the source, a few decode and resize, and one or several run the network and postprocess. The caller
uses the results meanwhile; the class map is computed there, on first access. Pillow, numpy and the engines release
the GIL. The queues between the steps are bounded, so at most `max_in_flight(batch, workers)` images are in memory,
however slow the caller is.

Several workers run replicas of the network, ideally on a single thread each: two threads that share a small network
wait for each other, so two replicas give 1.4 times the images per second, at a higher latency.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue, SimpleQueue
from threading import Event, Thread
from time import perf_counter
from typing import Generic, TypeVar

from blitznet.core.errors import BlitzNetError
from blitznet.postprocess.result import Result
from blitznet.runtime.preprocess import ImageInput, ModelInput
from blitznet.runtime.threads import available_threads

Item = TypeVar("Item")
Preprocess = Callable[[ImageInput], ModelInput]
Worker = Callable[[Sequence[ModelInput]], Sequence[Result]]
"""predicts a batch; called from one thread at a time"""

_MAX_DECODERS = 4
"""maximum number of decoding threads; more only wait for the network"""
_POLL_SECONDS = 0.05
"""interval at which a waiting thread checks whether the stream was closed"""


@dataclass(frozen=True, slots=True, eq=False)
class StreamResult:
    """The result of one image of a source, or the error of an image that cannot be read."""

    source: ImageInput
    """the item of the source"""
    result: Result | None
    """the prediction; None for an image that cannot be read"""
    error: BlitzNetError | None
    """the reason for which the image cannot be read, else None"""
    seconds: float
    """seconds of decoding and the image's share of inference and post-processing, without waiting"""

    def __repr__(self) -> str:
        name = str(self.source) if isinstance(self.source, str | Path) else f"<{type(self.source).__name__}>"
        return f"StreamResult({name}: {self.error or self.result!r})"


def run_stream(
    source: Iterable[ImageInput], preprocess: Preprocess, workers: Sequence[Worker], *, batch: int
) -> Generator[StreamResult, None, None]:
    """Predict the images of a source, in order.

    Closing the generator waits for the work in progress, which may include reading the source's next image.

    Args:
        source: Images; read in a thread.
        preprocess: Decodes and resizes an image; called from several threads.
        workers: Predict one batch each at the same time.
        batch: Images that go through the network together.
    """
    closed = Event()
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)
    with (
        ThreadPoolExecutor(decoder_threads(), "blitznet-decode") as decode_pool,
        ThreadPoolExecutor(len(workers), "blitznet-infer") as infer_pool,
        closing(
            _read_ahead(
                (decode_pool.submit(_decode, image, preprocess) for image in source), batch + decoder_threads(), closed
            )
        ) as decoded,
        closing(
            _read_ahead(
                (infer_pool.submit(_infer, group, idle) for group in _batches(decoded, batch)), len(workers), closed
            )
        ) as predicted,
    ):
        for group in predicted:
            yield from group.result()


def decoder_threads() -> int:
    """Threads that decode, beside those of the network."""
    return max(1, min(_MAX_DECODERS, available_threads() // 2))


def max_in_flight(batch: int, workers: int = 1) -> int:
    """Maximum number of images that were taken from the source but not yet yielded to the caller."""
    # One in the reading thread, those decoded or waiting for it, and these batches: one being collected, one for each
    # worker, one waiting for a worker, one being yielded. Images that cannot be read may double a batch.
    return 1 + (batch + decoder_threads()) + 2 * batch * (3 + workers)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """An image of the source, decoded or with an error."""

    source: ImageInput
    model_input: ModelInput | None
    error: BlitzNetError | None
    seconds: float


def _decode(image: ImageInput, preprocess: Preprocess) -> _Decoded:
    started = perf_counter()
    model_input, failure = None, None
    try:
        model_input = preprocess(image)
    except BlitzNetError as error:
        failure = error
    return _Decoded(image, model_input, failure, perf_counter() - started)


def _infer(group: Sequence[_Decoded], idle: SimpleQueue[Worker]) -> list[StreamResult]:
    started = perf_counter()
    worker = idle.get()  # the pool has as many threads as there are workers
    try:
        results = iter(worker([item.model_input for item in group if item.model_input is not None]))
    finally:
        idle.put(worker)
    share = (perf_counter() - started) / max(sum(item.model_input is not None for item in group), 1)
    predicted = []
    for item in group:
        result = None if item.model_input is None else next(results)
        seconds = item.seconds + (0 if result is None else share)
        predicted.append(StreamResult(item.source, result, item.error, seconds))
    return predicted


def _batches(images: Iterable[Future[_Decoded]], batch: int) -> Iterator[list[_Decoded]]:
    """Groups with `batch` readable images each; if the source fails, the images before it come first."""
    group: list[_Decoded] = []
    failure: Exception | None = None
    try:
        for future in images:
            group.append(future.result())
            if sum(item.model_input is not None for item in group) == batch or len(group) == 2 * batch:
                yield group
                group = []
    except Exception as error:  # any error of the source is raised to the caller
        failure = error
    if group:
        yield group
    if failure is not None:
        raise failure


@dataclass(frozen=True, slots=True)
class _Item(Generic[Item]):
    value: Item


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


_ItemQueue = Queue[_Item[Item] | _Failure | None]
"""items of a source; None marks the end"""


def _read_ahead(items: Iterable[Item], length: int, closed: Event) -> Generator[Item, None, None]:
    """Iterate in a thread, at most `length` items ahead; its errors are raised here, after the items before them.

    The thread starts with the first `next`. Closing sets `closed`, which ends all threads that share it, and joins
    the thread.
    """
    queue: _ItemQueue[Item] = Queue(length)
    thread = Thread(target=_fill, args=(queue, items, closed), name="blitznet-stream", daemon=True)
    thread.start()
    try:
        while isinstance(item := _get(queue, closed), _Item):
            yield item.value
    except BaseException:  # closed or interrupted; after a normal end other threads still need their items
        closed.set()
        raise
    finally:
        thread.join()
    if item is not None:
        raise item.error


def _fill(queue: _ItemQueue[Item], items: Iterable[Item], closed: Event) -> None:
    try:
        for item in items:
            if not _put(queue, _Item(item), closed):
                return
    except BaseException as error:  # raised in the thread that reads the queue
        _put(queue, _Failure(error), closed)
    else:
        _put(queue, None, closed)


def _get(queue: _ItemQueue[Item], closed: Event) -> _Item[Item] | _Failure | None:
    """Get an item; None at the end, or if the stream was closed meanwhile."""
    while not closed.is_set():
        try:
            return queue.get(timeout=_POLL_SECONDS)
        except Empty:
            continue
    return None


def _put(queue: _ItemQueue[Item], item: _Item[Item] | _Failure | None, closed: Event) -> bool:
    """Put an item; False if the stream was closed meanwhile."""
    while not closed.is_set():
        try:
            queue.put(item, timeout=_POLL_SECONDS)
        except Full:
            continue
        return True
    return False
