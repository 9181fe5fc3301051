import resource
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.video.reader import VideoInfo, open_video
from blitznet.video.writer import VideoWriter, container_suffix
from support.videos import (
    STEP,
    audio_packets,
    brightness,
    concatenate,
    read_video,
    write_video,
    write_video_with_unknown_audio,
)

INFO = VideoInfo("x", live=False, time_base=Fraction(1, 1000), fps=Fraction(10))


@pytest.mark.parametrize(("audio", "suffix"), [(None, "mp4"), ("aac", "mp4"), ("mp3", "mp4"), ("aac", "mkv")])
def test_a_copy_has_the_same_times_and_audio(audio: str | None, suffix: str, tmp_path: Path) -> None:
    path, copy = write_video(tmp_path / f"a.{suffix}", audio=audio, gap=6), tmp_path / f"copy.{suffix}"
    with closing(open_video(str(path))) as video, VideoWriter(copy, video.info) as writer:
        assert container_suffix(video.info) == ".mp4"
        for frame in video.frames():
            writer.write(frame.image, frame.pts, frame.audio)
        writer.write_audio(video.trailing_audio)
    seconds, levels = read_video(copy)
    assert seconds == pytest.approx(read_video(path)[0], abs=1e-3)
    assert levels == pytest.approx([brightness(index) for index in range(12)], abs=STEP / 2)
    if audio:
        assert audio_packets(copy) == audio_packets(path)


