import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blitznet.api import load
from blitznet.cli.main import main
from blitznet.postprocess.result import Result
from blitznet.video import reader
from support.cli_datasets import write_model
from support.videos import packets_of_sound, watched, write_film


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model."""
    monkeypatch.chdir(tmp_path)
    write_model()
    return tmp_path


def video(*words: str) -> int:
    return main(["video", *words, "--model", "small.onnx", "--engine", "onnxruntime"])


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_every_frame_comes_out_once_with_time_and_sound(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = write_film(Path("film.mp4"), frames=30, sound="aac", gap=10)
    assert video("film.mp4", "--out", "out") == 0
    assert watched(Path("out/film.mp4"))[0] == pytest.approx(watched(film)[0], abs=1e-3)
    assert packets_of_sound(Path("out/film.mp4")) == packets_of_sound(film)
    entries = lines("out/film.jsonl")
    assert [entry["frame"] for entry in entries] == list(range(30))
    assert [entry["seconds"] for entry in entries] == pytest.approx([n / 10 + (n >= 10) for n in range(30)])
    assert "film: 30 frames" in capsys.readouterr().out


def test_what_is_written_is_what_the_predictor_says(place: Path) -> None:
    write_film(Path("film.mp4"), frames=3)
    assert video("film.mp4", "--score", "0.3", "--no-overlay") == 0
    assert not Path("blitznet-out/film.mp4").exists()
    predictor = load("small.onnx", engine="onnxruntime")
    frames = list(reader.open_video("film.mp4").frames())
    for entry, frame in zip(lines("blitznet-out/film.jsonl"), frames, strict=True):
        expected = predictor(frame.pixels, min_score=0.3).to_dict()
        assert expected["detections"]
        assert {key: entry[key] for key in expected} == expected


def test_tracks_in_lines_and_in_a_mot_file(place: Path) -> None:
    write_film(Path("film.mp4"), frames=8)
    assert video("film.mp4", "--score", "0.3", "--track", "--out", "out") == 0
    entries = lines("out/film.jsonl")
    ids = [{one["id"] for one in entry["detections"]} - {None} for entry in entries]
    assert ids[-1]
    mot = [line.split(",") for line in Path("out/film.txt").read_text().splitlines()]
    assert [{int(line[1]) for line in mot if line[0] == str(n + 1)} for n in range(8)] == ids


def test_a_folder_of_images(place: Path) -> None:
    Path("shots").mkdir()
    for number in range(4):
        Image.fromarray(np.full((40, 60, 3), 40 * number, np.uint8)).save(f"shots/{number}.png")
    assert video("shots", "--rate", "5", "--out", "out") == 0
    assert watched(Path("out/shots.mp4"))[0] == pytest.approx([0, 0.2, 0.4, 0.6], abs=1e-3)
    assert len(lines("out/shots.jsonl")) == 4


def test_a_few_frames_are_enough(place: Path) -> None:
    write_film(Path("film.mp4"), frames=30)
    assert video("film.mp4", "--frames", "7", "--out", "out") == 0
    assert len(watched(Path("out/film.mp4"))[0]) == len(lines("out/film.jsonl")) == 7


def test_sound_that_cannot_be_kept_is_told_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_film(Path("film.avi"), frames=4, sound="pcm_mulaw")
    assert video("film.avi", "--out", "out") == 0
    assert capsys.readouterr().err == "film: sound left out, film.mkv cannot hold it: pcm_mulaw\n"
    assert len(watched(Path("out/film.mkv"))[0]) == len(lines("out/film.jsonl")) == 4


def test_a_live_source_says_what_it_lost(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reader, "_PAUSE", 0.01)
    write_film(Path("film.mkv"), frames=6)
    monkeypatch.setattr(reader, "VideoReader", partial(reader.VideoReader, live=True))
    monkeypatch.setattr(reader, "open_video", lambda text, **_: reader.VideoReader("camera", text))
    assert video("film.mkv", "--frames", "5", "--out", "out") == 0
    said = capsys.readouterr().out
    assert "frames dropped, age" in said
    assert "opened again" in said
    assert len(watched(Path("out/camera.mp4"))[0]) == 5


def test_ctrl_c_leaves_files_that_play(place: Path) -> None:
    write_film(Path("film.mp4"), frames=3000)
    words = ["video", "film.mp4", "--model", "small.onnx", "--engine", "onnxruntime", "--out", "out"]
    process = subprocess.Popen([sys.executable, "-m", "blitznet", *words], stderr=subprocess.PIPE, env=dict(os.environ))
    end = time.monotonic() + 60
    while not (Path("out/film.jsonl").exists() and Path("out/film.jsonl").stat().st_size > 10_000):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.decode().endswith("interrupted\n")
    assert 0 < len(watched(Path("out/film.mp4"))[0]) < 3000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing.mp4",), "nothing.mp4: expected a video file, a camera's number, an address with ://"),
        (("film.mp4", "--score", "2"), "--score: expected 0 to 1, got 2.0"),
        (("film.mp4", "--rate", "0"), "--rate: expected 0.01 frames a second or more, got 0.0"),
        (("film.mp4", "--frames", "0"), "--frames: expected 1 or more, got 0"),
        (("rtsp://[::1]:1/none",), "rtsp://[::1]:1/none: cannot be opened as a video"),
        (("film.mp4", "--out", "."), "--out: film.mp4 is the video itself; choose another folder"),
        (("empty",), "empty: there is no image in this folder"),
    ],
)
def test_misuse_is_one_line(words: tuple[str, ...], said: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = write_film(Path("film.mp4"), frames=2).read_bytes()
    Path("empty").mkdir()
    assert video(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"blitznet: error: {said}")
    assert error.count("\n") == 1
    assert Path("film.mp4").read_bytes() == before


@pytest.mark.parametrize(("name", "words"), [("film.mp4", ()), ("film.jsonl", ()), ("film.txt", ("--track",))])
def test_nothing_is_overwritten_where_the_video_lies(
    name: str, words: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_film(Path("film.mkv"), frames=2)
    Path(name).write_bytes(b"mine")
    assert video("film.mkv", "--out", ".", *words) == 2
    assert f"--out: {name} lies beside the video already; choose another folder" in capsys.readouterr().err
    assert Path(name).read_bytes() == b"mine"


def test_a_window_needs_a_display(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    write_film(Path("film.mp4"), frames=2)
    assert video("film.mp4", "--show") == 2
    assert "--show: no window can be opened here" in capsys.readouterr().err


def test_only_some_of_a_result() -> None:
    result = Result(
        boxes=np.zeros((3, 4), np.float32),
        scores=np.array([0.9, 0.5, 0.1], np.float32),
        labels=np.array([0, 1, 0]),
        class_names=("a", "b"),
        size=(4, 4),
    )
    assert result[np.array([True, False, True])].scores.tolist() == pytest.approx([0.9, 0.1])
