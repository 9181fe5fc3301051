"""VideoWriter: a video file written frame by frame, with the times and the audio of its source."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from blitznet.core.arrays import RGBArray, Size
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.video.color import default_tags, from_rgb
from blitznet.video.frame import AudioPacket
from blitznet.video.reader import VideoInfo

_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "mpeg4")
"""encoders by preference; PyAV may be built without the first ones"""
_KEYFRAME_SECONDS = 2
"""seconds between key frames; a fragment of MP4 lasts as long"""
_MAX_AUDIO_LEAD = Fraction(1, 10)
"""seconds by which audio may precede the first frame, as encoders make it; more shifts the first frame instead"""
_MAX_SIDE = 16_384
"""limit of H.264's encoders, pixels"""
_MAX_ROUNDING = 4
"""pixels by which a frame of another size may miss the first frame's shape and fill it"""
_MP4_AUDIO = {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}
"""audio codecs that MP4 can contain; others need Matroska"""


def container_suffix(info: VideoInfo) -> str:
    """`.mp4`, or `.mkv` for audio that MP4 cannot contain; audio that FFmpeg cannot decode is left out of both."""
    codecs = (stream.codec.canonical_name for stream in info.audio_streams if _is_decodable(stream))
    return ".mp4" if all(codec in _MP4_AUDIO for codec in codecs) else ".mkv"


class VideoWriter:
    """Writes a video of the same duration and colors as its source, from time 0.

    A context manager that leaves a playable file on errors, also on a full disk or if the process is killed.
    """

    def __init__(self, path: Path, info: VideoInfo) -> None:
        """Create the file.

        Args:
            path: File to write; its suffix decides the container.
            info: Properties of the source. The size is that of the first frame.

        Raises:
            DataError: The file cannot be written.
        """
        self.path = path
        self.frame_count = 0
        """number of written frames"""
        self._info = info
        try:
            path.write_bytes(b"")  # PyAV opens the file later, and its error is less specific
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error
        # "file:", otherwise FFmpeg takes what precedes a colon for a protocol
        self._container = av.open(f"file:{path}", "w", options=_container_options(path, info))
        self._video_stream: VideoStream | None = None
        self._audio_outputs: dict[int, AudioStream] = {}
        """output stream of each input stream, by the input's index"""
        self._origin: Fraction | None = None
        """source time in seconds that becomes 0"""
        self._tags = info.color.sdr if info.color else None
        self._last_pts = -1
        self._next_audio_dts: dict[int, int] = {}
        """lowest decoding time of each stream's next packet, by the input's index"""
        self._starts_at_zero = path.suffix == ".mp4" and any(_is_adts(stream) for stream in info.audio_streams)
        """whether the header cannot contain a start before 0"""
        supported = self._container.supported_codecs if info.audio_streams else ()
        self._audio_inputs = [
            stream for stream in info.audio_streams if _is_decodable(stream) and stream.codec.name in supported
        ]
        self.dropped_audio = tuple(
            _codec_name(stream) for stream in info.audio_streams if stream not in self._audio_inputs
        )
        """codecs of the audio streams that are left out because the container cannot contain them"""

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, image: RGBArray, pts: int, audio: Sequence[AudioPacket] = ()) -> None:
        """Write a frame.

        Args:
            image: (H, W, 3) uint8 RGB; fitted into the size of the first frame, with black bars.
            pts: Presentation time in the source's time base.
            audio: Audio packets before the frame.

        Raises:
            DataError: The file cannot be written, for example on a full disk, or the frame is too large.
        """
        image = _pad_to_even(image)
        with self._translate_errors():
            stream = self._video_stream or self._start(image)
            image = _fit(image, (stream.height, stream.width))
            time_base = self._info.time_base
            if self._origin is None:
                self._origin = _first_time(pts * time_base, audio)
            self._write_audio(audio)
            frame = from_rgb(image, self._tags or default_tags(*image.shape[:2]))
            # two live frames may have the same time
            self._last_pts = frame.pts = max(pts - round(self._origin / time_base), self._last_pts + 1)
            frame.time_base = time_base
            self._container.mux(stream.encode(frame))
        self.frame_count += 1

    def write_audio(self, packets: Sequence[AudioPacket]) -> None:
        """Write audio packets unchanged. Raises DataError as `write`."""
        with self._translate_errors():
            self._write_audio(packets)

    def close(self) -> None:
        """Flush the encoder and close the file; a file without frames is deleted. Raises DataError as `write`."""
        if not self.frame_count:  # not closed: FFmpeg crashes while it completes an MP4 file without packets
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            return
        with self._translate_errors():
            try:
                if self._video_stream is not None:
                    self._container.mux(self._video_stream.encode(None))
            finally:
                self._container.close()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            raise DataError(f"{self.path}: cannot be written further ({error.strerror or error})") from error

    def _write_audio(self, packets: Sequence[AudioPacket]) -> None:
        for packet in packets:
            stream = self._audio_outputs.get(packet.stream.index)
            if stream is None or packet.dts is None:
                continue
            _shift_back(packet, self._origin or Fraction(0))
            # in concatenated videos, audio of a segment may end after its video and overlap the next segment's
            lowest_dts = 0 if self._starts_at_zero else packet.dts
            delay = max(0, self._next_audio_dts.get(packet.stream.index, lowest_dts) - packet.dts)
            packet.dts += delay
            packet.pts = None if packet.pts is None else packet.pts + delay
            tick = stream.time_base or packet.time_base
            self._next_audio_dts[packet.stream.index] = packet.dts + ceil(tick / packet.time_base)
            packet.stream = stream
            self._container.mux(packet)

    def _start(self, image: RGBArray) -> VideoStream:
        """Add the streams and write the header."""
        height, width = image.shape[:2]
        if max(height, width) > _MAX_SIDE:
            raise DataError(
                f"{self.path}: expected frames of at most {_MAX_SIDE:,} pixels a side, got {width}x{height}; make them "
                "smaller, or write no video (--no-overlay)"
            )
        encoder = next(name for name in _ENCODERS if name in av.codecs_available)
        # bf: a file without reordered frames needs no edit list, which a header written at the start cannot have
        options = {"preset": "veryfast", "crf": "23", "bf": "0"} if encoder == "libx264" else {}
        options["g"] = str(max(1, round(_KEYFRAME_SECONDS * self._info.fps)))
        stream = cast(VideoStream, self._container.add_stream(encoder, rate=self._info.fps, options=options))
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = self._info.time_base
        stream.sample_aspect_ratio = self._info.sample_aspect_ratio
        tags, codec = self._tags or default_tags(*image.shape[:2]), stream.codec_context
        codec.colorspace, codec.color_range = tags.matrix, tags.range
        codec.color_primaries, codec.color_trc = tags.primaries, tags.transfer
        for audio in self._audio_inputs:
            self._audio_outputs[audio.index] = self._container.add_stream_from_template(audio)
        self._video_stream = stream
        self._container.start_encoding()  # sets the time base of each output stream
        return stream


