from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.video.reader import VideoInfo, open_video
from blitznet.video.writer import VideoWriter, suffix
from support.videos import STEP, brightness, join, packets_of_sound, watched, write_film, write_unknown_sound

ABOUT = VideoInfo("x", live=False, time_base=Fraction(1, 1000), rate=Fraction(10))


@pytest.mark.parametrize(("sound", "kind"), [(None, "mp4"), ("aac", "mp4"), ("mp3", "mp4"), ("aac", "mkv")])
def test_a_copy_has_the_same_times_and_the_same_sound(sound: str | None, kind: str, tmp_path: Path) -> None:
    path, copy = write_film(tmp_path / f"a.{kind}", sound=sound, gap=6), tmp_path / f"copy.{kind}"
    with closing(open_video(str(path))) as video, VideoWriter(copy, video.about) as writer:
        assert suffix(video.about) == ".mp4"
        for frame in video.frames():
            writer.write(frame.pixels, frame.pts, frame.sound)
        writer.add_sound(video.rest)
    seconds, levels = watched(copy)
    assert seconds == pytest.approx(watched(path)[0], abs=1e-3)
    assert levels == pytest.approx([brightness(number) for number in range(12)], abs=STEP / 2)
    if sound:
        assert packets_of_sound(copy) == packets_of_sound(path)


def test_sound_that_mp4_does_not_hold_goes_into_matroska(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mkv", sound="pcm_f32le")
    with closing(open_video(str(path))) as video:
        assert suffix(video.about) == ".mkv"


@pytest.mark.parametrize("sound", ["pcm_mulaw", "adpcm_ms", None])
def test_sound_that_no_file_here_holds_is_left_out(sound: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    film = write_film(path, sound=sound) if sound else write_unknown_sound(path)
    with closing(open_video(str(film))) as video:
        copy = tmp_path / f"copy{suffix(video.about)}"
        with VideoWriter(copy, video.about) as writer:
            assert writer.unheard == (sound or "a codec that FFmpeg cannot decode",)
            for frame in video.frames():
                writer.write(frame.pixels, frame.pts, frame.sound)
            writer.add_sound(video.rest)
    assert copy.suffix == (".mkv" if sound else ".mp4")
    assert len(watched(copy)[0]) == 12
    with av.open(str(copy)) as written:
        assert not written.streams.audio


@pytest.mark.parametrize("sound", [None, "aac", "mp2"])
def test_films_put_end_to_end_are_written_one_after_the_other(sound: str | None, tmp_path: Path) -> None:
    part = write_film(tmp_path / "part.ts", frames=24, sound=sound)
    film = join(tmp_path / "all.ts", part, part)
    with closing(open_video(str(film))) as video:
        copy = tmp_path / f"copy{suffix(video.about)}"
        with VideoWriter(copy, video.about) as writer:
            for frame in video.frames():
                writer.write(frame.pixels, frame.pts, frame.sound)
            writer.add_sound(video.rest)
    seconds, levels = watched(copy)
    assert [at - seconds[0] for at in seconds] == pytest.approx([n / 10 for n in range(48)], abs=2e-3)
    assert levels == pytest.approx([brightness(number) for number in range(24)] * 2, abs=STEP / 2)
    if sound:
        assert len(packets_of_sound(copy)) == len(packets_of_sound(film))


def test_odd_sides_and_equal_times(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, ABOUT) as writer:
        for level in (50, 150):
            writer.write(np.full((31, 45, 3), level, np.uint8), 0)
        assert writer.written == 2
    seconds, levels = watched(path)
    assert seconds == pytest.approx([0, 0.001], abs=1e-4)
    assert levels == pytest.approx([50, 150], abs=3)


def test_what_ends_in_an_error_is_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"

    def interrupted() -> None:
        with VideoWriter(path, ABOUT) as writer:
            for number in range(7):
                writer.write(np.full((32, 48, 3), brightness(number), np.uint8), 100 * number)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(watched(path)[0]) == 7


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no/a\.mp4: cannot be written"):
        VideoWriter(tmp_path / "no" / "a.mp4", replace(ABOUT, name="a"))


def test_a_stream_that_changes_its_size_is_brought_to_the_first(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", ABOUT) as writer:
        for number, size in enumerate(((32, 48), (64, 48), (32, 48))):
            writer.write(np.full((*size, 3), brightness(number), np.uint8), 100 * number)
    assert watched(tmp_path / "a.mp4")[1] == pytest.approx([brightness(number) for number in range(3)], abs=STEP / 2)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", ABOUT)

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_add", full)
    with pytest.raises(DataError, match=r"a\.mp4: cannot be written further \(No space left on device\)"):
        writer.write(np.zeros((32, 48, 3), np.uint8), 0)
    writer.close()


def test_where_nothing_came_nothing_is_left(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", ABOUT):
        pass
    assert list(tmp_path.iterdir()) == []