def test_audio_that_mp4_does_not_hold_needs_matroska(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", audio="pcm_f32le")
    with closing(open_video(str(path))) as video:
        assert container_suffix(video.info) == ".mkv"


@pytest.mark.parametrize("audio", ["pcm_mulaw", "adpcm_ms", None])
def test_audio_that_no_container_holds_is_left_out(audio: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    source = write_video(path, audio=audio) if audio else write_video_with_unknown_audio(path)
    with closing(open_video(str(source))) as video:
        copy = tmp_path / f"copy{container_suffix(video.info)}"
        with VideoWriter(copy, video.info) as writer:
            assert writer.dropped_audio == (audio or "a codec unknown to FFmpeg",)
            for frame in video.frames():
                writer.write(frame.image, frame.pts, frame.audio)
            writer.write_audio(video.trailing_audio)
    assert copy.suffix == (".mkv" if audio else ".mp4")
    assert len(read_video(copy)[0]) == 12
    with av.open(str(copy)) as container:
        assert not container.streams.audio


@pytest.mark.parametrize("audio", [None, "aac", "mp2"])
def test_a_copy_of_concatenated_videos_is_continuous(audio: str | None, tmp_path: Path) -> None:
    part = write_video(tmp_path / "part.ts", frames=24, audio=audio)
    source = concatenate(tmp_path / "all.ts", part, part)
    with closing(open_video(str(source))) as video:
        copy = tmp_path / f"copy{container_suffix(video.info)}"
        with VideoWriter(copy, video.info) as writer:
            for frame in video.frames():
                writer.write(frame.image, frame.pts, frame.audio)
            writer.write_audio(video.trailing_audio)
    seconds, levels = read_video(copy)
    assert [time - seconds[0] for time in seconds] == pytest.approx([n / 10 for n in range(48)], abs=2e-3)
    assert levels == pytest.approx([brightness(index) for index in range(24)] * 2, abs=STEP / 2)
    if audio:
        assert len(audio_packets(copy)) == len(audio_packets(source))


def test_odd_sizes_and_equal_times(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, INFO) as writer:
        for level in (50, 150):
            writer.write(np.full((31, 45, 3), level, np.uint8), 0)
        assert writer.frame_count == 2
    seconds, levels = read_video(path)
    assert seconds == pytest.approx([0, 0.001], abs=1e-4)
    assert levels == pytest.approx([50, 150], abs=3)


def test_an_interrupted_video_is_playable(tmp_path: Path) -> None:
    path = tmp_path / "interrupted.mp4"

    def write_until_interrupt() -> None:
        with VideoWriter(path, INFO) as writer:
            for index in range(7):
                writer.write(np.full((32, 48, 3), brightness(index), np.uint8), 100 * index)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_until_interrupt()
    assert len(read_video(path)[0]) == 7


def test_an_unwritable_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no/a\.mp4: cannot be written"):
        VideoWriter(tmp_path / "no" / "a.mp4", replace(INFO, name="a"))


def test_frames_of_another_size_are_resized(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", INFO) as writer:
        for index, size in enumerate(((32, 48), (64, 96), (32, 50))):
            writer.write(np.full((*size, 3), brightness(index), np.uint8), 100 * index)
    assert read_video(tmp_path / "a.mp4")[1] == pytest.approx([brightness(index) for index in range(3)], abs=STEP / 2)


@pytest.mark.parametrize(
    ("size", "inside"), [((64, 48), np.s_[:, 12:36]), ((16, 48), np.s_[8:24]), ((2, 200), np.s_[15:16])]
)
def test_frames_of_another_shape_have_bars(size: tuple[int, int], inside: Any, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", INFO) as writer:
        for index, shape in enumerate(((32, 48), size)):
            writer.write(np.full((*shape, 3), 200, np.uint8), 100 * index)
    with closing(open_video(str(tmp_path / "a.mp4"))) as video:
        image = [frame.image for frame in video.frames()][1].astype(float)
    assert image[inside].mean() > 100
    image[inside] = np.nan
    assert np.nanmean(image) < 25


@pytest.mark.parametrize("size", [(16, 16_386), (20_001, 2)])
def test_frames_that_are_too_large_for_the_encoder_are_an_error(size: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected frames of at most 16,384 pixels a side, got"):  # noqa: SIM117
        with VideoWriter(tmp_path / "a.mp4", INFO) as writer:
            writer.write(np.zeros((*size, 3), np.uint8), 0)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", INFO)

    def raise_disk_full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_write_audio", raise_disk_full)
    with pytest.raises(DataError, match=r"a\.mp4: cannot be written further \(No space left on device\)"):
        writer.write(np.zeros((32, 48, 3), np.uint8), 0)
    writer.close()


def test_a_video_without_frames_is_deleted(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", INFO):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_late_start_becomes_zero_for_video_and_audio(tmp_path: Path) -> None:
    source, copy = tmp_path / "late.ts", tmp_path / "copy.mp4"
    part = write_video(tmp_path / "a.ts", audio="aac", frames=20)
    with av.open(str(part)) as piece, av.open(str(source), "w", options={"output_ts_offset": "5000"}) as late:
        streams = {stream.index: late.add_stream_from_template(stream) for stream in piece.streams}
        for packet in piece.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                late.mux(packet)
    with closing(open_video(str(source))) as video, VideoWriter(copy, video.info) as writer:
        frames = list(video.frames())
        assert frames[0].pts * video.info.time_base > 5000
        for frame in frames:
            writer.write(frame.image, frame.pts, frame.audio)
        writer.write_audio(video.trailing_audio)
    assert read_video(copy)[0] == pytest.approx([index / 10 for index in range(20)], abs=2e-3)
    with av.open(str(copy)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(2, abs=0.1)
        first = next(packet for packet in container.demux(audio=0) if packet.pts is not None)
        assert first.pts is not None
        assert abs(float(first.pts * first.time_base)) < 0.1


@pytest.mark.parametrize("ratio", [Fraction(64, 45), Fraction(1)])
def test_pixels_keep_their_shape(ratio: Fraction, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a:b.mp4", replace(INFO, sample_aspect_ratio=ratio)) as writer:
        writer.write(np.zeros((32, 48, 3), np.uint8), 0)
    with closing(open_video(str(tmp_path / "a:b.mp4"))) as video:
        assert video.info.sample_aspect_ratio == ratio


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_file_that_grows_can_be_played(suffix: str, tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / f"a.{suffix}", INFO)
    for index in range(120):
        writer.write(np.full((32, 48, 3), brightness(index), np.uint8), 100 * index)
    copy = tmp_path / f"copy.{suffix}"
    copy.write_bytes(writer.path.read_bytes())  # what a killed process leaves
    writer.close()
    with closing(open_video(str(copy))) as video:
        assert len(list(video.frames())) >= 20
    assert len(read_video(writer.path)[0]) == 120


def test_what_fits_on_a_full_disk_can_be_played(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = VideoWriter(tmp_path / "a.mp4", INFO)

    def fill() -> None:
        with writer:
            for index in range(200):
                writer.write(random.integers(0, 255, (96, 128, 3), np.uint8), 100 * index)

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
        with pytest.raises(DataError, match=r"a\.mp4: cannot be written further \(File too large\)"):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with closing(open_video(str(writer.path))) as video:
        assert len(list(video.frames())) >= 20
