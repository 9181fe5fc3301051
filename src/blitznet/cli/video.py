"""`blitznet video`: annotate, track and export detections of a video, a camera or a stream."""

import json
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import tyro

from blitznet.cli.console import notify, progress_bars, stdout_console
from blitznet.cli.engines import EngineFlag, ThreadsFlag, TrustFlag, engine_summary
from blitznet.cli.files import make_folders
from blitznet.cli.flags import OverwriteFlag, metavar
from blitznet.core.errors import MissingExtra, UsageError, one_line
from blitznet.core.files import translate_write_errors
from blitznet.core.models import DEFAULT, DEFAULT_MIN_SCORE
from blitznet.core.written_files import record_written, require_replaceable

if TYPE_CHECKING:
    from blitznet.core.arrays import Labels, RGBArray
    from blitznet.integrations.tracking import Tracker
    from blitznet.postprocess.result import Result
    from blitznet.runtime.predictor import BasePredictor
    from blitznet.video.frame import Frame
    from blitznet.video.reader import VideoInfo, VideoSource
    from blitznet.video.writer import VideoWriter

    FrameResults = Generator[tuple[Frame, Result], None, None]

_MAX_AGES = 1000
"""number of the last live frames whose ages are kept, for the summary"""


@dataclass(frozen=True)
class Video:
    """Detect objects and segment every frame of a video.

    Writes the annotated video with the original frame times and audio, and a line of JSON per frame. For a camera or a
    stream, each prediction is of the newest frame; the frames between are dropped and counted. After Ctrl-C all files
    are complete. An earlier recording of a camera or a stream is kept: the new files get a number.

    Examples:
        blitznet video clip.mp4 --track
        blitznet video 0 --show --no-overlay
        blitznet video rtsp://camera.local/stream --max-frames 1000 --out camera
    """

    source: Annotated[str, tyro.conf.Positional, metavar("SOURCE")]
    """Video file, camera (0 or /dev/video0), address (rtsp://, http://), folder of images, or quoted glob."""
    out: Annotated[Path, metavar("DIR")] = Path("blitznet-out")
    """Folder to write the video and the JSON lines to; created if it does not exist. Default: blitznet-out."""
    model: Annotated[str, metavar("MODEL")] = DEFAULT
    """Name of a model in the package, model file, or folder of a training run. Default: blitznet300-lite."""
    min_score: Annotated[float, metavar("SCORE")] = DEFAULT_MIN_SCORE
    """Minimum score of detections to keep, 0 to 1. Default: 0.5."""
    track: tyro.conf.FlagCreatePairsOff[bool] = False
    """Assign track ids to objects, and write a MOTChallenge file (needs the extra `track`)."""
    show: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show the annotated video in a window; q closes it."""
    overlay: bool = True
    """Write the annotated video."""
    fps: Annotated[float, metavar("FPS")] = 25.0
    """Frames per second of a folder of images. Default: 25."""
    max_frames: Annotated[int | None, metavar("N")] = None
    """Stop after this number of frames. Default: the whole video."""
    engine: EngineFlag = "auto"
    threads: ThreadsFlag = None
    overwrite: OverwriteFlag = False
    trust: TrustFlag = False


@dataclass(eq=False)
class Stats:
    """Counts of a run."""

    name: str = ""
    """stem of the written files"""
    frames: int = 0
    """processed frames"""
    dropped: int = 0
    """frames of a live source that were not predicted"""
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_AGES))
    """seconds between decoding and writing of each live frame"""
    start: float = field(default_factory=time.monotonic)

    @property
    def fps(self) -> float:
        """Processed frames per second."""
        return self.frames / max(time.monotonic() - self.start, 1e-9)


@dataclass(frozen=True, eq=False)
class OutputFiles:
    """Where results of frames go: open files and the tracker."""

    json_lines: TextIO
    writer: "VideoWriter | None" = None
    tracker: "Tracker | None" = None
    tracks: TextIO | None = None
    """the MOTChallenge file"""

    def flush(self) -> None:
        """Write buffered lines to the files."""
        self.json_lines.flush()
        if self.tracks is not None:
            self.tracks.flush()


def run(options: Video) -> int:
    """Process every frame; stopping a live source with Ctrl-C is a success."""
    if not 0 <= options.min_score <= 1:
        raise UsageError(f"--min-score: expected 0 to 1, got {options.min_score}")
    if options.max_frames is not None and options.max_frames < 1:
        raise UsageError(f"--max-frames: expected 1 or more, got {options.max_frames}")
    from blitznet.api import load

    predictor = load(options.model, engine=options.engine, threads=options.threads, trust=options.trust)
    with closing(_open_source(options)) as video:
        make_folders(options.out)
        stats = Stats()
        try:
            _process(options, video, predictor, stats)
        except KeyboardInterrupt:
            if not video.info.live:
                raise
        _print_summary(options, video, stats)
        print(engine_summary(predictor, options.threads))
    return 0


def _open_source(options: Video) -> "VideoSource":
    from blitznet.workflows import open_frames

    try:
        return open_frames(options.source, fps=options.fps)
    except MissingExtra as error:
        raise MissingExtra("`blitznet video`", "video") from error


def _process(options: Video, video: "VideoSource", predictor: "BasePredictor", stats: Stats) -> None:
    """Predict and write frames until the source ends, the limit is reached or the window is closed."""
    from blitznet.cli.window import Window
    from blitznet.core.address import printable_address

    with ExitStack() as stack:
        info = replace(video.info, name=_free_name(options, video.info)) if video.info.live else video.info
        stats.name = info.name
        outputs = _open_outputs(options, info, stack)
        title = printable_address(options.source)
        window = stack.enter_context(closing(Window(title))) if options.show else None
        progress = stack.enter_context(progress_bars())
        min_score = _requested_min_score(options)
        if video.info.live:
            results = _predict_latest(video, predictor, stats, min_score)
        else:
            results = _predict_all(video, predictor, min_score)
        for frame, result in stack.enter_context(closing(results)):
            with translate_write_errors(options.out):
                annotated = _write_frame(frame, result, options, outputs, show=window is not None)
                if video.info.live:  # readers of the files follow a live source
                    outputs.flush()
            stats.frames += 1
            if video.info.live:
                stats.ages.append(time.monotonic() - frame.decoded_at)
            if video.info.frame_count:
                progress("frames", stats.frames, video.info.frame_count)
            if window is not None and annotated is not None:
                window.show(annotated)
            if stats.frames == options.max_frames or (window is not None and not window.open):
                break
        else:
            if outputs.writer is not None:
                outputs.writer.write_audio(video.trailing_audio)


def _requested_min_score(options: Video) -> float:
    """The minimum score of predicted detections; tracking also uses low scores."""
    if not options.track:
        return options.min_score
    from blitznet.integrations.tracking import MIN_TRACK_SCORE

    return min(options.min_score, MIN_TRACK_SCORE)


def _open_outputs(options: Video, info: "VideoInfo", stack: ExitStack) -> OutputFiles:
    """Open the files; the stack closes them."""
    _require_no_overwrite(options, info)
    paths = _output_paths(options, info, info.name)
    require_replaceable(paths, overwrite=options.overwrite, advice="choose another --out")
    stack.callback(record_written, *paths)  # after they are closed
    tracker = _make_tracker(options, float(info.fps)) if options.track else None
    tracks = stack.enter_context(_open_text(options.out / f"{info.name}.txt")) if options.track else None
    json_lines = stack.enter_context(_open_text(options.out / f"{info.name}.jsonl"))
    if not options.overlay:
        return OutputFiles(json_lines, None, tracker, tracks)
    from blitznet.video.writer import VideoWriter, container_suffix

    path = options.out / f"{info.name}{container_suffix(info)}"
    writer = stack.enter_context(VideoWriter(path, info))
    if writer.dropped_audio:
        notify(f"{info.name}: audio left out, {path.name} cannot hold {', '.join(writer.dropped_audio)}")
    return OutputFiles(json_lines, writer, tracker, tracks)


def _require_no_overwrite(options: Video, info: "VideoInfo") -> None:
    """Raise UsageError if the output folder is the video's own and a file there would be overwritten."""
    source = Path(options.source)
    if not source.exists() or source.parent.resolve() != options.out.resolve():
        return
    for path in _output_paths(options, info, info.name):
        if path.exists():
            problem = "is the video itself" if path.samefile(options.source) else "exists beside the video"
            raise UsageError(f"--out: {path} {problem}; choose another folder")


