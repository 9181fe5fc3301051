"""Only the newest: what a source gives faster than it is looked at is dropped, so that nobody looks at the past."""

from collections.abc import Generator
from threading import Condition, Thread

from blitznet.video.frame import Frame
from blitznet.video.reader import Video


class LatestFrameReader:
    """The newest frame of a live source each time one is asked for; those between are counted and dropped."""

    def __init__(self, video: Video) -> None:
        """Read `video` in a thread of its own, from the first frame that is asked for."""
        self.dropped = 0
        self._video = video
        self._frame: Frame | None = None
        self._error: BaseException | None = None
        self._ended = self._unwanted = False
        self._change = Condition()

    def frames(self) -> Generator[Frame, None, None]:
        """Each a newer one than the last; what the source raises is raised here."""
        thread = Thread(target=self._read, name="blitznet-live", daemon=True)
        thread.start()
        try:
            while (frame := self._next()) is not None:
                yield frame
        finally:
            self._unwanted = True
            # one that hangs in a dead stream does not keep us: it is a daemon, and closes what it reads when it is back
            thread.join(timeout=1)
        if self._error is not None:
            raise self._error

    def _next(self) -> Frame | None:
        with self._change:
            while self._frame is None and not self._ended:
                self._change.wait(0.1)  # in pieces, so that Ctrl-C is heard
            frame, self._frame = self._frame, None
        return frame

    def _read(self) -> None:
        try:
            for frame in self._video.frames():
                with self._change:
                    self.dropped += self._frame is not None
                    self._frame = frame
                    self._change.notify()
                if self._unwanted:
                    break
        except BaseException as error:  # told to the thread that asks
            self._error = error
        with self._change:
            self._ended = True
            self._change.notify()
