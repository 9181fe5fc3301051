"""Video sources: files, image sequences, cameras and network streams, all read as frames with their times.

A file yields every frame. A live source, which is a camera or a stream without an end, is opened again when it breaks
off; a slow reader of a live source uses `LatestFrameReader`.
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
from blitznet.video.frame import AudioPacket, Frame
from blitznet.video.timestamps import make_monotonic

LIVE_TIME_BASE = Fraction(1, 90000)
"""time base of live frames, seconds; the local clock times them: the times of a reopened stream would restart"""
MAX_RECONNECTS = 5
"""consecutive failed attempts to open a live source again after which an error is raised"""
_RECONNECT_DELAY = 0.5
"""seconds before the first attempt; doubles with each further one"""
_TIMEOUTS = (10.0, 10.0)
"""seconds to open a source, and to read a packet"""
_DEFAULT_FPS = Fraction(25)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties of a video source."""

    name: str
    """stem of the files written for it"""
    live: bool
    """whether it is a camera or a stream without an end"""
    time_base: Fraction
    """seconds per unit of `Frame.pts`"""
    fps: Fraction
    """frames per second"""
    sample_aspect_ratio: Fraction = Fraction(1)
    """width of a pixel divided by its height"""
    frame_count: int | None = None
    """number of frames, approximate; None if unknown"""
    audio_streams: tuple[AudioStream, ...] = ()
    """audio streams of a file; empty for a live source"""


class VideoSource(Protocol):
    """An open video whose frames are read once."""

    @property
    def info(self) -> VideoInfo:
        """Properties known before the first frame."""
        ...

    @property
    def trailing_audio(self) -> Sequence[AudioPacket]:
        """Audio packets after the last frame."""
        ...

    @property
    def reconnects(self) -> int:
        """Number of times that a live source was opened again."""
        ...

    @property
    def decode_errors(self) -> int:
        """Number of packets that could not be decoded."""
        ...

    def frames(self) -> Generator[Frame, None, None]:
        """Yield every frame. Raises DataError if the source cannot be read further."""
        ...

    def close(self) -> None:
        """Release the file or camera; if a thread is reading a frame, as soon as that thread has it."""
        ...


def open_video(source: str, *, fps: Fraction | None = None, images: Sequence[Path] = ()) -> VideoSource:
    """Open a video source.

    Args:
        source: A video file, a camera's number, an address with ://, or the name of an image sequence (see `images`).
        fps: Frames per second of an image sequence. Default: 25.
        images: The files of an image sequence; if there are any, `source` is only its name.

    Raises:
        UsageError: There is no such source.
        DataError: The source is not a video, or cannot be opened.
    """
    if images:
        return ImageSequence(Path(source).name or "images", images, fps or _DEFAULT_FPS)
    if source.isdigit():
        return VideoReader(f"camera-{source}", f"/dev/video{source}", container_format="v4l2", live=True)
    if "://" in source:
        return VideoReader(_name_from_address(source), source)
    if not Path(source).is_file():
        raise UsageError(
            f"{source}: expected a video file, a camera's number, an address with :// or a folder of images, "
            "got a path that is none of them"
        )
    return VideoReader(Path(source).stem, source, live=False)


class ImageSequence:
    """A sequence of images of one size as a video."""

    trailing_audio = ()
    reconnects = decode_errors = 0

    def __init__(self, name: str, images: Sequence[Path], fps: Fraction) -> None:
        """Read `images` in order, `fps` of them per second."""
        self.info = VideoInfo(name, live=False, time_base=1 / fps, fps=fps, frame_count=len(images))
        self._images = images

    def frames(self) -> Generator[Frame, None, None]:
        """Yield every image. Raises DataError for one that cannot be read or has another size than the first."""
        first: tuple[int, ...] | None = None
        for index, path in enumerate(self._images):
            image = ImageSource(path).read()
            first = first or image.shape
            if image.shape != first:
                raise DataError(
                    f"{path}: expected the size of the first image, {first[1]}x{first[0]}, "
                    f"got {image.shape[1]}x{image.shape[0]}; resize the images to one size"
                )
            yield Frame(index, image, index, float(index / self.info.fps), time.monotonic())

    def close(self) -> None:
        """Do nothing; no file is open between frames."""


