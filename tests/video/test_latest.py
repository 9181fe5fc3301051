import threading
import time
from collections.abc import Generator, Sequence
from fractions import Fraction

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.video.frame import AudioPacket, Frame
from blitznet.video.latest import LatestFrameReader
from blitznet.video.reader import VideoInfo


class GatedCamera:
    """Yields a frame each time the test releases it."""

    info = VideoInfo("camera", live=True, time_base=Fraction(1, 1000), fps=Fraction(30))
    trailing_audio: Sequence[AudioPacket] = ()
    reconnects = decode_errors = 0
    first_error = None
    truncated_at: float | None = None

    def __init__(self, count: int, *, fails: bool = False) -> None:
        self.yielded = 0
        self.gate = threading.Semaphore(0)
        self._count, self._fails = count, fails

    def frames(self) -> Generator[Frame, None, None]:
        for index in range(self._count):
            self.gate.acquire()
            self.yielded = index + 1
            yield Frame(index, np.zeros((2, 2, 3), np.uint8), index, float(index), time.monotonic())
        if self._fails:
            raise DataError("camera: unplugged")

    def close(self) -> None:
        pass


def wait_for_frames(camera: GatedCamera, count: int) -> None:
    """Wait until the camera has yielded `count` frames and the reader has them."""
    deadline = time.monotonic() + 10
    while camera.yielded < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(0.05)


def test_only_the_newest_frame_is_read_and_the_others_are_counted() -> None:
    camera = GatedCamera(9)
    reader = LatestFrameReader(camera)
    frames = reader.frames()
    camera.gate.release()
    assert next(frames).index == 0
    for _ in range(5):
        camera.gate.release()
    wait_for_frames(camera, 6)
    assert next(frames).index == 5
    assert reader.dropped == 4
    for _ in range(3):
        camera.gate.release()
    wait_for_frames(camera, 9)
    assert [frame.index for frame in frames] == [8]
    assert reader.dropped == 6


def test_an_error_of_the_source_is_raised_after_its_last_frame() -> None:
    camera = GatedCamera(1, fails=True)
    camera.gate.release()
    frames = LatestFrameReader(camera).frames()
    assert next(frames).index == 0
    with pytest.raises(DataError, match="unplugged"):
        next(frames)


def test_closing_the_generator_stops_the_thread() -> None:
    camera = GatedCamera(1000)
    for _ in range(1000):
        camera.gate.release()
    frames = LatestFrameReader(camera).frames()
    next(frames)
    frames.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "blitznet-latest-frame"]
