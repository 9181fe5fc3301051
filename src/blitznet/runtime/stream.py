"""stream: many images, each step of the way busy with another one.

One thread reads the source, a few decode and resize, one or several run the network and find the boxes; what the
caller does with a result is the fourth step, and so is the class map, which is made when it is looked at. Pillow,
numpy and the runtimes let other threads compute meanwhile. Between the steps lie queues of fixed length, so that no
more than `ahead(batch, lanes)` images are under way, however slow the caller is.

A lane is a network that computes on its own, best in a single thread: a small network shared by two threads wastes
much of both, so two lanes of one thread give 1.4 times the images a second, and each image takes longer.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from queue import Empty, Full, Queue, SimpleQueue
from threading import Event, Thread
from time import perf_counter
from typing import Generic, TypeVar

from blitznet.core.errors import BlitzNetError
from blitznet.postprocess.result import Result
from blitznet.runtime.preprocess import ImageInput, ModelInput
from blitznet.runtime.threads import available_threads

Item = TypeVar("Item")
Feed = Callable[[ImageInput], ModelInput]
Look = Callable[[Sequence[ModelInput]], Sequence[Result]]

_Free = SimpleQueue[Look]
"""the lanes that have nothing to do"""
_DECODERS = 4
"""threads at most; more only wait for the network"""
_PATIENCE = 0.05
"""seconds until a thread that waits looks whether it is still wanted"""


@dataclass(frozen=True, slots=True, eq=False)
class StreamResult:
    """What came of one image of a source: a result, or what is wrong with the image."""

    source: ImageInput
    """as it was given"""
    result: Result | None
    error: BlitzNetError | None
    seconds: float
    """of decoding, and its share of the network's and the boxes' time; waiting is left out"""


def run_stream(
    source: Iterable[ImageInput], feed: Feed, looks: Sequence[Look], *, batch: int
) -> Generator[StreamResult, None, None]:
    """What one of `looks` says of each image after `feed`, in the source's order; `batch` are looked at together.

    Each of `looks` is a lane, which looks at one batch at a time. An image in memory must not be written over after
    it was given. Closing waits for what the threads have in hand, which may be the source's next image.
    """
    unwanted = Event()
    free: _Free = SimpleQueue()
    for look in looks:
        free.put(look)
    with (
        ThreadPoolExecutor(decoders(), "blitznet-decode") as pool,
        ThreadPoolExecutor(len(looks), "blitznet-look") as lanes,
        closing(_in_thread((pool.submit(_fed, image, feed) for image in source), batch + decoders(), unwanted)) as fed,
        closing(
            _in_thread((lanes.submit(_looked, group, free) for group in _groups(fed, batch)), len(looks), unwanted)
        ) as seen,
    ):
        for group in seen:
            yield from group.result()


def decoders() -> int:
    """Threads that decode: beside the network's there is room for a few."""
    return max(1, min(_DECODERS, available_threads() // 2))


def ahead(batch: int, lanes: int = 1) -> int:
    """The most images that were taken from the source and not yet given to the caller.

    One in the hand of the thread that reads, those decoded or waiting to be, and so many batches: one that gathers,
    one for each lane, one that waits for them, one that is being given. Those that cannot be read may double a batch.
    """
    return 1 + (batch + decoders()) + 2 * batch * (3 + lanes)


@dataclass(frozen=True, slots=True)
class _Read:
    """An image that was decoded, or could not be."""

    source: ImageInput
    fed: ModelInput | None
    error: BlitzNetError | None
    seconds: float


def _fed(image: ImageInput, feed: Feed) -> _Read:
    started = perf_counter()
    fed, problem = None, None
    try:
        fed = feed(image)
    except BlitzNetError as error:
        problem = error
    return _Read(image, fed, problem, perf_counter() - started)


def _looked(group: Sequence[_Read], free: _Free) -> list[StreamResult]:
    started = perf_counter()
    look = free.get()  # there is one for each thread of this step
    try:
        results = iter(look([one.fed for one in group if one.fed is not None]))
    finally:
        free.put(look)
    share = (perf_counter() - started) / max(sum(one.fed is not None for one in group), 1)
    seen = []
    for one in group:
        result = None if one.fed is None else next(results)
        seen.append(StreamResult(one.source, result, one.error, one.seconds + (0 if result is None else share)))
    return seen


def _groups(images: Iterable[Future[_Read]], batch: int) -> Iterator[list[_Read]]:
    """As many in a row as have `batch` readable ones; where the source fails, what was read before comes first."""
    group: list[_Read] = []
    failure: Exception | None = None
    try:
        for future in images:
            group.append(future.result())
            if sum(one.fed is not None for one in group) == batch or len(group) == 2 * batch:
                yield group
                group = []
    except Exception as error:  # whatever the source raises is the caller's
        failure = error
    if group:
        yield group
    if failure is not None:
        raise failure


@dataclass(frozen=True, slots=True)
class _Given(Generic[Item]):
    item: Item


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


_Waiting = Queue[_Given[Item] | _Failed | None]
"""None at the end"""


def _in_thread(items: Iterable[Item], length: int, unwanted: Event) -> Generator[Item, None, None]:
    """The items, taken in a thread of their own as long as no more than `length` wait.

    What they raise is raised here, after the items before it. The thread starts when the first item is asked
    for; closing says to all that share it, by `unwanted`, that nothing more is, and waits for the thread.
    """
    waiting: _Waiting[Item] = Queue(length)
    thread = Thread(target=_fill, args=(waiting, items, unwanted), name="blitznet-stream", daemon=True)
    thread.start()
    try:
        while isinstance(actual := _get(waiting, unwanted), _Given):
            yield actual.item
    except BaseException:  # closed, or interrupted while it waited; at the end others may still want what they have
        unwanted.set()
        raise
    finally:
        thread.join()
    if actual is not None:
        raise actual.error


def _fill(waiting: _Waiting[Item], items: Iterable[Item], unwanted: Event) -> None:
    try:
        for item in items:
            if not _put(waiting, _Given(item), unwanted):
                return
    except BaseException as error:  # told to the thread that asks
        _put(waiting, _Failed(error), unwanted)
    else:
        _put(waiting, None, unwanted)


def _get(waiting: _Waiting[Item], unwanted: Event) -> _Given[Item] | _Failed | None:
    while not unwanted.is_set():
        try:
            return waiting.get(timeout=_PATIENCE)
        except Empty:
            continue
    return None


def _put(waiting: _Waiting[Item], item: _Given[Item] | _Failed | None, unwanted: Event) -> bool:
    """Whether it was put there."""
    while not unwanted.is_set():
        try:
            waiting.put(item, timeout=_PATIENCE)
        except Full:
            continue
        return True
    return False