def _output_paths(options: Video, info: "VideoInfo", name: str) -> list[Path]:
    """All files that a run writes."""
    from blitznet.video.writer import container_suffix

    suffixes = [".jsonl", *([".txt"] if options.track else []), *([container_suffix(info)] if options.overlay else [])]
    return [options.out / f"{name}{suffix}" for suffix in suffixes]


def _free_name(options: Video, info: "VideoInfo") -> str:
    """The stem of new files of a live source, with a number where a file exists: no recording can be repeated."""
    name, number = info.name, 2
    while any(path.exists() for path in _output_paths(options, info, name)):
        name, number = f"{info.name}-{number}", number + 1
    return name


@contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    """A text file; buffered lines may also fail to be written when it is closed."""
    with translate_write_errors(path), path.open("w", encoding="utf-8") as file:
        yield file


def _make_tracker(options: Video, fps: float) -> "Tracker":
    from blitznet.integrations.tracking import Tracker

    try:
        return Tracker(fps, activation_threshold=options.min_score)
    except MissingExtra as error:
        raise MissingExtra("--track", "track") from error


def _predict_all(video: "VideoSource", predictor: "BasePredictor", min_score: float) -> "FrameResults":
    """Every frame and its result; decoding, inference and drawing overlap."""
    pending: deque[Frame] = deque()

    def images() -> "Generator[RGBArray, None, None]":
        with closing(video.frames()) as frames:
            for frame in frames:
                pending.append(frame)
                yield frame.image

    with closing(predictor.stream(images(), min_score=min_score)) as stream:
        for item in stream:
            if item.result is None:
                raise item.error or AssertionError("neither a result nor an error")
            yield pending.popleft(), item.result


