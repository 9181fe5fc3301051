import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

import av
import numpy as np
import pytest
from PIL import Image

from blitznet.core.errors import DataError, UsageError
from blitznet.video import reader as video_reader
from blitznet.video.frame import MediaPacket
from blitznet.video.reader import VideoReader, open_video
from support.videos import STEP, brightness, concatenate, write_frames, write_video


def mean_level(image: "np.ndarray[Any, Any]") -> float:
    return float(image.mean())


def test_a_file_yields_every_frame_with_its_time_and_audio(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", audio="aac", gap=6)
    with closing(open_video(str(path))) as video:
        assert (video.info.name, video.info.live, video.info.fps > 0) == ("a", False, True)
        assert video.info.frame_count == 12
        frames = list(video.frames())
        audio = [packet for frame in frames for packet in frame.audio] + list(video.trailing_audio)
        assert [frame.index for frame in frames] == list(range(12))
        assert [frame.seconds for frame in frames] == pytest.approx([n / 10 + (n >= 6) for n in range(12)])
        assert [frame.pts * float(video.info.time_base) for frame in frames] == pytest.approx(
            [frames[0].pts * float(video.info.time_base) + frame.seconds for frame in frames]
        )
        for frame in frames:
            assert frame.image.shape == (48, 64, 3)
            assert mean_level(frame.image) == pytest.approx(brightness(frame.index), abs=STEP / 2)
        assert len(audio) > 40


@pytest.mark.parametrize("audio", [None, "aac"])
def test_concatenated_videos_follow_each_other(audio: str | None, tmp_path: Path) -> None:
    parts = [write_video(tmp_path / f"{frames}.ts", frames=frames, audio=audio) for frames in (30, 14)]
    with closing(open_video(str(concatenate(tmp_path / "all.ts", *parts, parts[0])))) as video:
        frames = list(video.frames())
        packets = [packet for frame in frames for packet in frame.audio] + list(video.trailing_audio)
        assert [frame.seconds for frame in frames] == pytest.approx([n / 10 for n in range(74)])
        times = [packet.dts * float(packet.time_base) for packet in packets if packet.dts is not None]
        start = frames[0].pts * float(video.info.time_base)
        if audio:
            assert max(abs(b - a) for a, b in pairwise(times)) < 0.1
            assert times[-1] - start == pytest.approx(7.4, abs=0.1)


@pytest.mark.parametrize(
    ("degrees", "bright"), [(90, np.s_[32:]), (-90, np.s_[:32]), (180, np.s_[:, 32:]), (0, np.s_[:, :32])]
)
def test_rotated_videos_are_upright_with_upright_pixels(degrees: int, bright: Any, tmp_path: Path) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32] = 200
    path = write_frames(tmp_path / "a.mp4", [image] * 3, rotation=degrees, sample_aspect_ratio=Fraction(4, 3))
    with closing(open_video(str(path))) as video:
        frame = next(video.frames())
    is_turned = degrees in (90, -90)
    assert frame.image.shape == ((64, 48, 3) if is_turned else (48, 64, 3))
    assert frame.image[bright].mean() == pytest.approx(200, abs=6)
    assert video.info.sample_aspect_ratio == (Fraction(3, 4) if is_turned else Fraction(4, 3))