class VideoReader:
    """Reads what PyAV opens: a file, a camera or a network stream."""

    def __init__(
        self, name: str, address: str, *, container_format: str | None = None, live: bool | None = None
    ) -> None:
        """Open a source.

        Args:
            name: Stem of the files written for it.
            address: Path, device or URL.
            container_format: FFmpeg's name of the input format. Default: detect it.
            live: Whether the source has no end. Default: whether its duration is unknown.

        Raises:
            DataError: It cannot be opened, or has no video stream.
        """
        self.reconnects = 0
        """number of times that a live source was opened again"""
        self.decode_errors = 0
        """number of packets that could not be decoded"""
        self.trailing_audio: list[AudioPacket] = []
        """audio packets after the last frame"""
        self._address, self._format = address, container_format
        self._read_lock, self._closed = Lock(), Event()
        self._container, self._video_stream = self._open()
        self.info = self._make_info(name, live)

    def frames(self) -> Generator[Frame, None, None]:
        """Yield every frame; a live source ends only when it is closed."""
        with closing(self._live_frames() if self.info.live else self._file_frames()) as frames:
            while (frame := self._next(frames)) is not None:
                yield frame

    def close(self) -> None:
        """Release the source; if a thread is reading a frame, that thread releases it afterwards."""
        self._closed.set()
        if self._read_lock.acquire(blocking=False):
            self._container.close()
            self._read_lock.release()

    def _next(self, frames: Iterator[Frame]) -> Frame | None:
        try:
            with self._read_lock:
                return None if self._closed.is_set() else next(frames, None)
        finally:
            if self._closed.is_set():
                self.close()

    def _make_info(self, name: str, live: bool | None) -> VideoInfo:
        stream, duration = self._video_stream, self._container.duration or 0
        live = duration <= 0 if live is None else live
        fps = stream.average_rate or stream.guessed_rate or _DEFAULT_FPS
        frame_count = stream.frames or round(duration / av.time_base * fps)
        return VideoInfo(
            name=name,
            live=live,
            time_base=LIVE_TIME_BASE if live or stream.time_base is None else stream.time_base,
            fps=fps,
            sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
            frame_count=None if live or frame_count <= 0 else frame_count,
            audio_streams=() if live else tuple(self._container.streams.audio),
        )

    def _file_frames(self) -> Generator[Frame, None, None]:
        start, index, time_base = None, 0, self.info.time_base
        audio: list[AudioPacket] = []
        for item in self._decode():
            if isinstance(item, Packet):
                audio.append(item)
                continue
            pts = item.pts if item.pts is not None else round(index / self.info.fps / time_base)
            start = pts if start is None else start
            seconds = float((pts - start) * time_base)
            yield Frame(index, _to_upright_rgb(item), pts, seconds, time.monotonic(), tuple(audio))
            audio.clear()
            index += 1
        self.trailing_audio += audio
        if not index:
            raise DataError(f"{self._address}: expected a video, got a file without a frame that can be decoded")

    def _live_frames(self) -> Generator[Frame, None, None]:
        start, index, failures = time.monotonic(), 0, 0
        while not self._closed.is_set():
            reason = "it ended"
            try:
                for item in self._decode():
                    if isinstance(item, VideoFrame):
                        now = time.monotonic()
                        pts = round((now - start) / LIVE_TIME_BASE)
                        yield Frame(index, _to_upright_rgb(item), pts, now - start, now)
                        index, failures = index + 1, 0
            except DataError as error:
                reason = str(error)
            failures = self._reconnect(failures, reason)

    def _reconnect(self, failures: int, reason: str) -> int:
        """Open the source again after a delay; returns the failures since the last frame. Raises DataError."""
        self._container.close()
        while failures < MAX_RECONNECTS:
            if self._closed.wait(_RECONNECT_DELAY * 2**failures):
                return failures
            failures += 1
            try:
                self._container, self._video_stream = self._open()
            except DataError as error:
                reason = str(error)
            else:
                self.reconnects += 1
                return failures
        raise DataError(f"{self._address}: cannot be opened again after {MAX_RECONNECTS} attempts ({reason})")

    def _open(self) -> tuple[InputContainer, VideoStream]:
        try:
            container = av.open(
                self._address, format=self._format, timeout=_TIMEOUTS, options=_open_options(self._address)
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"{self._address}: cannot be opened as a video ({_reason(error)})") from error
        if not container.streams.video:
            container.close()
            raise DataError(f"{self._address}: expected a video, got a file without a video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        return container, stream

    def _decode(self) -> "Iterator[VideoFrame | AudioPacket]":
        """Decoded frames and encoded audio packets, in the file's order."""
        streams = [self._video_stream, *self.info.audio_streams]
        try:
            for packet in make_monotonic(self._container.demux(streams), self._video_stream, self.info.fps):
                if packet.stream is not self._video_stream:
                    if packet.dts is not None:
                        yield cast(AudioPacket, packet)
                    continue
                try:
                    yield from (frame for frame in packet.decode() if isinstance(frame, VideoFrame))
                except av.error.InvalidDataError:
                    self.decode_errors += 1
        except (av.error.FFmpegError, OSError) as error:
            raise DataError(f"{self._address}: cannot be read further ({_reason(error)})") from error


def _to_upright_rgb(frame: VideoFrame) -> RGBArray:
    """(H, W, 3) uint8 RGB, rotated by the file's display matrix, which phones write."""
    image = cast(RGBArray, frame.to_ndarray(format="rgb24"))
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def _open_options(address: str) -> dict[str, str]:
    return {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}


def _name_from_address(address: str) -> str:
    """A file stem: the last part of the address's path, without the query and the credentials."""
    parts = address.split("://", 1)[1].split("?")[0].split("@")[-1].strip("/").split("/")
    return Path(parts[-1].replace(":", "-")).stem or "stream"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
