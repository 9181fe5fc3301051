"""stream: many images, each step of the way busy with another one.

One thread reads the source, a few decode and resize, one runs the network and finds the boxes; what the caller
does with a result is the fourth step, and so is the class map, which is made when it is looked at. Pillow, numpy
and the runtimes let other threads compute meanwhile. Between the steps lie queues of fixed length, so that no
more than `ahead(batch)` images are under way, however slow the caller is.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from time import perf_counter
from typing import Generic, TypeVar

from blitznet.core.errors import BlitzNetError
from blitznet.core.result import Result
from blitznet.runtime.prepare import AnyImage, Fed
from blitznet.runtime.threads import available_threads

Item = TypeVar("Item")
Feed = Callable[[AnyImage], Fed]
Look = Callable[[Sequence[Fed]], Sequence[Result]]

_DECODERS = 4
"""threads at most; more only wait for the network"""
_PATIENCE = 0.05
"""seconds until a thread that waits looks whether it is still wanted"""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What came of one image of a source: a result, or what is wrong with the image."""

    source: AnyImage
    """as it was given"""
    result: Result | None
    error: BlitzNetError | None
    seconds: float
    """of decoding, and its share of the network's and the boxes' time; waiting is left out"""


def stream(source: Iterable[AnyImage], feed: Feed, look: Look, *, batch: int) -> Generator[Seen, None, None]:
    """What `look` says of each image after `feed`, in the source's order; `batch` of them are looked at together.

    An image in memory must not be written over after it was given. Closing waits for what the threads have in
    hand, which may be the source's next image.
    """
    unwanted = Event()
    with (
        ThreadPoolExecutor(decoders(), "blitznet-decode") as pool,
        closing(_in_thread((pool.submit(_fed, image, feed) for image in source), batch + decoders(), unwanted)) as fed,
        closing(_in_thread(_looked(fed, look, batch), batch, unwanted)) as seen,
    ):
        yield from seen


def decoders() -> int:
    """Threads that decode: beside the network's there is room for a few."""
    return max(1, min(_DECODERS, available_threads() // 2))


def ahead(batch: int) -> int:
    """The most images that were taken from the source and not yet given to the caller.

    One in the hand of the thread that reads, those in the two queues, and a batch that gathers or is being looked
    at, which those that cannot be read may double.
    """
    return 1 + (batch + decoders()) + 2 * batch + batch


@dataclass(frozen=True, slots=True)
class _Read:
    """An image that was decoded, or could not be."""

    source: AnyImage
    fed: Fed | None
    error: BlitzNetError | None
    seconds: float


def _fed(image: AnyImage, feed: Feed) -> _Read:
    started = perf_counter()
    fed, problem = None, None
    try:
        fed = feed(image)
    except BlitzNetError as error:
        problem = error
    return _Read(image, fed, problem, perf_counter() - started)


def _looked(images: Iterable[Future[_Read]], look: Look, batch: int) -> Iterator[Seen]:
    for group in _groups(images, batch):
        started = perf_counter()
        fed = [one.fed for one in group if one.fed is not None]
        results = iter(look(fed))
        share = (perf_counter() - started) / max(len(fed), 1)
        for one in group:
            result = None if one.fed is None else next(results)
            yield Seen(one.source, result, one.error, one.seconds + (0 if result is None else share))


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
        while isinstance(came := _get(waiting, unwanted), _Given):
            yield came.item
    except BaseException:  # closed, or interrupted while it waited; at the end others may still want what they have
        unwanted.set()
        raise
    finally:
        thread.join()
    if came is not None:
        raise came.error


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