def test_an_image_sequence_has_the_fps_and_counts_unreadable_images(tmp_path: Path) -> None:
    images = [tmp_path / f"{index}.png" for index in range(3)]
    for index, path in enumerate(images):
        Image.fromarray(np.full((20, 30 + index, 3), 50 * index, np.uint8)).save(path)
    with closing(open_video("shots", fps=Fraction(5), images=images)) as video:
        assert (video.info.name, video.info.frame_count, video.info.time_base) == ("shots", 3, Fraction(1, 5))
        assert [(frame.seconds, frame.image[0, 0, 0]) for frame in video.frames()] == [(0, 0), (0.2, 50), (0.4, 100)]
    images[1].write_bytes(b"broken")
    video = open_video("shots", images=images)
    assert [frame.index for frame in video.frames()] == [0, 2]
    assert video.decode_errors == 1
    assert "1.png: not an image" in str(video.first_error)
    with pytest.raises(DataError, match=r"1\.png: not an image"):
        list(open_video("shots", images=[images[1]]).frames())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.mp4", None, "expected a video file, a camera's number, an address with :// or a folder of images"),
        ("text.mp4", b"no video at all" * 100, "cannot be opened as a video"),
        ("empty.mp4", b"", r"cannot be opened as a video \(the file is empty\)"),
        (
            "text.mkv",
            b"no video",
            r"cannot be opened as a video \(the file is broken or truncated, or of another format\)",
        ),
        ("lfs.mp4", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS; run `git lfs pull`"),
    ],
)
def test_anything_but_a_video_is_an_error(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((DataError, UsageError), match=message):
        open_video(str(path))


def test_an_audio_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        chunk = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        chunk.sample_rate = 8000
        container.mux(stream.encode(chunk))
    with pytest.raises(DataError, match="expected a video, got a file without a video stream"):
        open_video(str(path))


def test_a_missing_camera_is_an_error() -> None:
    for source, device in (("63", "/dev/video63"), (os.devnull, os.devnull)):
        with pytest.raises(DataError, match=f"{device}: cannot be opened as a video"):
            open_video(source)


def test_a_camera_may_be_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_reader, "_has_mode", lambda path, test: path == "/dev/video7")
    opened: list[tuple[Any, ...]] = []
    monkeypatch.setattr(VideoReader, "__init__", lambda _, *args, **options: opened.append((*args, options)))
    for source in ("7", "/dev/video7"):
        open_video(source)
    assert opened == [("camera-7", "/dev/video7", {"container_format": "v4l2", "live": True})] * 2


def test_a_pipe_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe: expected a video file, got a pipe; save the video to a file first"):
        open_video(str(tmp_path / "pipe"))


@pytest.mark.parametrize(
    ("source", "name"),
    [("shots", "shots"), ("shots/*.jpg", "shots"), ("a[1]/*", "images"), (".", "images"), ("*.jpg", "images")],
)
def test_an_image_sequence_has_the_name_of_its_folder(source: str, name: str, tmp_path: Path) -> None:
    assert open_video(source, images=[tmp_path / "a.jpg"]).info.name == name
    (tmp_path / "a[1]").mkdir()
    assert open_video(str(tmp_path / "a[1]"), images=[tmp_path / "a.jpg"]).info.name == "a[1]"


@pytest.mark.parametrize("box", [b"moov", b"stsd", b"stsz"])
def test_an_mp4_file_whose_index_is_cut_off_is_an_error(box: bytes, tmp_path: Path) -> None:
    content = write_frames(tmp_path / "a.mp4", [np.zeros((48, 64, 3), np.uint8)] * 12).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: content.rindex(box)])
    with pytest.raises(DataError, match="an MP4 file without its index, moov; the file is truncated"):
        list(open_video(str(tmp_path / "cut.mp4")).frames())


