"""Videos that tests make: each frame says its number, by how bright it is."""

from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

STEP = 8
"""how much brighter each frame is than the one before"""


def write_film(
    path: Path, *, frames: int = 12, size: tuple[int, int] = (48, 64), sound: str | None = None, gap: int | None = None
) -> Path:
    """A film of `size` (H, W), 10 frames a second; of frame `gap` on everything is shown a second later."""
    with av.open(str(path), "w") as film:
        pictures = film.add_stream("mpeg4", rate=10)
        assert isinstance(pictures, VideoStream)
        pictures.height, pictures.width = size
        pictures.pix_fmt = "yuv420p"
        pictures.bit_rate = 2_000_000
        heard = film.add_stream(sound, rate=44100) if sound else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), brightness(number), np.uint8), format="rgb24")
            frame.pts = number + (10 if gap is not None and number >= gap else 0)
            film.mux(pictures.encode(frame))
        film.mux(pictures.encode(None))
        if isinstance(heard, AudioStream):
            for start in range(0, 4410 * frames, 1024):
                wave = np.sin(np.arange(start, start + 1024, dtype=np.float32) / 20)[None]
                part = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                part.sample_rate, part.pts = 44100, start
                film.mux(heard.encode(part))
            film.mux(heard.encode(None))
    return path


def write_unknown_sound(path: Path) -> Path:
    """A film (.avi) whose sound is of a codec that nobody knows."""
    content = write_film(path, sound="pcm_mulaw").read_bytes()
    form = content.index(b"strf", content.index(b"auds")) + 8
    path.write_bytes(content[:form] + b"BB" + content[form + 2 :])
    return path


def brightness(number: int) -> int:
    """Of a frame's pixels."""
    return 20 + STEP * (number % 24)


def watched(path: Path) -> tuple[list[float], list[float]]:
    """Seconds and brightness of each frame of a film."""
    seconds, levels = [], []
    with av.open(str(path)) as film:
        for frame in film.decode(video=0):
            assert frame.time is not None
            seconds.append(frame.time)
            levels.append(float(frame.to_ndarray(format="rgb24").mean()))
    return seconds, levels


def packets_of_sound(path: Path) -> list[bytes]:
    """Everything that is heard, as it is stored."""
    with av.open(str(path)) as film:
        return [bytes(packet) for packet in film.demux(audio=0) if packet.size]


def join(path: Path, *films: Path) -> Path:
    """Films end to end, as `cat` does it."""
    path.write_bytes(b"".join(film.read_bytes() for film in films))
    return path
