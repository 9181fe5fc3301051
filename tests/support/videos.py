"""Videos for tests; the brightness of a frame is a function of its index."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from blitznet.core.arrays import RGBArray
from blitznet.video.color import BT601, ColorTags

STEP = 8
"""difference in brightness of consecutive frames"""


def write_video(
    path: Path, *, frames: int = 12, size: tuple[int, int] = (48, 64), audio: str | None = None, gap: int | None = None
) -> Path:
    """Write a video of `size` (H, W) with 10 frames per second; frames from index `gap` on are a second later."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        audio_stream = container.add_stream(audio, rate=44100) if audio else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), brightness(index), np.uint8), format="rgb24")
            frame.pts = index + (10 if gap is not None and index >= gap else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if isinstance(audio_stream, AudioStream):
            for start in range(0, 4410 * frames, 1024):
                wave = np.sin(np.arange(start, start + 1024, dtype=np.float32) / 20)[None]
                chunk = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                chunk.sample_rate, chunk.pts = 44100, start
                container.mux(audio_stream.encode(chunk))
            container.mux(audio_stream.encode(None))
    return path


def write_frames(
    path: Path,
    images: Sequence[RGBArray],
    *,
    tags: ColorTags | None = None,
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    sample_aspect_ratio: Fraction = Fraction(1),
) -> Path:
    """Write images (H, W, 3) as a video with 10 frames per second and, if there are tags, these color tags."""
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "4"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.sample_aspect_ratio = sample_aspect_ratio
        if rotation:
            stream.set_display_rotation(rotation)
        if tags is not None:
            codec = stream.codec_context
            codec.colorspace, codec.color_range = tags.matrix, tags.range
            codec.color_primaries, codec.color_trc = tags.primaries, tags.transfer
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if tags is not None:
                frame = frame.reformat(
                    format=pixel_format,
                    dst_colorspace=Colorspace(5 if tags.matrix == BT601 else tags.matrix),
                    src_color_range=ColorRange.JPEG,
                    dst_color_range=ColorRange(tags.range),
                )
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Set the display matrix of an MP4 file's only track: x' = a x + c y, y' = b x + d y."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 20] = struct.pack(">5i", *(value << 16 for value in (a, b, 0, c, d)))
    path.write_bytes(content)
    return path


def write_video_with_unknown_audio(path: Path) -> Path:
    """Write a video (.avi) whose audio has an unknown codec."""
    content = write_video(path, audio="pcm_mulaw").read_bytes()
    codec_tag = content.index(b"strf", content.index(b"auds")) + 8
    path.write_bytes(content[:codec_tag] + b"BB" + content[codec_tag + 2 :])
    return path


def brightness(index: int) -> int:
    """The value of all pixels of a frame."""
    return 20 + STEP * (index % 24)


def read_video(path: Path) -> tuple[list[float], list[float]]:
    """The time in seconds and the brightness of each frame."""
    seconds, levels = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            seconds.append(frame.time)
            levels.append(float(frame.to_ndarray(format="rgb24").mean()))
    return seconds, levels


def audio_packets(path: Path) -> list[bytes]:
    """The content of every audio packet."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def concatenate(path: Path, *videos: Path) -> Path:
    """Concatenate files, as `cat` does."""
    path.write_bytes(b"".join(video.read_bytes() for video in videos))
    return path
