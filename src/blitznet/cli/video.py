"""`blitznet video`: a video, a camera or a stream in; an annotated video, JSON lines and tracks out."""

import json
import sys
import time
from collections import deque
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import tyro

from blitznet.cli.console import progress_bars, stdout_console
from blitznet.cli.engines import EngineFlag, ThreadsFlag, ran
from blitznet.cli.files import make_folders
from blitznet.cli.flags import metavar
from blitznet.core.errors import MissingExtra, UsageError
from blitznet.core.files import translate_write_errors
from blitznet.core.models import DEFAULT

if TYPE_CHECKING:
    from blitznet.core.arrays import Labels, RGBArray
    from blitznet.integrations.tracking import Tracker
    from blitznet.postprocess.result import Result
    from blitznet.runtime.predictor import Predictor
    from blitznet.video.frame import Frame
    from blitznet.video.reader import Video, VideoInfo
    from blitznet.video.writer import VideoWriter

    Seen = Generator[tuple[Frame, Result], None, None]
    """frames, and what is in them"""

_SLOWEST = 0.01
"""frames a second of a folder of images"""
_AGES = 1000
"""frames of a live source of which the median age is told"""


@dataclass(frozen=True)
class VideoOptions:
    """Find objects and a class for every pixel in every frame of a video.

    Writes the video with everything drawn on it, its times and sound as they were, and a line of JSON for each frame.
    Of a camera or a stream the newest frame is looked at each time, and those that nobody had time for are counted;
    Ctrl-C ends it, and the files are whole.
    """

    source: Annotated[str, tyro.conf.Positional, metavar("SOURCE")]
    """A video file, a camera's number (0), an address (rtsp://, http://), a folder of images or a quoted glob."""
    out: Path = Path("blitznet-out")
    """Folder for the video and the JSON lines; made if it is not there."""
    model: str = DEFAULT
    """Name of a model of the package, a model's file or a run folder."""
    score: float = 0.5
    """Leave out detections below this, 0 to 1."""
    track: tyro.conf.FlagCreatePairsOff[bool] = False
    """Number things from frame to frame, and write a MOTChallenge file too (needs the extra `track`)."""
    show: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show what is seen in a window; q ends it."""
    overlay: bool = True
    """Write the annotated video; without it the JSON lines alone."""
    rate: Annotated[float, metavar("FPS")] = 25.0
    """Frames a second of a folder of images."""
    frames: Annotated[int | None, metavar("INT")] = None
    """Stop after so many."""
    engine: EngineFlag = "auto"
    """What computes. Not given: the fastest that is installed."""
    threads: ThreadsFlag = None
    """Threads of computing. Not given: one for each processor."""


@dataclass(eq=False)
class Tally:
    """What happened."""

    frames: int = 0
    dropped: int = 0
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=_AGES))
    """seconds from decoding to written, of live frames"""
    begun: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Frames a second, from the first question to now."""
        return self.frames / max(time.monotonic() - self.begun, 1e-9)


@dataclass(frozen=True, eq=False)
class Sinks:
    """Where frames go."""

    lines: TextIO
    writer: "VideoWriter | None" = None
    tracker: "Tracker | None" = None
    tracks: TextIO | None = None


def run(options: VideoOptions) -> int:
    """Look at every frame; Ctrl-C ends a live source well."""
    if not 0 <= options.score <= 1:
        raise UsageError(f"--score: expected 0 to 1, got {options.score}")
    if options.frames is not None and options.frames < 1:
        raise UsageError(f"--frames: expected 1 or more, got {options.frames}")
    from blitznet.api import load

    predictor = load(options.model, engine=options.engine, threads=options.threads)
    with closing(_opened(options)) as video:
        make_folders(options.out)
        tally = Tally()
        try:
            _work(options, video, predictor, tally)
        except KeyboardInterrupt:
            if not video.about.live:
                raise
        _tell(options, video, tally)
        print(ran(predictor, options.threads))
    return 0


def _opened(options: VideoOptions) -> "Video":
    from blitznet.runtime.image_paths import find_images
    from blitznet.video.reader import open_video

    if not _SLOWEST <= options.rate < float("inf"):
        raise UsageError(f"--rate: expected {_SLOWEST} frames a second or more, got {options.rate}")
    pictures = "://" not in options.source and any(sign in options.source for sign in "*[")
    pictures = Path(options.source).is_dir() or (pictures and not Path(options.source).is_file())
    images = find_images([options.source]) if pictures else ()
    return open_video(options.source, rate=Fraction(options.rate).limit_denominator(1001), images=images)


def _work(options: VideoOptions, video: "Video", predictor: "Predictor", tally: Tally) -> None:
    from blitznet.cli.window import Window

    with ExitStack() as stack:
        sinks = _sinks(options, video, stack)
        window = stack.enter_context(closing(Window(options.source))) if options.show else None
        show = stack.enter_context(progress_bars())
        least = _least(options)
        ways = _live(video, predictor, tally, least) if video.about.live else _every(video, predictor, least)
        seen = stack.enter_context(closing(ways))
        for frame, result in seen:
            with translate_write_errors(options.out):
                picture = _write(frame, result, options, sinks, shown=window is not None)
            tally.frames += 1
            if video.about.live:
                tally.ages.append(time.monotonic() - frame.taken)
            if video.about.count:
                show("Frames", tally.frames, video.about.count)
            if window is not None and picture is not None:
                window.show(picture)
            if tally.frames == options.frames or (window is not None and not window.open):
                break
        else:
            if sinks.writer is not None:
                sinks.writer.add_sound(video.rest)


