"""LatestFrameReader: the newest frame of a live source, for a reader slower than the source."""

from collections.abc import Generator
from threading import Condition, Thread

from blitznet.video.frame import Frame
from blitznet.video.reader import VideoSource

_POLL = 0.1
"""seconds between wake-ups of a waiting reader, which let it handle Ctrl-C"""


class LatestFrameReader:
    """Reads a live source in a thread and yields the newest frame each time; the frames between are dropped."""

    def __init__(self, source: VideoSource) -> None:
        """Read `source`; the thread starts with the first frame."""
        self.dropped = 0
        """number of dropped frames"""
        self._source = source
        self._frame: Frame | None = None
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self._changed = Condition()

    def frames(self) -> Generator[Frame, None, None]:
        """Yield frames, each newer than the last; an error of the source is raised after its last frame."""
        thread = Thread(target=self._read, name="blitznet-latest-frame", daemon=True)
        thread.start()
        try:
            while (frame := self._wait_for_frame()) is not None:
                yield frame
        finally:
            self._stopped = True
            # not for longer: a thread that hangs in a dead stream is a daemon, and closes the stream when that returns
            thread.join(timeout=1)
        if self._error is not None:
            raise self._error

    def _wait_for_frame(self) -> Frame | None:
        with self._changed:
            while self._frame is None and not self._ended:
                self._changed.wait(_POLL)
            frame, self._frame = self._frame, None
        return frame

    def _read(self) -> None:
        try:
            for frame in self._source.frames():
                with self._changed:
                    self.dropped += self._frame is not None
                    self._frame = frame
                    self._changed.notify()
                if self._stopped:
                    break
        except BaseException as error:  # raised again by `frames`
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify()
