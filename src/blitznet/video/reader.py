"""Where moving pictures come from: files, image sequences, cameras and streams, all as frames with their times.

A file gives every frame. What is live, a camera or a stream without an end, is told so: who reads it too slowly wants
the newest frame (`live.py`), and where it breaks off it is opened again.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Event, Lock
from typing import Protocol, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import DataError, UsageError
from blitznet.core.image import ImageSource
from blitznet.video.frame import Frame, Sound
from blitznet.video.timestamps import make_monotonic

LIVE_BASE = Fraction(1, 90000)
"""seconds; live frames are timed by our own clock, which a stream that is opened again does not set back"""
TRIES = 5
"""times that a live source is opened again before it is given up"""
_PAUSE = 0.5
"""seconds before the first of these; each further one waits twice as long"""
_SLOW = (10.0, 10.0)
"""seconds until a stream that does not open, or does not go on, is an error"""
_DEFAULT_RATE = Fraction(25)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a source says of itself."""

    name: str
    """for files that are made of it"""
    live: bool
    time_base: Fraction
    """seconds"""
    rate: Fraction
    """frames a second"""
    aspect: Fraction = Fraction(1)
    """how wide a pixel is, for one that is 1 high"""
    count: int | None = None
    """frames, as far as it knows"""
    heard: tuple[AudioStream, ...] = ()
    """its sound"""


class Video(Protocol):
    """A source that is open, and whose frames are read once."""

    @property
    def about(self) -> VideoInfo:
        """What is known before the first frame."""
        ...

    @property
    def rest(self) -> Sequence[Sound]:
        """Sound after the last frame."""
        ...

    @property
    def lost(self) -> int:
        """Times that it broke off and was opened again."""
        ...

    @property
    def broken(self) -> int:
        """Packets that could not be decoded."""
        ...

    def frames(self) -> Generator[Frame, None, None]:
        """Every frame in turn; DataError where it cannot go on."""
        ...

    def close(self) -> None:
        """Let the file or the camera go; while another thread waits for a frame, as soon as that comes back."""
        ...


def open_video(text: str, *, rate: Fraction | None = None, images: Sequence[Path] = ()) -> Video:
    """The source that `text` names: a file, a camera's number, or an address with ://.

    images: what `text` means where it is a folder or a pattern of images, at `rate` frames a second. Raises UsageError
    for one that is not there, DataError for one that holds no video.
    """
    if images:
        return ImageSequence(Path(text).name or "pictures", images, rate or _DEFAULT_RATE)
    if text.isdigit():
        return VideoReader(f"camera-{text}", f"/dev/video{text}", form="v4l2", live=True)
    if "://" in text:
        return VideoReader(_short(text), text)
    if not Path(text).is_file():
        raise UsageError(f"{text}: expected a video file, a camera's number, an address with :// or a folder of images")
    return VideoReader(Path(text).stem, text, live=False)


class ImageSequence:
    """A sequence of images of one size."""

    rest = ()
    lost = broken = 0

    def __init__(self, name: str, images: Sequence[Path], rate: Fraction) -> None:
        """`images` in turn, `rate` of them a second."""
        self.about = VideoInfo(name, live=False, time_base=1 / rate, rate=rate, count=len(images))
        self._images = images

    def frames(self) -> Generator[Frame, None, None]:
        """Every image; DataError for one that cannot be read or is of another size."""
        first: tuple[int, ...] | None = None
        for number, path in enumerate(self._images):
            pixels = ImageSource(path).read()
            first = first or pixels.shape
            if pixels.shape != first:
                raise DataError(
                    f"{path}: is {pixels.shape[1]}x{pixels.shape[0]}, the first image {first[1]}x{first[0]}; "
                    "expected one size for all of a sequence"
                )
            yield Frame(number, pixels, number, float(number / self.about.rate), time.monotonic())

    def close(self) -> None:
        """Nothing is held."""


