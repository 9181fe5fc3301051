"""How far a run is: images, rate and time left."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Thread
from time import monotonic

from blitznet.bulk.source_files import SourceFile
from blitznet.core.errors import BlitzNetError


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """The state of a run."""

    done: int
    """images in parts"""
    total: int | None
    """images of the source; None while they are counted, an estimate for tar and Parquet files"""
    predicted: int
    """images that this run predicted"""
    seconds: float
    """since the start of the run"""

    @property
    def rate(self) -> float:
        """Predicted images per second."""
        return self.predicted / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time until the end at this rate; None if it is unknown."""
        if self.total is None or not self.predicted:
            return None
        return max(0, self.total - self.done) / self.rate


def ignore_state(state: BulkProgress) -> None:
    """Report nothing."""


@dataclass
class ProgressMeter:
    """Counts the images of a run, and those of its source in a thread, since lists are not held in memory."""

    report: Callable[[BulkProgress], None] = ignore_state
    limit: int | None = None
    clock: Callable[[], float] = monotonic
    _started: float = field(init=False)
    _image_files: int = 0
    _containers: int = 0
    _is_counted: bool = False
    _done: int = 0
    _predicted: int = 0
    _done_containers: int = 0
    _in_containers: int = 0

    def __post_init__(self) -> None:
        self._started = self.clock()

    def count(self, files: Iterable[SourceFile]) -> None:
        """Start to count the files of the source in a thread."""
        Thread(target=self.count_now, args=(files,), name="blitznet-count", daemon=True).start()

    def count_now(self, files: Iterable[SourceFile]) -> None:
        """Count the files of the source; errors are left to the run, which reads the same files."""
        try:
            for file in files:
                self._containers += file.is_container
                self._image_files += not file.is_container
                if self.limit is not None and self._image_files >= self.limit:
                    break
        except BlitzNetError:
            return
        self._is_counted = True

    def add_part(self, images: int, *, is_container: bool, is_new: bool) -> None:
        """Add the images of a part."""
        self._done += images
        self._predicted += images * is_new
        self._done_containers += is_container
        self._in_containers += images * is_container
        self.update()

    def update(self, current: int = 0) -> None:
        """Report the state, with the images of the part that is computed now."""
        self.report(self.state(current))

    def state(self, current: int = 0) -> BulkProgress:
        """The state, with the images of the part that is computed now."""
        seconds = self.clock() - self._started
        return BulkProgress(self._done + current, self._total(), self._predicted + current, seconds)

    def _total(self) -> int | None:
        if not self._is_counted or (self._containers and not self._done_containers):
            return None
        mean = self._in_containers / max(self._done_containers, 1)
        total = self._image_files + round(self._containers * mean)
        return total if self.limit is None else min(total, self.limit)