def _predict_latest(video: "VideoSource", predictor: "BasePredictor", stats: Stats, min_score: float) -> "FrameResults":
    """The newest frame each time and its result, one at a time on all threads, for a short delay."""
    from blitznet.video.latest import LatestFrameReader

    reader = LatestFrameReader(video)
    with closing(reader.frames()) as frames:
        for frame in frames:
            yield frame, predictor(frame.image, min_score=min_score)
            stats.dropped = reader.dropped


def _write_frame(
    frame: "Frame", result: "Result", options: Video, outputs: OutputFiles, *, show: bool
) -> "RGBArray | None":
    """Write a frame to every output; return the annotated image if it was drawn."""
    from blitznet.drawing.annotate import annotate

    track_ids: Labels | None = None
    if outputs.tracker is not None:
        from blitznet.integrations.tracking import to_mot_lines

        track_ids = outputs.tracker.update(result)
        if outputs.tracks is not None:
            outputs.tracks.write(to_mot_lines(frame.index, result, track_ids))
        visible = (result.scores >= options.min_score) | (track_ids > 0)
        result, track_ids = result[visible], track_ids[visible]
    entry = {"frame": frame.index, "seconds": round(frame.seconds, 6), **result.to_dict()}
    if track_ids is not None:
        for detection, track_id in zip(entry["detections"], track_ids, strict=True):
            detection["id"] = int(track_id) if track_id > 0 else None
    outputs.json_lines.write(json.dumps(entry) + "\n")
    if outputs.writer is None and not show:
        return None
    annotated = annotate(frame.image, result, () if track_ids is None else track_ids.tolist())
    if outputs.writer is not None:
        outputs.writer.write(annotated, frame.pts, frame.audio)
    return annotated


def _print_summary(options: Video, video: "VideoSource", stats: Stats) -> None:
    name = stats.name
    files = "video and JSON lines" if options.overlay else "JSON lines"
    summary = f"{name}: {stats.frames} frames, {stats.fps:.1f} per second   {files}: {options.out}"
    stdout_console().print(one_line(summary), soft_wrap=True)
    if video.decode_errors:
        unit = "packet" if video.info.color else "image"
        units = f"{video.decode_errors} {unit}{'' if video.decode_errors == 1 else 's'}"
        notify(
            f"{name}: {units} could not be decoded{f', the first: {video.first_error}' if video.first_error else ''}"
        )
    if video.truncated_at is not None:
        notify(f"{name}: the file is truncated; it ended after {video.truncated_at:.1f} s, before its stated duration")
    if video.info.color is not None and video.info.color.is_hdr:
        notify(f"{name}: HDR colors were converted to SDR (BT.709)")
    if video.info.live and stats.ages:
        ages = sorted(stats.ages)
        median, maximum = 1000 * ages[len(ages) // 2], 1000 * ages[-1]
        print(
            f"{name}: {stats.dropped} frames dropped, age when written: median {median:.0f} ms, "
            f"maximum {maximum:.0f} ms; {video.reconnects} reconnects"
        )
