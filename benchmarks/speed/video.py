"""`blitznet video` on a file: frames per second end to end, frames in and out, and growth of memory.

The video pans over images. The command runs in its own process, whose memory is read from outside.

`python -m benchmarks.speed.video --json video.json`
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import tyro
from av.video.stream import VideoStream

from benchmarks._lib.results import (
    DATA,
    Table,
    at_least,
    at_most,
    notify,
    print_results,
    require_images,
    write_json,
)
from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource

MIN_RATE = 60.0
"""goal: frames per second"""
MAX_GROWTH = 5.0
"""goal: growth of memory after _WARMUP frames, megabytes"""
SIZE = (360, 640)
"""(H, W) of the video"""
_FRAMES_PER_IMAGE = 60
_WARMUP = 500
"""frames before memory is compared"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    frames: int = 10_000
    """Length of the video. Default: 10000."""
    images: int = 40
    """Number of images that the video shows. Default: 40."""
    track: bool = False
    """Run the command with --track."""
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Speed and memory of the command."""

    seconds: float
    """from the first to the last observation"""
    frames: int
    """frames written between them"""
    warm_mb: float
    """memory after _WARMUP frames"""
    peak_mb: float
    """most memory after that"""


def write_video(path: Path, images: list[Path], frames: int) -> None:
    """Write a video of 30 frames per second that pans over images."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        number = 0
        for image in cycle(images):
            canvas = ImageSource(image).resize((SIZE[0] + _FRAMES_PER_IMAGE, SIZE[1] + 2 * _FRAMES_PER_IMAGE))
            for step in range(_FRAMES_PER_IMAGE):
                if number == frames:
                    container.mux(stream.encode(None))
                    return
                container.mux(stream.encode(_frame(canvas, step, number)))
                number += 1


def _frame(canvas: RGBArray, step: int, number: int) -> av.VideoFrame:
    part = np.ascontiguousarray(canvas[step : step + SIZE[0], 2 * step : 2 * step + SIZE[1]])
    frame = av.VideoFrame.from_ndarray(part, format="rgb24")
    frame.pts, frame.time_base = number, Fraction(1, 30)
    return frame


def measure(path: Path, out: Path, options: Options) -> Measurement:
    """Run the command and observe its output and its memory."""
    words = [sys.executable, "-m", "blitznet", "video", str(path), "--out", str(out), *(["--track"] * options.track)]
    lines = out / f"{path.stem}.jsonl"
    observations: list[tuple[float, int, float]] = []
    with subprocess.Popen(words) as process:
        while process.poll() is None:
            time.sleep(0.25)
            if lines.exists() and (count := _lines(lines)):
                memory = _megabytes(process.pid) or observations[-1][2]
                observations.append((time.monotonic(), count, memory))
    assert process.returncode == 0
    first, last = observations[0], observations[-1]
    after = [memory for _, count, memory in observations if count >= _WARMUP] or [last[2]]
    return Measurement(last[0] - first[0], last[1] - first[1], after[0], max(after))


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))


def _megabytes(process: int) -> float:
    """Resident memory; 0 if the process has just ended."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    values = [line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")]
    return int(values[0]) / 1024 if values else 0.0


def timestamps(path: Path) -> list[float]:
    """Time of each frame of a file, seconds."""
    with av.open(str(path)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def main(options: Options) -> None:
    """Write the video, run the command, print and write."""
    require_images(options.root)
    images = sorted((options.root / "VOCdevkit" / "VOC2012" / "JPEGImages").glob("*.jpg"))
    with TemporaryDirectory() as folder:
        path, out = Path(folder) / "video.mp4", Path(folder) / "out"
        notify("writing the video")
        write_video(path, list(islice(images, options.images)), options.frames)
        notify("blitznet video")
        measurement = measure(path, out, options)
        expected, actual = timestamps(path), timestamps(out / "video.mp4")
    rate, growth = measurement.frames / measurement.seconds, measurement.peak_mb - measurement.warm_mb
    equal = len(expected) == len(actual) and max(abs(a - b) for a, b in zip(expected, actual, strict=True)) < 1e-3
    row = (
        f"{options.frames} frames, 640x360",
        f"{rate:.1f}",
        str(len(actual)),
        f"{measurement.warm_mb:.0f}",
        f"{growth:.1f}",
    )
    table = Table("blitznet video", ("video", "frames/s", "frames out", f"MB at {_WARMUP}", "MB more"), [row])
    goals = [
        at_least("frames per second, annotated and encoded", rate, MIN_RATE),
        at_least("every frame is written once, with its timestamp", float(equal), 1),
        at_most(f"growth of memory after frame {_WARMUP}", growth, MAX_GROWTH, " MB"),
    ]
    print_results([table], goals)
    write_json(options.json, options, measurement=measurement, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
