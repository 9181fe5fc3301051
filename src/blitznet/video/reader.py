"""Video sources: files, image sequences, cameras and network streams, all read as frames with their times.

A file yields every frame. A live source, which is a camera or a stream without an end, is opened again when it breaks
off; a slow reader of a live source uses `LatestFrameReader`.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Event, Lock
from typing import Protocol, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from blitznet.core.address import is_address, printable_address
from blitznet.core.arrays import RGBArray
from blitznet.core.errors import DataError, UsageError
from blitznet.core.image import ImageSource
from blitznet.video.address import name_of_address
from blitznet.video.color import ColorTags, default_tags, read_tags, to_rgb
from blitznet.video.deinterlace import Deinterlacer
from blitznet.video.frame import AudioPacket, Frame
from blitznet.video.mp4 import is_mp4_without_index
from blitznet.video.timestamps import make_monotonic

LIVE_TIME_BASE = Fraction(1, 90000)
"""time base of live frames, seconds; the local clock times them: the times of a reopened stream would restart"""
MAX_RECONNECTS = 9
"""failed attempts in a row to open a live source again before an error; a camera needs up to a minute"""
_RECONNECT_DELAY = 0.5
"""seconds before the first attempt; doubles with each further one"""
_MAX_RECONNECT_DELAY = 10.0
"""maximum seconds before an attempt"""
_TIMEOUTS = (10.0, 10.0)
"""seconds to open a source, and to read a packet"""
_DEFAULT_FPS = Fraction(25)
_TOLERANCES = (0.5, 1.0)
"""seconds that may be missing at the end of a video stream, and of a file that states only its own duration"""


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
    """width of a pixel of an upright frame divided by its height"""
    color: ColorTags | None = None
    """color tags of the source; None if only RGB is known"""
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
        """Number of packets, or images of a sequence, that could not be decoded."""
        ...

    @property
    def truncated_at(self) -> float | None:
        """Seconds of video that a truncated file had; None before its last frame, and for other sources."""
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
    if is_address(source):
        return VideoReader(name_of_address(source), source)
    if not _is_file(source):
        raise UsageError(
            f"{source}: expected a video file, a camera's number, an address with :// or a folder of images, "
            "got a path that is none of them"
        )
    # "file:", otherwise FFmpeg takes what precedes a colon for a protocol
    return VideoReader(Path(source).stem, f"file:{source}", live=False)


def _is_file(path: str) -> bool:
    """Whether a path is a file. Raises UsageError if the system refuses access."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be opened ({_reason(error)})") from error


