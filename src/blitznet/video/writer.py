"""A video file, written frame by frame: the times of the source, and its sound as it is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import DataError
from blitznet.video.frame import Sound
from blitznet.video.reader import VideoInfo

_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "mpeg4")
"""the first that this PyAV has"""
_IN_MP4 = {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}
"""sound that an MP4 file may hold as it is; anything else is put into Matroska"""


def suffix(about: VideoInfo) -> str:
    """.mp4, or .mkv where the source's sound wants it; what FFmpeg cannot decode goes into neither."""
    named = (stream.codec.canonical_name for stream in about.heard if _decodable(stream))
    return ".mp4" if all(name in _IN_MP4 for name in named) else ".mkv"


class VideoWriter:
    """Writes a file that plays as long as its source did; a context, which leaves a whole file, however it ends."""

    def __init__(self, path: Path, about: VideoInfo) -> None:
        """Write what `about` tells of becomes to `path`; its size is that of the first frame written."""
        self.path, self.written = path, 0
        self._about = about
        try:
            path.write_bytes(b"")  # the library opens it later, and says less of what is wrong
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error
        self._container = av.open(str(path), "w")
        self._pictures: VideoStream | None = None
        self._sound: dict[int, AudioStream] = {}
        self._last = -1
        self._next: dict[int, int] = {}
        holds = self._container.supported_codecs if about.heard else ()
        self._heard = [stream for stream in about.heard if _decodable(stream) and stream.codec.name in holds]
        self.unheard = tuple(_name(stream) for stream in about.heard if stream not in self._heard)
        """what the sound is that this file cannot hold, and that is left out"""

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def write(self, pixels: RGBArray, pts: int, sound: Sequence[Sound] = ()) -> None:
        """Add a picture (H, W, 3) that is shown at `pts` of the source's time base, and the sound before it.

        One of another size is brought to the first one's. DataError where it cannot be written: a full disk.
        """
        pixels = _even(pixels)
        with self._told():
            stream = self._pictures or self._begin(pixels)
            self._add(sound)
            frame = VideoFrame.from_ndarray(pixels, format="rgb24")
            self._last = frame.pts = max(pts, self._last + 1)  # two frames of a live source may have one time
            frame.time_base = self._about.time_base
            self._container.mux(stream.encode(frame))
        self.written += 1

    def add_sound(self, packets: Sequence[Sound]) -> None:
        """Add sound as it came."""
        with self._told():
            self._add(packets)

    def close(self) -> None:
        """Write what is still in the encoder, and the end of the file; of nothing written no file is left."""
        with self._told():
            if self._pictures is not None:
                self._container.mux(self._pictures.encode(None))
            self._container.close()
        if not self.written:
            self.path.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            raise DataError(f"{self.path}: cannot be written further ({error.strerror or error})") from error

    def _add(self, packets: Sequence[Sound]) -> None:
        for packet in packets:
            stream = self._sound.get(packet.stream.index)
            if stream is None or packet.dts is None:
                continue
            late = max(0, self._next.get(packet.stream.index, packet.dts) - packet.dts)
            packet.dts += late  # where films were put together, the first one's sound may end after its picture
            packet.pts = None if packet.pts is None else packet.pts + late
            tick = stream.time_base or packet.time_base
            self._next[packet.stream.index] = packet.dts + ceil(tick / packet.time_base)
            packet.stream = stream
            self._container.mux(packet)

    def _begin(self, pixels: RGBArray) -> VideoStream:
        name = next(name for name in _ENCODERS if name in av.codecs_available)
        options = {"preset": "veryfast", "crf": "23"} if name == "libx264" else {}
        stream = cast(VideoStream, self._container.add_stream(name, rate=self._about.rate, options=options))
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = self._about.time_base
        stream.sample_aspect_ratio = self._about.aspect
        for heard in self._heard:
            self._sound[heard.index] = self._container.add_stream_from_template(heard)
        self._pictures = stream
        self._container.start_encoding()  # from here on each stream's time base is the one that is written
        return stream


def _decodable(stream: AudioStream) -> bool:
    return cast(object, stream.codec_context) is not None  # PyAV's types leave this out


def _name(stream: AudioStream) -> str:
    return stream.codec.canonical_name if _decodable(stream) else "a codec that FFmpeg cannot decode"


def _even(pixels: RGBArray) -> RGBArray:
    """Rows and columns in pairs, as the encoder stores colours; a last odd one is shown twice."""
    odd = [(0, side % 2) for side in pixels.shape[:2]]
    return np.pad(pixels, (*odd, (0, 0)), mode="edge") if any(after for _, after in odd) else pixels