def _is_decodable(stream: AudioStream) -> bool:
    return cast(object, stream.codec_context) is not None  # PyAV's types omit None


def _is_adts(stream: AudioStream) -> bool:
    """Whether packets repeat the codec's configuration, as AAC in MPEG-TS."""
    return _is_decodable(stream) and stream.codec.name == "aac" and not stream.codec_context.extradata


def _container_options(path: Path, info: VideoInfo) -> dict[str, str]:
    """FFmpeg's options for a file that is playable if writing is cut off, and an ordinary file when it is complete.

    delay_moov writes the header after the first fragment, with the audio's exact start; FFmpeg refuses it for ADTS.
    """
    if path.suffix != ".mp4":
        return {"flush_packets": "1", "cluster_time_limit": str(1000 * _KEYFRAME_SECONDS)}
    delay = "" if any(_is_adts(stream) for stream in info.audio_streams) else "+delay_moov"
    return {"movflags": f"hybrid_fragmented{delay}", "flush_packets": "1"}


def _codec_name(stream: AudioStream) -> str:
    return stream.codec.canonical_name if _is_decodable(stream) else "a codec unknown to FFmpeg"


def _first_time(video: Fraction, audio: Sequence[AudioPacket]) -> Fraction:
    """The time in seconds at which the video starts, or its audio if that is clearly earlier."""
    times = [packet.pts * packet.time_base for packet in audio if packet.pts is not None]
    return min([video, *(time for time in times if video - time > _MAX_AUDIO_LEAD)])


def _shift_back(packet: AudioPacket, seconds: Fraction) -> None:
    ticks = round(seconds / packet.time_base)
    packet.dts = None if packet.dts is None else packet.dts - ticks
    packet.pts = None if packet.pts is None else packet.pts - ticks


def _fit(image: RGBArray, size: Size) -> RGBArray:
    """An image in a frame of `size` (H, W): scaled and in the middle, the rest black."""
    if image.shape[:2] == size:
        return image
    scale = min(new / old for new, old in zip(size, image.shape[:2], strict=True))
    # a difference of a few pixels is one of rounding and leaves no bars
    lengths = [round(old * scale) for old in image.shape[:2]]
    height, width = (
        new if new - length <= _MAX_ROUNDING else max(1, length) for new, length in zip(size, lengths, strict=True)
    )
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    fitted = np.zeros((*size, 3), np.uint8)
    fitted[top : top + height, left : left + width] = ImageSource(image).resize((height, width))
    return fitted


def _pad_to_even(image: RGBArray) -> RGBArray:
    """The image with its last row and column repeated to even sizes, as 4:2:0 chroma subsampling requires."""
    padding = [(0, length % 2) for length in image.shape[:2]]
    return np.pad(image, (*padding, (0, 0)), mode="edge") if any(after for _, after in padding) else image
