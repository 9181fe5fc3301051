"""Video sources: files, image sequences, cameras and network streams, all read as frames with their times.

A file yields every frame. A live source, which is a camera or a stream without an end, is opened again when it breaks
off; a slow reader of a live source uses `LatestFrameReader`.
"""

import stat
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from errno import EIO
from fractions import Fraction
from glob import has_magic
from pathlib import Path
from threading import Event, Lock
from typing import Protocol, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from blitznet.core.address import is_address, printable_address
from blitznet.core.arrays import RGBArray
from blitznet.core.errors import DataError, UsageError
from blitznet.core.image import LFS_POINTER, ImageSource
from blitznet.video.address import name_of_address
from blitznet.video.color import ColorTags, default_tags, read_tags, to_rgb
from blitznet.video.deinterlace import Deinterlacer
from blitznet.video.frame import AudioPacket, Frame
from blitznet.video.mp4 import is_mp4_without_index
from blitznet.video.orientation import make_upright, read_orientation
from blitznet.video.timestamps import FrameClock, make_monotonic

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
_FILE_FORMATS = {"mpegts", "mpeg", "h264", "hevc", "flv", "matroska,webm", "gif", "apng"}
"""FFmpeg's names of formats whose files may state no duration"""
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
    def first_error(self) -> DataError | None:
        """The error of the first image of a sequence that could not be read; None for other sources."""
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
        source: A video file, the number or device of a camera, an address with ://, or the name of an image sequence
            (see `images`).
        fps: Frames per second of an image sequence. Default: 25.
        images: The files of an image sequence; if there are any, `source` is only its name.

    Raises:
        UsageError: There is no such source.
        DataError: The source is not a video, or cannot be opened.
    """
    if images:
        return ImageSequence(_sequence_name(source), images, fps or _DEFAULT_FPS)
    device = f"/dev/video{source}" if source.isdecimal() and source.isascii() else source
    if device != source or _has_mode(source, stat.S_ISCHR):
        name = Path(device).name.replace("video", "camera-")
        return VideoReader(name, device, container_format="v4l2", live=True)
    if is_address(source):
        return VideoReader(name_of_address(source), source)
    if _has_mode(source, stat.S_ISFIFO):
        raise UsageError(f"{source}: expected a video file, got a pipe; save the video to a file first")
    if not _is_file(source):
        raise UsageError(
            f"{source}: expected a video file, a camera's number, an address with :// or a folder of images, "
            "got a path that is none of them"
        )
    # "file:", otherwise FFmpeg takes what precedes a colon for a protocol
    return VideoReader(Path(source).stem, f"file:{source}", live=False)


def _has_mode(path: str, test: Callable[[int], bool]) -> bool:
    """Whether a path is of a kind, such as a device."""
    with suppress(OSError, ValueError):
        return test(Path(path).stat().st_mode)
    return False


def _sequence_name(source: str) -> str:
    """The name of a folder, or of the folder of a glob."""
    path = Path(source)
    parts = path.parts if path.is_dir() else [part for part in path.parts if not has_magic(part)]
    return parts[-1] if parts and parts[-1] not in ("..", path.anchor) else "images"


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
        self.first_error: DataError | None = None
        """error of the first of these"""
        self._images = images

    def frames(self) -> Generator[Frame, None, None]:
        """Yield every image that can be read; the others are counted. Raises DataError if there is none."""
        for index, path in enumerate(self._images):
            try:
                image = ImageSource(path).read()
            except DataError as error:
                self.decode_errors += 1
                self.first_error = self.first_error or error
                continue
            yield Frame(index, image, index, float(index / self.info.fps), time.monotonic())
        if self.first_error is not None and self.decode_errors == len(self._images):
            raise self.first_error

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
            live: Whether the source has no end. Default: whether its duration and its size are unknown.

        Raises:
            DataError: It cannot be opened, or has no video stream.
        """
        self.reconnects = 0
        """number of times that a live source was opened again"""
        self.decode_errors = 0
        """number of packets that could not be decoded"""
        self.first_error = None
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
        live = duration <= 0 and not _has_end(self._container) if live is None else live
        fps = stream.average_rate or stream.guessed_rate or _DEFAULT_FPS
        frame_count = stream.frames or round(_length(self._container) * fps)
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
                    ratio = 1 / ratio if read_orientation(item).transposed else ratio
                    self.info = replace(self.info, sample_aspect_ratio=ratio, color=read_tags(item))
                    break
        except DataError as error:  # raised again by `frames`
            failure = error
        self._items = _chain(items, self._items, failure)

    def _file_frames(self) -> Generator[Frame, None, None]:
        start, index, time_base = None, 0, self.info.time_base
        is_avi = self._container.format.name == "avi"
        clock = FrameClock(round(1 / self.info.fps / time_base), is_avi=is_avi)
        end = last_audio = 0.0
        audio: list[AudioPacket] = []
        for item in self._items:
            if isinstance(item, Packet):
                audio.append(item)
                continue
            pts = clock.next(item)
            start = pts if start is None else start
            seconds = float((pts - start) * time_base)
            end = max(end, seconds + max(float((item.duration or 0) * time_base), float(1 / self.info.fps)))
            last_audio = max([last_audio, *(_packet_end(packet, start * time_base) for packet in audio)])
            yield Frame(index, _to_upright_rgb(item), pts, seconds, time.monotonic(), tuple(audio))
            audio.clear()
            index += 1
        self.trailing_audio += audio
        if start is None:
            problem = _problem_of_file(self._address)
            reason = "a file without a frame that can be decoded" + (f"; {problem}" if problem else "")
            raise DataError(f"{self._title}: expected a video, got {reason}")
        last_audio = max([last_audio, *(_packet_end(packet, start * time_base) for packet in audio)])
        self.truncated_at = end if self._is_truncated(end, last_audio) else None

    def _is_truncated(self, video_end: float, audio_end: float) -> bool:
        """Whether the file states a clearly longer duration than its video (and its audio) has, in seconds."""
        stream = self._video_stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base) - video_end > _TOLERANCES[0]
        return _length(self._container) - max(video_end, audio_end) > _TOLERANCES[1]

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
                self._address,
                format=self._format,
                timeout=_TIMEOUTS,
                options=_open_options(self._address),
                metadata_errors="replace",  # titles of old files are not UTF-8
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = _problem_of_file(self._address, error) or _reason(error)
            # from None: FFmpeg's own message contains the address with its password
            raise DataError(f"{self._title}: cannot be opened as a video ({reason})") from None
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        decodable = [stream for stream in streams if cast(object, stream.codec_context) is not None]
        if not decodable:
            container.close()
            problem = _problem_of_file(self._address) or "a file whose codec FFmpeg does not have"
            reason = problem if streams else "a file without a video stream"
            raise DataError(f"{self._title}: expected a video, got {reason}")
        stream = decodable[0]
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
                    frames = packet.decode()
                except (av.error.InvalidDataError, av.error.ArgumentError):  # the second for a truncated raw frame
                    self.decode_errors += 1
                    continue
                for frame in frames:
                    if isinstance(frame, VideoFrame):
                        yield from deinterlacer.filter(frame)
            yield from deinterlacer.flush()
        except (av.error.FFmpegError, OSError) as error:
            raise DataError(f"{self._title}: cannot be read further ({_reason(error)})") from None


