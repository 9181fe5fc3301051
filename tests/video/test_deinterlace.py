"""Interlaced videos."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from blitznet.core.arrays import RGBArray
from blitznet.video.color import BT709, LIMITED, ColorTags, from_rgb, read_tags
from blitznet.video.deinterlace import Deinterlacer
from blitznet.video.reader import open_video

HEIGHT, WIDTH = 64, 96
SPEED = 6
"""pixels that the edge moves from field to field"""


def moment(time: int) -> RGBArray:
    """A bright area whose edge moves to the right."""
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    image[:, : 10 + SPEED * time] = 200
    return image


def woven(index: int) -> RGBArray:
    """A frame of two moments in alternate rows, the upper row first."""
    image = moment(2 * index)
    image[1::2] = moment(2 * index + 1)[1::2]
    return image


def write(path: Path, count: int, *, interlaced: bool = True) -> Path:
    with av.open(str(path), "w") as container:
        flags = {"x264-params": "interlaced=1:tff=1"} if interlaced else {}
        stream = container.add_stream("libx264", rate=25, options={"crf": "4", **flags})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for index in range(count):
            frame = from_rgb(woven(index) if interlaced else moment(2 * index), ColorTags())
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def combing(image: RGBArray) -> float:
    """Mean difference of neighboring rows."""
    return float(np.abs(np.diff(image.astype(int), axis=0)).mean())


@pytest.mark.parametrize("count", [1, 2, 6])
def test_interlaced_frames_show_one_moment_each(count: int, tmp_path: Path) -> None:
    source = open_video(str(write(tmp_path / "x.mp4", count)))
    frames = list(source.frames())
    assert len(frames) == count
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(count) / 25, atol=1e-6)
    assert combing(woven(0)) > 5
    for index, frame in enumerate(frames if count > 1 else []):  # one frame alone has no motion to compare
        assert combing(frame.image) < 2, index
        moments = [moment(2 * index), moment(2 * index + 1)]
        assert min(np.abs(frame.image.astype(int) - image).mean() for image in moments) < 3


def test_progressive_frames_are_not_copied(tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / "x.mp4", 3, interlaced=False))) as container:
        deinterlacer = Deinterlacer()
        for frame in container.decode(video=0):
            assert list(deinterlacer.filter(frame)) == [frame]
        assert list(deinterlacer.flush()) == []


def test_frames_keep_their_colors_and_times(tmp_path: Path) -> None:
    deinterlacer = Deinterlacer()
    with av.open(str(write(tmp_path / "x.mp4", 4))) as container:
        frames = list(container.decode(video=0))
    for frame in frames:
        assert frame.interlaced_frame
        frame.colorspace, frame.color_range = BT709, LIMITED
    times = [(frame.pts, frame.time_base, frame.duration) for frame in frames]
    results = [result for frame in frames for result in deinterlacer.filter(frame)]
    results += deinterlacer.flush()
    assert [(frame.pts, frame.time_base, frame.duration) for frame in results] == times
    assert all((read_tags(frame).matrix, read_tags(frame).range) == (BT709, LIMITED) for frame in results)
    assert not any(frame.interlaced_frame for frame in results)


def test_a_stream_may_change_its_size(tmp_path: Path) -> None:
    deinterlacer = Deinterlacer()
    with av.open(str(write(tmp_path / "x.mp4", 2))) as container:
        frames = list(container.decode(video=0))
    small = [frame.reformat(width=48, height=32) for frame in frames]
    results = [result for frame in (*frames, *small) for result in deinterlacer.filter(frame)]
    results += deinterlacer.flush()
    assert [frame.width for frame in results] == [WIDTH, WIDTH, 48, 48]
