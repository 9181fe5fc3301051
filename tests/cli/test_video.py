import json
import os
import signal
import subprocess
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blitznet import workflows
from blitznet.api import load
from blitznet.cli import video
from blitznet.cli.main import main
from blitznet.core.errors import DataError, MissingExtra
from blitznet.video import reader
from support.cli_datasets import write_model
from support.videos import audio_packets, read_video, write_video

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model."""
    monkeypatch.chdir(tmp_path)
    write_model()
    return tmp_path


def run_video(*words: str) -> int:
    return main(["video", *words, "--model", "small.onnx", "--engine", "onnxruntime"])


def read_json_lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_every_frame_is_written_once_with_its_time_and_audio(capsys: pytest.CaptureFixture[str]) -> None:
    source = write_video(Path("clip.mp4"), frames=30, audio="aac", gap=10)
    assert run_video("clip.mp4", "--out", "out") == 0
    assert read_video(Path("out/clip.mp4"))[0] == pytest.approx(read_video(source)[0], abs=1e-3)
    assert audio_packets(Path("out/clip.mp4")) == audio_packets(source)
    entries = read_json_lines("out/clip.jsonl")
    assert [entry["frame"] for entry in entries] == list(range(30))
    assert [entry["seconds"] for entry in entries] == pytest.approx([n / 10 + (n >= 10) for n in range(30)])
    assert "clip: 30 frames" in capsys.readouterr().out


def test_json_lines_are_the_predictors_results() -> None:
    write_video(Path("clip.mp4"), frames=3)
    assert run_video("clip.mp4", "--min-score", "0.3", "--no-overlay") == 0
    assert not Path("blitznet-out/clip.mp4").exists()
    predictor = load("small.onnx", engine="onnxruntime")
    frames = list(reader.open_video("clip.mp4").frames())
    for entry, frame in zip(read_json_lines("blitznet-out/clip.jsonl"), frames, strict=True):
        expected = predictor(frame.image, min_score=0.3).to_dict()
        assert expected["detections"]
        assert {key: entry[key] for key in expected} == expected


def test_tracks_are_in_the_json_lines_and_the_mot_file() -> None:
    write_video(Path("clip.mp4"), frames=8)
    assert run_video("clip.mp4", "--min-score", "0.3", "--track", "--out", "out") == 0
    entries = read_json_lines("out/clip.jsonl")
    ids = [{detection["id"] for detection in entry["detections"]} - {None} for entry in entries]
    assert ids[-1]
    mot = [line.split(",") for line in Path("out/clip.txt").read_text().splitlines()]
    assert [{int(line[1]) for line in mot if line[0] == str(n + 1)} for n in range(8)] == ids


def test_fps_is_the_rate_of_a_folder_of_images() -> None:
    Path("shots").mkdir()
    for index in range(4):
        Image.fromarray(np.full((40, 60, 3), 40 * index, np.uint8)).save(f"shots/{index}.png")
    assert run_video("shots", "--fps", "5", "--out", "out") == 0
    assert read_video(Path("out/shots.mp4"))[0] == pytest.approx([0, 0.2, 0.4, 0.6], abs=1e-3)
    assert len(read_json_lines("out/shots.jsonl")) == 4


def test_the_summary_is_one_line_of_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    write_video(Path("a\nb.mp4"), frames=1)
    assert run_video("a\nb.mp4", "--out", "o[/b]:dog:") == 0
    summary = capsys.readouterr().out.splitlines()[0]
    assert summary.startswith("a\\nb: 1 frames")
    assert summary.endswith("video and JSON lines: o[/b]:dog:")


def test_an_unreadable_image_of_a_folder_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("shots").mkdir()
    Image.new("RGB", (32, 24)).save("shots/a.png")
    Path("shots/b.png").write_bytes(b"text")
    assert run_video("shots") == 0
    assert "shots: 1 image could not be decoded, the first: shots/b.png: not an image" in capsys.readouterr().err


def test_images_of_a_folder_are_in_the_order_of_their_numbers() -> None:
    Path("shots").mkdir()
    for number in (1, 2, 10):
        Image.new("RGB", (32 * number, 24)).save(f"shots/frame_{number}.png")
    assert run_video("shots", "--no-overlay") == 0
    assert [entry["width"] for entry in read_json_lines("blitznet-out/shots.jsonl")] == [32, 64, 320]


def test_max_frames_limits_every_output() -> None:
    write_video(Path("clip.mp4"), frames=30)
    assert run_video("clip.mp4", "--max-frames", "7", "--out", "out") == 0
    assert len(read_video(Path("out/clip.mp4"))[0]) == len(read_json_lines("out/clip.jsonl")) == 7


def test_dropped_audio_is_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    write_video(Path("clip.avi"), frames=4, audio="pcm_mulaw")
    assert run_video("clip.avi", "--out", "out") == 0
    assert capsys.readouterr().err == "clip: audio left out, clip.mkv cannot hold pcm_mulaw\n"
    assert len(read_video(Path("out/clip.mkv"))[0]) == len(read_json_lines("out/clip.jsonl")) == 4


def test_a_live_source_reports_drops_ages_and_reconnects(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_live_source(monkeypatch)
    write_video(Path("clip.mkv"), frames=6)
    assert run_video("clip.mkv", "--max-frames", "5", "--out", "out") == 0
    output = capsys.readouterr().out
    assert "frames dropped, age when written: median" in output
    assert "reconnects" in output
    assert len(read_video(Path("out/camera.mp4"))[0]) == 5


def as_live_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open every source as a camera."""
    monkeypatch.setattr(reader, "_RECONNECT_DELAY", 0.01)
    monkeypatch.setattr(reader, "VideoReader", partial(reader.VideoReader, live=True))
    monkeypatch.setattr(reader, "open_video", lambda source, **_: reader.VideoReader("camera", source))