def _to_upright_rgb(frame: VideoFrame) -> RGBArray:
    """(H, W, 3) uint8 RGB."""
    return make_upright(to_rgb(frame), read_orientation(frame))


def _has_end(container: InputContainer) -> bool:
    """Whether a server states the size of a file; not of a playlist, nor of a camera's single images."""
    return container.format.name in _FILE_FORMATS and container.size > 0


def _length(container: InputContainer) -> float:
    """Seconds of a file. Matroska states the time of its end, which is later if the file does not start at 0."""
    start = max(0, container.start_time or 0) if container.format.name.startswith("matroska") else 0
    return ((container.duration or 0) - start) / av.time_base


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


def _problem_of_file(address: str, error: Exception | None = None) -> str | None:
    """What is wrong with a local file that is no video; None if that is unknown."""
    path = address.removeprefix("file:")
    if not address.startswith("file:") or not _is_file(path):
        return None
    with suppress(OSError), Path(path).open("rb") as file:
        start = file.read(len(LFS_POINTER))
        if start in (b"", LFS_POINTER):
            return "the file is a pointer of Git LFS; run `git lfs pull`" if start else "the file is empty"
    if is_mp4_without_index(path):
        return "an MP4 file without its index, moov; the file is truncated"
    is_invalid = isinstance(error, av.error.InvalidDataError) or getattr(error, "errno", None) == EIO
    return "the file is broken or truncated, or of another format" if is_invalid else None


def _open_options(address: str) -> dict[str, str]:
    return {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
