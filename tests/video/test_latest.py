import threading
import time
from collections.abc import Generator, Sequence
from fractions import Fraction

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.video.frame import Frame, Sound
from blitznet.video.latest import LatestFrameReader
from blitznet.video.reader import VideoInfo


class Camera:
    """Gives a frame each time it is let."""

    about = VideoInfo("camera", live=True, time_base=Fraction(1, 1000), rate=Fraction(30))
    rest: Sequence[Sound] = ()
    lost = broken = 0

    def __init__(self, count: int, *, fails: bool = False) -> None:
        self.given = 0
        self._count, self._fails = count, fails
        self.may = threading.Semaphore(0)

    def frames(self) -> Generator[Frame, None, None]:
        for number in range(self._count):
            self.may.acquire()
            self.given = number + 1
            yield Frame(number, np.zeros((2, 2, 3), np.uint8), number, float(number), time.monotonic())
        if self._fails:
            raise DataError("camera: unplugged")

    def close(self) -> None:
        pass


def given(camera: Camera, count: int) -> None:
    """Wait until the camera gave so many, and the reader took them."""
    end = time.monotonic() + 10
    while camera.given < count:
        assert time.monotonic() < end
        time.sleep(0.005)
    time.sleep(0.05)


def test_only_the_newest_is_looked_at_and_the_others_are_counted() -> None:
    camera = Camera(9)
    newest = LatestFrameReader(camera)
    frames = newest.frames()
    camera.may.release()
    assert next(frames).number == 0
    for _ in range(5):
        camera.may.release()
    given(camera, 6)
    assert next(frames).number == 5
    assert newest.dropped == 4
    for _ in range(3):
        camera.may.release()
    given(camera, 9)
    assert [frame.number for frame in frames] == [8]
    assert newest.dropped == 6


def test_what_the_source_raises_comes_after_its_last_frame() -> None:
    camera = Camera(1, fails=True)
    camera.may.release()
    frames = LatestFrameReader(camera).frames()
    assert next(frames).number == 0
    with pytest.raises(DataError, match="unplugged"):
        next(frames)


def test_closing_ends_the_thread() -> None:
    camera = Camera(1000)
    for _ in range(1000):
        camera.may.release()
    frames = LatestFrameReader(camera).frames()
    next(frames)
    frames.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "blitznet-live"]
