"""`blitznet video` on a file: frames a second end to end, frames in and out, and whether memory grows.

The film is made of images that move by, with sound. The command runs in a process of its own, and its memory is read
from outside.

`python benchmarks/films.py --json films.json`
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

from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from report import DATA, require_images, say, write
from tables import Table, at_least, at_most, print_all

RATE, GROWTH = 60.0, 5.0
"""frames a second that are wanted; megabytes that memory may grow by"""
SIZE = (360, 640)
_SHOWN = 60
"""frames of each image"""
_SETTLED = 500
"""frames after which memory may grow no more"""


@dataclass(frozen=True)
class Options:
    """How long the film is."""

    root: Path = DATA
    frames: int = 10_000
    images: int = 40
    track: bool = False
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """What the command did."""

    seconds: float
    """from the first frame out to the last"""
    frames: int
    """that came out from the first to the last look"""
    settled_mb: float
    most_mb: float
    """after that"""


def film(path: Path, images: list[Path], frames: int) -> None:
    """Images that move by, 30 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        number = 0
        for image in cycle(images):
            wide = ImageSource(image).resize((SIZE[0] + _SHOWN, SIZE[1] + 2 * _SHOWN))
            for step in range(_SHOWN):
                if number == frames:
                    container.mux(stream.encode(None))
                    return
                container.mux(stream.encode(_frame(wide, step, number)))
                number += 1


def _frame(wide: RGBArray, step: int, number: int) -> av.VideoFrame:
    part = np.ascontiguousarray(wide[step : step + SIZE[0], 2 * step : 2 * step + SIZE[1]])
    frame = av.VideoFrame.from_ndarray(part, format="rgb24")
    frame.pts, frame.time_base = number, Fraction(1, 30)
    return frame


def watched(path: Path, out: Path, options: Options) -> Watched:
    """Run the command, and look at its lines and its memory meanwhile."""
    words = [sys.executable, "-m", "blitznet", "video", str(path), "--out", str(out), *(["--track"] * options.track)]
    lines = out / f"{path.stem}.jsonl"
    looks: list[tuple[float, int, float]] = []
    with subprocess.Popen(words) as process:
        while process.poll() is None:
            time.sleep(0.25)
            if lines.exists() and (count := _lines(lines)):
                looks.append((time.monotonic(), count, _megabytes(process.pid) or looks[-1][2]))
    assert process.returncode == 0
    first, last = looks[0], looks[-1]
    after = [memory for _, count, memory in looks if count >= _SETTLED] or [last[2]]
    return Watched(last[0] - first[0], last[1] - first[1], after[0], max(after))


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))


def _megabytes(process: int) -> float:
    """Resident now; 0 where the process has just ended."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")]
    return int(found[0]) / 1024 if found else 0.0


def times(path: Path) -> list[float]:
    """Seconds of each frame of a file."""
    with av.open(str(path)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def main(options: Options) -> None:
    """Make the film, run the command, compare."""
    require_images(options.root)
    images = sorted((options.root / "VOCdevkit" / "VOC2012" / "JPEGImages").glob("*.jpg"))
    with TemporaryDirectory() as folder:
        path, out = Path(folder) / "film.mp4", Path(folder) / "out"
        say("the film is made")
        film(path, list(islice(images, options.images)), options.frames)
        say("blitznet video")
        found = watched(path, out, options)
        given, actual = times(path), times(out / "film.mp4")
    rate, growth = found.frames / found.seconds, found.most_mb - found.settled_mb
    alike = len(given) == len(actual) and max(abs(a - b) for a, b in zip(given, actual, strict=True)) < 1e-3
    row = (
        f"{options.frames} frames, 640x360",
        f"{rate:.1f}",
        str(len(actual)),
        f"{found.settled_mb:.0f}",
        f"{growth:.1f}",
    )
    table = Table("blitznet video", ("film", "frames/s", "frames out", f"MB at {_SETTLED}", "MB more"), [row])
    verdicts = [
        at_least("frames a second, drawn and encoded", rate, RATE),
        at_least("every frame came out once, at its time", float(alike), 1),
        at_most(f"megabytes more after frame {_SETTLED}", growth, GROWTH),
    ]
    print_all([table], verdicts)
    write(options.json, options, watched=found, tables=[table], verdicts=verdicts)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