def test_a_recording_of_a_live_source_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_live_source(monkeypatch)
    write_video(Path("clip.mkv"), frames=6)
    for count in (5, 3):
        assert run_video("clip.mkv", "--max-frames", str(count), "--out", "out") == 0
    assert [len(read_json_lines(f"out/{name}.jsonl")) for name in ("camera", "camera-2")] == [5, 3]
    assert [len(read_video(Path(f"out/{name}.mp4"))[0]) for name in ("camera", "camera-2")] == [5, 3]
    assert "camera-2: 3 frames" in capsys.readouterr().out


def test_lines_of_a_live_source_are_in_the_file_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    as_live_source(monkeypatch)
    write_video(Path("clip.mkv"), frames=6)
    counts = []
    write_frame = video._write_frame

    def count_lines(*args: Any, **options: Any) -> Any:
        counts.append(len(read_json_lines("out/camera.jsonl")))
        return write_frame(*args, **options)

    monkeypatch.setattr(video, "_write_frame", count_lines)
    assert run_video("clip.mkv", "--max-frames", "5", "--no-overlay", "--out", "out") == 0
    assert counts == [0, 1, 2, 3, 4]


def test_passwords_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("-v",)):
        try:
            run_video("rtsp://user:pa55word@127.0.0.1:9/stream", *words)
        except DataError as error:
            traceback.print_exception(error)
    output = capsys.readouterr()
    assert "rtsp://127.0.0.1:9/stream: cannot be opened as a video" in output.err
    assert "pa55" not in output.out + output.err.replace('run_video("rtsp://user:pa55word@', "")


def test_a_truncated_file_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    content = write_video(Path("a.mkv"), frames=60).read_bytes()
    Path("clip.mkv").write_bytes(content[: len(content) // 2])
    assert run_video("clip.mkv", "--no-overlay", "--out", "out") == 0
    assert "clip: the file is truncated; it ended after " in capsys.readouterr().err


def test_a_full_disk_is_one_line() -> None:
    write_video(Path("clip.mp4"), frames=400)
    words = [
        "video",
        "clip.mp4",
        "--model",
        "small.onnx",
        "--engine",
        "onnxruntime",
        "--out",
        "out",
        "--min-score",
        "0",
    ]
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        "from blitznet.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.run([sys.executable, "-c", limited, *words], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert process.stderr.strip().splitlines()[-1].endswith("(File too large)")
    assert len(process.stderr.strip().splitlines()) == 1
    assert len(list(reader.open_video("out/clip.mp4").frames())) > 0


def test_an_interrupted_run_leaves_playable_files() -> None:
    write_video(Path("clip.mp4"), frames=3000)
    words = ["video", "clip.mp4", "--model", "small.onnx", "--engine", "onnxruntime", "--out", "out"]
    process = subprocess.Popen([sys.executable, "-m", "blitznet", *words], stderr=subprocess.PIPE, env=dict(os.environ))
    deadline = time.monotonic() + 60
    while not (Path("out/clip.jsonl").exists() and Path("out/clip.jsonl").stat().st_size > 10_000):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.decode().endswith("interrupted\n")
    assert 0 < len(read_video(Path("out/clip.mp4"))[0]) < 3000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing.mp4",), "nothing.mp4: expected a video file, a camera's number, an address with ://"),
        (("clip.mp4", "--min-score", "2"), "--min-score: expected 0 to 1, got 2.0"),
        (("clip.mp4", "--fps", "0"), "fps: expected 0.01 or more, got 0.0"),
        (("clip.mp4", "--max-frames", "0"), "--max-frames: expected 1 or more, got 0"),
        (("rtsp://[::1]:1/none",), "rtsp://[::1]:1/none: cannot be opened as a video"),
        (("clip.mp4", "--out", "."), "--out: clip.mp4 is the video itself; choose another folder"),
        (("empty",), "empty: "),
    ],
)
def test_a_usage_error_is_one_line(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = write_video(Path("clip.mp4"), frames=2).read_bytes()
    Path("empty").mkdir()
    assert run_video(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"blitznet: error: {message}")
    assert error.count("\n") == 1
    assert Path("clip.mp4").read_bytes() == content


@pytest.mark.parametrize(("name", "words"), [("clip.mp4", ()), ("clip.jsonl", ()), ("clip.txt", ("--track",))])
def test_files_beside_the_video_are_not_overwritten(
    name: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(Path("clip.mkv"), frames=2)
    Path(name).write_bytes(b"mine")
    assert run_video("clip.mkv", "--out", ".", *words) == 2
    assert f"--out: {name} exists beside the video; choose another folder" in capsys.readouterr().err
    assert Path(name).read_bytes() == b"mine"


def test_show_needs_a_display(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    write_video(Path("clip.mp4"), frames=2)
    assert run_video("clip.mp4", "--show") == 2
    assert "--show: cannot open a window" in capsys.readouterr().err


def test_the_missing_extra_is_that_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_frames(source: str, **options: Any) -> None:
        raise MissingExtra("`blitznet.open_video`", "video")

    monkeypatch.setattr(workflows, "open_frames", open_frames)
    assert run_video("clip.mp4") == 2
    assert capsys.readouterr().err == "blitznet: error: `blitznet video` needs `pip install 'blitznet[video]'`\n"