def write_black(
    path: Path, times: Iterable[int], *, codec: Literal["mpeg4", "rawvideo"] = "mpeg4", title: str = ""
) -> Path:
    """Write a video of black frames with these timestamps, in tenths of a second."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts = time
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_truncated_raw_frame_is_counted(tmp_path: Path) -> None:
    path = write_black(tmp_path / "a.avi", range(4), codec="rawvideo")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with closing(open_video(str(path))) as video:
        assert len(list(video.frames())) in (2, 3)
        assert video.decode_errors == 1


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
def test_a_title_that_is_not_utf8_does_not_matter(suffix: str, tmp_path: Path) -> None:
    path = write_black(tmp_path / f"a.{suffix}", [0], title="Strasse")
    path.write_bytes(path.read_bytes().replace(b"Strasse", b"Stra\xdfe."))
    with closing(open_video(str(path))) as video:
        assert len(list(video.frames())) == 1


def test_a_late_start_is_no_truncation(tmp_path: Path) -> None:
    path = write_black(tmp_path / "a.mkv", range(10_000, 10_012))
    with closing(open_video(str(path))) as video:
        assert video.info.frame_count == 12
        assert len(list(video.frames())) == 12
        assert video.truncated_at is None


def test_times_of_reordered_frames_in_avi_increase(tmp_path: Path) -> None:
    images = [np.full((48, 64, 3), brightness(index), np.uint8) for index in range(12)]
    with closing(open_video(str(write_frames(tmp_path / "a.avi", images)))) as video:
        frames = list(video.frames())
    assert [frame.seconds for frame in frames] == pytest.approx([index / 10 for index in range(12)])
    assert [mean_level(frame.image) for frame in frames] == pytest.approx(
        [brightness(i) for i in range(12)], abs=STEP / 2
    )


def test_a_truncated_file_yields_its_frames(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.mkv", frames=24).read_bytes()
    truncated = tmp_path / "truncated.mkv"
    truncated.write_bytes(content[: len(content) // 2])
    with closing(open_video(str(truncated))) as video:
        frames = list(video.frames())
    assert 0 < len(frames) < 24
    assert video.truncated_at == pytest.approx(frames[-1].seconds + 0.1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize("audio", [None, "mp2"])
def test_a_whole_file_is_not_called_truncated(suffix: str, audio: str | None, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"a.{suffix}", frames=24, audio=audio, gap=None if suffix == "avi" else 6)
    with closing(open_video(str(path))) as video:
        assert len(list(video.frames())) == 24
        assert video.truncated_at is None


@pytest.mark.parametrize("name", ["12:30.mp4", "a:b:c.mkv", "50%03d.mp4", "http:x.mp4"])
def test_names_with_colons(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mkv", frames=3).rename(name)
    with closing(open_video(name)) as video:
        assert video.info.name == name[:-4]
        assert len(list(video.frames())) == 3


@pytest.mark.parametrize("path", ["x" * 300 + ".mp4", "a\0b.mp4"])
def test_impossible_paths_are_errors(path: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be opened|expected a video file"):
        open_video(path)


class _StalledContainer:
    """A container whose second packet comes when the test releases it."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self.stalled, self.released = threading.Event(), threading.Event()
        self.closed_by: list[str] = []
        self._container = container

    def demux(self, *_: object) -> "Iterator[MediaPacket]":
        packets = self._container.demux(video=0)
        yield cast("MediaPacket", next(packets))
        self.stalled.set()
        assert self.released.wait(20)
        yield cast("MediaPacket", next(packets))

    def close(self) -> None:
        self.closed_by.append(threading.current_thread().name)


def test_a_thread_that_reads_closes_the_source_afterwards(tmp_path: Path) -> None:
    video = VideoReader("live", str(write_video(tmp_path / "live.mkv")), live=True)
    with closing(video._container) as container:
        stalled = _StalledContainer(container)
        video._container = cast(av.container.InputContainer, stalled)
        reader = threading.Thread(target=lambda: list(video.frames()), name="reader", daemon=True)
        reader.start()
        assert stalled.stalled.wait(20)
        video.close()
        assert stalled.closed_by == []
        stalled.released.set()
        reader.join(20)
        assert not reader.is_alive()
        assert set(stalled.closed_by) == {"reader"}


def test_a_closed_source_is_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_reader, "_RECONNECT_DELAY", 100)
    video = VideoReader("live", str(write_video(tmp_path / "live.mkv", frames=2)), live=True)
    reader = threading.Thread(target=lambda: list(video.frames()), daemon=True)
    reader.start()
    reader.join(0.5)
    video.close()
    reader.join(20)
    assert not reader.is_alive()
    assert list(video.frames()) == []


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """The folder's address on this machine."""

    class QuietHandler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_at_an_address_yields_every_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "remote.mp4")
    with serve_folder(tmp_path) as address, closing(open_video(f"{address}/remote.mp4?key=1")) as video:
        assert (video.info.name, video.info.live) == ("remote", False)
        assert len(list(video.frames())) == 12


def test_a_file_of_unknown_duration_at_an_address_is_read_once(tmp_path: Path) -> None:
    write_video(tmp_path / "remote.ts")
    with serve_folder(tmp_path) as address, closing(open_video(f"{address}/remote.ts")) as video:
        assert not video.info.live
        assert len(list(video.frames())) == 12


def test_a_stream_that_ends_is_opened_again_until_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_reader, "_RECONNECT_DELAY", 0.01)
    monkeypatch.setattr(video_reader, "_MAX_RECONNECT_DELAY", 0.05)
    path = write_video(tmp_path / "live.mkv")
    with serve_folder(tmp_path) as address:
        video = VideoReader("live", f"{address}/live.mkv", live=True)
        iterator = video.frames()
        frames = [next(iterator) for _ in range(30)]
        assert video.reconnects == 2
        assert [frame.index for frame in frames] == list(range(30))
        assert all(a.pts <= b.pts for a, b in pairwise(frames))
        path.unlink()
        with pytest.raises(DataError, match="cannot be opened again after 9 attempts"):
            list(iterator)
        video.close()