class VideoReader:
    """What PyAV opens: a file, a camera, an address."""

    def __init__(self, name: str, address: str, *, form: str | None = None, live: bool | None = None) -> None:
        """Open `address`, a container of `form`; `live` if that is not told by whether it has an end."""
        self.lost = 0
        """times that it broke off and was opened again"""
        self.broken = 0
        """packets that could not be decoded"""
        self.rest: list[Sound] = []
        self._address, self._form = address, form
        self._reading, self._closed = Lock(), Event()
        self._container, self._pictures = self._open()
        self.about = self._about(name, live)

    def frames(self) -> Generator[Frame, None, None]:
        """Every frame, of a live source for ever."""
        with closing(self._live_frames() if self.about.live else self._all_frames()) as frames:
            while (frame := self._next(frames)) is not None:
                yield frame

    def close(self) -> None:
        """Let it go; a thread that waits for a frame does so when it comes back, for it reads memory freed here."""
        self._closed.set()
        if self._reading.acquire(blocking=False):
            self._container.close()
            self._reading.release()

    def _next(self, frames: Iterator[Frame]) -> Frame | None:
        try:
            with self._reading:
                return None if self._closed.is_set() else next(frames, None)
        finally:
            if self._closed.is_set():
                self.close()

    def _about(self, name: str, live: bool | None) -> VideoInfo:
        pictures, length = self._pictures, self._container.duration or 0
        live = length <= 0 if live is None else live
        rate = pictures.average_rate or pictures.guessed_rate or _DEFAULT_RATE
        count = pictures.frames or round(length / av.time_base * rate)
        return VideoInfo(
            name=name,
            live=live,
            time_base=LIVE_BASE if live or pictures.time_base is None else pictures.time_base,
            rate=rate,
            aspect=pictures.sample_aspect_ratio or Fraction(1),
            count=None if live or count <= 0 else count,
            heard=() if live else tuple(self._container.streams.audio),
        )

    def _all_frames(self) -> Generator[Frame, None, None]:
        start, number, base = None, 0, self.about.time_base
        sound: list[Sound] = []
        for actual in self._decoded():
            if isinstance(actual, Packet):
                sound.append(actual)
                continue
            pts = actual.pts if actual.pts is not None else round(number / self.about.rate / base)
            start = pts if start is None else start
            yield Frame(number, _upright(actual), pts, float((pts - start) * base), time.monotonic(), tuple(sound))
            sound.clear()
            number += 1
        self.rest += sound
        if not number:
            raise DataError(f"{self._address}: holds no frame that can be read")

    def _live_frames(self) -> Generator[Frame, None, None]:
        begun, number, failures = time.monotonic(), 0, 0
        while not self._closed.is_set():
            problem = "it ended"
            try:
                for actual in self._decoded():
                    if isinstance(actual, VideoFrame):
                        now = time.monotonic()
                        yield Frame(number, _upright(actual), round((now - begun) / LIVE_BASE), now - begun, now)
                        number, failures = number + 1, 0
            except DataError as error:
                problem = str(error)
            failures = self._again(failures, problem)

    def _again(self, failures: int, problem: str) -> int:
        """Open it once more, after a pause; DataError when that was tried often enough."""
        self._container.close()
        while failures < TRIES:
            if self._closed.wait(_PAUSE * 2**failures):
                return failures
            failures += 1
            try:
                self._container, self._pictures = self._open()
            except DataError as error:
                problem = str(error)
            else:
                self.lost += 1
                return failures
        raise DataError(f"{self._address}: broke off and did not come back in {TRIES} tries ({problem})")

    def _open(self) -> tuple[InputContainer, VideoStream]:
        try:
            container = av.open(self._address, format=self._form, timeout=_SLOW, options=_options(self._address))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"{self._address}: cannot be opened as a video ({_reason(error)})") from error
        if not container.streams.video:
            container.close()
            raise DataError(f"{self._address}: expected a video, got a file without pictures")
        pictures = container.streams.video[0]
        pictures.thread_type = "AUTO"
        return container, pictures

    def _decoded(self) -> "Iterator[VideoFrame | Sound]":
        """Frames decoded and sound as it is, in the file's order."""
        streams = [self._pictures, *self.about.heard]
        try:
            for packet in make_monotonic(self._container.demux(streams), self._pictures, self.about.rate):
                if packet.stream is not self._pictures:
                    if packet.dts is not None:
                        yield cast(Sound, packet)
                    continue
                try:
                    yield from (frame for frame in packet.decode() if isinstance(frame, VideoFrame))
                except av.error.InvalidDataError:
                    self.broken += 1
        except (av.error.FFmpegError, OSError) as error:
            raise DataError(f"{self._address}: cannot be read further ({_reason(error)})") from error


def _upright(frame: VideoFrame) -> RGBArray:
    """(H, W, 3) RGB as the camera was held: phones write how they were turned."""
    pixels = cast(RGBArray, frame.to_ndarray(format="rgb24"))
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


def _options(address: str) -> dict[str, str]:
    return {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}


def _short(address: str) -> str:
    """A name for files: the last word of an address, without what follows a question mark."""
    words = address.split("://", 1)[1].split("?")[0].split("@")[-1].strip("/").split("/")
    return Path(words[-1].replace(":", "-")).stem or "stream"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