class ImageSequence:
    """A sequence of images as a video."""

    trailing_audio = ()
    reconnects = 0
    truncated_at = None

    def __init__(self, name: str, images: Sequence[Path], fps: Fraction) -> None:
        """Read `images` in order, `fps` of them per second."""
        self.info = VideoInfo(name, live=False, time_base=1 / fps, fps=fps, frame_count=len(images))
        self.decode_errors = 0
        """number of images that cannot be read"""
        self._images = images

    def frames(self) -> Generator[Frame, None, None]:
        """Yield every image that can be read; the others are counted. Raises DataError if there is none."""
        failure: DataError | None = None
        for index, path in enumerate(self._images):
            try:
                image = ImageSource(path).read()
            except DataError as error:
                self.decode_errors, failure = self.decode_errors + 1, error
                continue
            yield Frame(index, image, index, float(index / self.info.fps), time.monotonic())
        if failure is not None and self.decode_errors == len(self._images):
            raise failure

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
        self.truncated_at: float | None = None
        """seconds of video that a truncated file had"""
        self._address, self._format = address, container_format
        self._title = printable_address(address.removeprefix("file:"))
        """the source in error messages, which must not contain its password"""
        self._read_lock, self._closed = Lock(), Event()
        self._container, self._video_stream = self._open()
        self.info = self._make_info(name, live)
        self._items = self._decode()
        """decoded frames and audio packets of a file that are not yielded yet"""
        if not self.info.live:
            self._add_first_frame()

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
            color=_stream_tags(stream),
            frame_count=None if live or frame_count <= 0 else frame_count,
            audio_streams=() if live else tuple(self._container.streams.audio),
        )

    def _add_first_frame(self) -> None:
        """Decode the first frame, which knows its rotation and colors better than the file's header."""
        items: list[VideoFrame | AudioPacket] = []
        failure: DataError | None = None
        try:
            for item in self._items:
                items.append(item)
                if isinstance(item, VideoFrame):
                    ratio = self.info.sample_aspect_ratio
                    ratio = 1 / ratio if _quarter_turns(item) % 2 else ratio
                    self.info = replace(self.info, sample_aspect_ratio=ratio, color=read_tags(item))
                    break
        except DataError as error:  # raised again by `frames`
            failure = error
        self._items = _chain(items, self._items, failure)

    def _file_frames(self) -> Generator[Frame, None, None]:
        start, index, time_base = None, 0, self.info.time_base
        end = last_audio = 0.0
        audio: list[AudioPacket] = []
        for item in self._items:
            if isinstance(item, Packet):
                audio.append(item)
                continue
            pts = item.pts if item.pts is not None else round(index / self.info.fps / time_base)
            start = pts if start is None else start
            seconds = float((pts - start) * time_base)
            end = max(end, seconds + max(float((item.duration or 0) * time_base), float(1 / self.info.fps)))
            last_audio = max([last_audio, *(_packet_end(packet, start * time_base) for packet in audio)])
            yield Frame(index, _to_upright_rgb(item), pts, seconds, time.monotonic(), tuple(audio))
            audio.clear()
            index += 1
        self.trailing_audio += audio
        if start is None:
            raise DataError(f"{self._title}: expected a video, got a file without a frame that can be decoded")
        last_audio = max([last_audio, *(_packet_end(packet, start * time_base) for packet in audio)])
        self.truncated_at = end if self._is_truncated(end, last_audio) else None

    def _is_truncated(self, video_end: float, audio_end: float) -> bool:
        """Whether the file states a clearly longer duration than its video (and its audio) has, in seconds."""
        stream = self._video_stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base) - video_end > _TOLERANCES[0]
        return (self._container.duration or 0) / av.time_base - max(video_end, audio_end) > _TOLERANCES[1]

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
            if self._closed.wait(min(_RECONNECT_DELAY * 2**failures, _MAX_RECONNECT_DELAY)):
                return failures
            failures += 1
            try:
                self._container, self._video_stream = self._open()
            except DataError as error:
                reason = str(error)
            else:
                self.reconnects += 1
                return failures
        raise DataError(f"{self._title}: cannot be opened again after {MAX_RECONNECTS} attempts ({reason})")

    def _open(self) -> tuple[InputContainer, VideoStream]:
        try:
            container = av.open(
                self._address, format=self._format, timeout=_TIMEOUTS, options=_open_options(self._address)
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = _reason(error)
            if is_mp4_without_index(self._address.removeprefix("file:")):
                reason = "an MP4 file without its index, moov; the file is truncated"
            # from None: FFmpeg's own message contains the address with its password
            raise DataError(f"{self._title}: cannot be opened as a video ({reason})") from None
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            container.close()
            raise DataError(f"{self._title}: expected a video, got a file without a video stream")
        stream = streams[0]
        stream.thread_type = "AUTO"
        return container, stream

    def _decode(self) -> "Iterator[VideoFrame | AudioPacket]":
        """Decoded frames and encoded audio packets, in the file's order."""
        streams, deinterlacer = [self._video_stream, *self.info.audio_streams], Deinterlacer()
        try:
            for packet in make_monotonic(self._container.demux(streams), self._video_stream, self.info.fps):
                if packet.stream is not self._video_stream:
                    if packet.dts is not None:
                        yield cast(AudioPacket, packet)
                    continue
                try:
                    for frame in packet.decode():
                        if isinstance(frame, VideoFrame):
                            yield from deinterlacer.filter(frame)
                except av.error.InvalidDataError:
                    self.decode_errors += 1
            yield from deinterlacer.flush()
        except (av.error.FFmpegError, OSError) as error:
            raise DataError(f"{self._title}: cannot be read further ({_reason(error)})") from None


def _to_upright_rgb(frame: VideoFrame) -> RGBArray:
    """(H, W, 3) uint8 RGB, rotated by the file's display matrix, which phones write."""
    image, quarter_turns = to_rgb(frame), _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def _quarter_turns(frame: VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def _stream_tags(stream: VideoStream) -> ColorTags:
    """The color tags that the stream's header states."""
    codec = stream.codec_context
    default = default_tags(codec.height or 0, codec.width or 0)
    return ColorTags(default.matrix, default.range, int(codec.color_primaries), int(codec.color_trc))


def _is_cover(stream: VideoStream) -> bool:
    """Whether a video stream is the cover image of an audio file."""
    return bool(stream.disposition & Disposition.attached_pic)


def _chain(
    items: "list[VideoFrame | AudioPacket]", rest: "Iterator[VideoFrame | AudioPacket]", failure: DataError | None
) -> "Iterator[VideoFrame | AudioPacket]":
    """The items, then the failure or the rest."""
    yield from items
    if failure is not None:
        raise failure
    yield from rest


def _packet_end(packet: AudioPacket, start: Fraction) -> float:
    """End of an audio packet in seconds after `start`."""
    if packet.pts is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base - start)


def _open_options(address: str) -> dict[str, str]:
    return {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
