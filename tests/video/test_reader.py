import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from PIL import Image

from blitznet.core.errors import DataError, UsageError
from blitznet.video import reader as video_reader
from blitznet.video.frame import Coded
from blitznet.video.reader import VideoReader, open_video
from support.videos import STEP, brightness, join, write_film


def levels(pixels: "np.ndarray[Any, Any]") -> float:
    return float(pixels.mean())


def test_every_frame_of_a_file_with_its_time_and_sound(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", sound="aac", gap=6)
    with closing(open_video(str(path))) as video:
        assert (video.about.name, video.about.live, video.about.rate > 0) == ("a", False, True)
        assert video.about.count == 12
        frames = list(video.frames())
        sound = [packet for frame in frames for packet in frame.sound] + list(video.rest)
        assert [frame.number for frame in frames] == list(range(12))
        assert [frame.seconds for frame in frames] == pytest.approx([n / 10 + (n >= 6) for n in range(12)])
        assert [frame.pts * float(video.about.time_base) for frame in frames] == pytest.approx(
            [frames[0].pts * float(video.about.time_base) + frame.seconds for frame in frames]
        )
        for frame in frames:
            assert frame.pixels.shape == (48, 64, 3)
            assert levels(frame.pixels) == pytest.approx(brightness(frame.number), abs=STEP / 2)
        assert len(sound) > 40


@pytest.mark.parametrize("sound", [None, "aac"])
def test_films_put_end_to_end_follow_each_other(sound: str | None, tmp_path: Path) -> None:
    parts = [write_film(tmp_path / f"{frames}.ts", frames=frames, sound=sound) for frames in (30, 14)]
    with closing(open_video(str(join(tmp_path / "all.ts", *parts, parts[0])))) as video:
        frames = list(video.frames())
        heard = [packet for frame in frames for packet in frame.sound] + list(video.rest)
        assert [frame.seconds for frame in frames] == pytest.approx([n / 10 for n in range(74)])
        at = [packet.dts * float(packet.time_base) for packet in heard if packet.dts is not None]
        start = frames[0].pts * float(video.about.time_base)
        if sound:
            assert max(abs(b - a) for a, b in pairwise(at)) < 0.1
            assert at[-1] - start == pytest.approx(7.4, abs=0.1)


def test_phones_turn_their_videos() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = 200
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    for degrees, bright in ((90, np.s_[32:]), (-90, np.s_[:32]), (180, np.s_[:, 32:]), (0, np.s_[:, :32])):
        turned = video_reader._upright(cast(av.VideoFrame, _Turned(frame, degrees)))
        assert turned.shape == ((64, 48, 3) if degrees in (90, -90) else (48, 64, 3))
        assert turned[bright].mean() == 200


class _Turned:
    """A frame whose file says how the camera was held."""

    def __init__(self, frame: av.VideoFrame, rotation: int) -> None:
        self.rotation = rotation
        self.to_ndarray = frame.to_ndarray


def test_images_in_a_folder(tmp_path: Path) -> None:
    images = [tmp_path / f"{number}.png" for number in range(3)]
    for number, image in enumerate(images):
        Image.fromarray(np.full((20, 30, 3), 50 * number, np.uint8)).save(image)
    with closing(open_video("shots", rate=Fraction(5), images=images)) as video:
        assert (video.about.name, video.about.count, video.about.time_base) == ("shots", 3, Fraction(1, 5))
        assert [(frame.seconds, frame.pixels[0, 0, 0]) for frame in video.frames()] == [(0, 0), (0.2, 50), (0.4, 100)]
    Image.fromarray(np.zeros((20, 31, 3), np.uint8)).save(images[2])
    with pytest.raises(DataError, match=r"2\.png: is 31x20, the first image 30x20; wanted one size"):
        list(open_video("shots", images=images).frames())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.mp4", None, "expected a video file, a camera's number, an address with :// or a folder of images"),
        ("text.mp4", b"no video at all" * 100, "cannot be opened as a video"),
        ("empty.mp4", b"", "cannot be opened as a video"),
    ],
)
def test_what_is_no_video(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((DataError, UsageError), match=message):
        open_video(str(path))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    with av.open(str(path), "w") as song:
        stream = song.add_stream("pcm_s16le", rate=8000)
        part = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        part.sample_rate = 8000
        song.mux(stream.encode(part))
    with pytest.raises(DataError, match="expected a video, got a file without pictures"):
        open_video(str(path))


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(DataError, match="/dev/video63: cannot be opened as a video"):
        open_video("63")


def test_a_file_that_breaks_off_gives_what_it_has(tmp_path: Path) -> None:
    whole = write_film(tmp_path / "a.mkv", frames=24).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 2])
    with closing(open_video(str(cut))) as video:
        frames = list(video.frames())
    assert 0 < len(frames) < 24


class _Stalled:
    """A container that is waited for."""

    def __init__(self, opened: av.container.InputContainer) -> None:
        self.asked, self.comes = threading.Event(), threading.Event()
        self.closed_by: list[str] = []
        self._opened = opened

    def demux(self, *_: object) -> "Iterator[Coded]":
        packets = self._opened.demux(video=0)
        yield cast("Coded", next(packets))
        self.asked.set()
        assert self.comes.wait(20)
        yield cast("Coded", next(packets))

    def close(self) -> None:
        self.closed_by.append(threading.current_thread().name)


def test_what_a_thread_waits_for_is_closed_when_it_comes_back(tmp_path: Path) -> None:
    video = VideoReader("live", str(write_film(tmp_path / "live.mkv")), live=True)
    with closing(video._container) as opened:
        stalled = _Stalled(opened)
        video._container = cast(av.container.InputContainer, stalled)
        reader = threading.Thread(target=lambda: list(video.frames()), name="reader", daemon=True)
        reader.start()
        assert stalled.asked.wait(20)
        video.close()
        assert stalled.closed_by == []
        stalled.comes.set()
        reader.join(20)
        assert not reader.is_alive()
        assert set(stalled.closed_by) == {"reader"}


def test_what_is_closed_is_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_reader, "_PAUSE", 100)
    video = VideoReader("live", str(write_film(tmp_path / "live.mkv", frames=2)), live=True)
    reader = threading.Thread(target=lambda: list(video.frames()), daemon=True)
    reader.start()
    reader.join(0.5)
    video.close()
    reader.join(20)
    assert not reader.is_alive()
    assert list(video.frames()) == []


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's address on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_at_an_address_gives_every_frame(tmp_path: Path) -> None:
    write_film(tmp_path / "far.mp4")
    with served(tmp_path) as address, closing(open_video(f"{address}/far.mp4?key=1")) as video:
        assert (video.about.name, video.about.live) == ("far", False)
        assert len(list(video.frames())) == 12


def test_a_stream_that_ends_is_opened_again_and_then_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_reader, "_PAUSE", 0.01)
    path = write_film(tmp_path / "live.mkv")
    with served(tmp_path) as address:
        video = VideoReader("live", f"{address}/live.mkv", live=True)
        frames = video.frames()
        seen = [next(frames) for _ in range(30)]
        assert video.lost == 2
        assert [frame.number for frame in seen] == list(range(30))
        assert all(a.pts <= b.pts for a, b in pairwise(seen))
        path.unlink()
        with pytest.raises(DataError, match="broke off and did not come back in 5 tries"):
            list(frames)
        video.close()