def _least(options: VideoOptions) -> float:
    """The lowest score that is asked for: weak detections go on with a track."""
    if not options.track:
        return options.score
    from blitznet.integrations.tracking import LEAST

    return min(options.score, LEAST)


def _sinks(options: VideoOptions, video: "Video", stack: ExitStack) -> Sinks:
    """Open what is written; the stack closes it, however the work ends."""
    about = video.about
    _require_nothing_lost(options, about)
    tracker, tracks = None, None
    if options.track:
        tracker, tracks = (
            _tracker(options, float(about.rate)),
            stack.enter_context(_text(options.out / f"{about.name}.txt")),
        )
    lines = stack.enter_context(_text(options.out / f"{about.name}.jsonl"))
    if not options.overlay:
        return Sinks(lines, None, tracker, tracks)
    from blitznet.video.writer import VideoWriter, suffix

    target = options.out / f"{about.name}{suffix(about)}"
    writer = stack.enter_context(VideoWriter(target, about))
    if writer.unheard:
        left = ", ".join(writer.unheard)
        print(f"{about.name}: sound left out, {target.name} cannot hold it: {left}", file=sys.stderr)
    return Sinks(lines, writer, tracker, tracks)


def _require_nothing_lost(options: VideoOptions, about: "VideoInfo") -> None:
    """Raise UsageError where a file beside the video would be overwritten: the user's own, or the video itself."""
    if not Path(options.source).exists() or Path(options.source).parent.resolve() != options.out.resolve():
        return
    from blitznet.video.writer import suffix

    endings = [".jsonl", *([".txt"] if options.track else []), *([suffix(about)] if options.overlay else [])]
    for path in (options.out / f"{about.name}{ending}" for ending in endings):
        if path.exists():
            itself = "is the video itself" if path.samefile(options.source) else "lies beside the video already"
            raise UsageError(f"--out: {path} {itself}; choose another folder")


def _text(path: Path) -> TextIO:
    with translate_write_errors(path):
        return path.open("w", encoding="utf-8")


def _tracker(options: VideoOptions, rate: float) -> "Tracker":
    try:
        from blitznet.integrations.tracking import Tracker
    except ModuleNotFoundError as error:
        raise MissingExtra("--track", "track") from error
    return Tracker(rate, sure=options.score)


def _every(video: "Video", predictor: "Predictor", least: float) -> "Seen":
    """Every frame and what is in it; decoding, network and drawing overlap."""
    under_way: deque[Frame] = deque()

    def pictures() -> "Generator[RGBArray, None, None]":
        with closing(video.frames()) as frames:
            for frame in frames:
                under_way.append(frame)
                yield frame.pixels

    with closing(predictor.stream(pictures(), min_score=least)) as stream:
        for seen in stream:
            if seen.result is None:
                raise seen.error or AssertionError("neither a result nor an error")
            yield under_way.popleft(), seen.result


def _live(video: "Video", predictor: "Predictor", tally: Tally, least: float) -> "Seen":
    """The newest frame each time, looked at with all processors, so that it is told soon."""
    from blitznet.video.latest import LatestFrameReader

    newest = LatestFrameReader(video)
    with closing(newest.frames()) as frames:
        for frame in frames:
            yield frame, predictor(frame.pixels, min_score=least)
            tally.dropped = newest.dropped


def _write(frame: "Frame", result: "Result", options: VideoOptions, sinks: Sinks, *, shown: bool) -> "RGBArray | None":
    """Write a frame everywhere; the picture, if one was made."""
    from blitznet.drawing.annotate import annotate

    ids: Labels | None = None
    if sinks.tracker is not None:
        from blitznet.integrations.tracking import mot_lines

        ids = sinks.tracker.update(result)
        if sinks.tracks is not None:
            sinks.tracks.write(mot_lines(frame.number, result, ids))
        kept = (result.scores >= options.score) | (ids > 0)
        result, ids = result[kept], ids[kept]
    entry = {"frame": frame.number, "seconds": round(frame.seconds, 6), **result.to_dict()}
    if ids is not None:
        for one, number in zip(entry["detections"], ids, strict=True):
            one["id"] = int(number) if number > 0 else None
    sinks.lines.write(json.dumps(entry) + "\n")
    if sinks.writer is None and not shown:
        return None
    picture = annotate(frame.pixels, result, () if ids is None else ids.tolist())
    if sinks.writer is not None:
        sinks.writer.write(picture, frame.pts, frame.sound)
    return picture


def _tell(options: VideoOptions, video: "Video", tally: Tally) -> None:
    """One line of what came out, and one of what a live source lost."""
    about = video.about
    out = f"video and JSON lines: {options.out}" if options.overlay else f"JSON lines: {options.out}"
    stdout_console().print(f"{about.name}: {tally.frames} frames, {tally.rate:.1f} a second   {out}", soft_wrap=True)
    if video.broken:
        print(f"{about.name}: {video.broken} packets could not be decoded", file=sys.stderr)
    if about.live and tally.ages:
        ages = sorted(tally.ages)
        print(
            f"{about.name}: {tally.dropped} frames dropped, age {1000 * ages[len(ages) // 2]:.0f} ms at the median, "
            f"{1000 * ages[-1]:.0f} at most; opened again {video.lost} times"
        )
