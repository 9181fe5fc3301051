from contextlib import closing
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from blitznet.core.arrays import RGBArray
from blitznet.video.color import BT601, BT709, BT2020, FULL, LIMITED, ColorTags, default_tags
from blitznet.video.reader import open_video
from blitznet.video.writer import VideoWriter
from support.videos import write_frames

PQ, HLG = 16, 18
COLORS = ((0, 255, 0), (255, 0, 0), (0, 0, 255), (200, 120, 40), (90, 90, 90), (255, 255, 255))


def bars(height: int, width: int) -> RGBArray:
    """Six bars of `COLORS`."""
    image = np.zeros((height, width, 3), np.uint8)
    for index, color in enumerate(COLORS):
        image[:, index * width // 6 : (index + 1) * width // 6] = color
    return image


def centers(image: RGBArray) -> list[list[int]]:
    """The color in the middle of each bar."""
    height, width = image.shape[:2]
    return [image[height // 2, (2 * index + 1) * width // 12].tolist() for index in range(6)]


def copy_video(source: Path, target: Path) -> None:
    with closing(open_video(str(source))) as video, VideoWriter(target, video.info) as writer:
        for frame in video.frames():
            writer.write(frame.image, frame.pts)


def tags_of(path: Path) -> ColorTags:
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        return ColorTags(
            int(codec.colorspace), int(codec.color_range), int(codec.color_primaries), int(codec.color_trc)
        )


@pytest.mark.parametrize(
    "tags",
    [
        ColorTags(BT709, LIMITED, BT709, BT709),
        ColorTags(BT709, FULL, BT709, BT709),
        ColorTags(BT601, LIMITED, 6, 6),
        ColorTags(BT601, FULL, 5, 6),
        ColorTags(BT2020, LIMITED, BT2020, 14),
    ],
)
@pytest.mark.parametrize("size", [(96, 192), (96, 1344)])
def test_a_copy_keeps_tags_and_colors(tags: ColorTags, size: tuple[int, int], tmp_path: Path) -> None:
    source, copy = write_frames(tmp_path / "a.mp4", [bars(*size)] * 2, tags=tags), tmp_path / "copy.mp4"
    with closing(open_video(str(source))) as video:
        assert centers(next(video.frames()).image) == [pytest.approx(color, abs=6) for color in COLORS]
    copy_video(source, copy)
    assert tags_of(copy) == tags
    with closing(open_video(str(copy))) as video:
        assert centers(next(video.frames()).image) == [pytest.approx(color, abs=8) for color in COLORS]


@pytest.mark.parametrize(("size", "matrix"), [((576, 720), BT601), ((720, 1280), BT709), ((1080, 1440), BT709)])
def test_untagged_videos_have_the_matrix_that_players_assume(size: tuple[int, int], matrix: int) -> None:
    assert default_tags(*size) == ColorTags(matrix, LIMITED)


@pytest.mark.parametrize("size", [(96, 192), (96, 1344)])
def test_a_copy_of_an_untagged_video_has_its_luma(size: tuple[int, int], tmp_path: Path) -> None:
    untagged, copy = write_frames(tmp_path / "a.mp4", [bars(*size)] * 2), tmp_path / "copy.mp4"
    assert tags_of(untagged).matrix == 2
    copy_video(untagged, copy)
    assert tags_of(copy).matrix == default_tags(*size).matrix
    planes = []
    for path in (untagged, copy):
        with av.open(str(path)) as container:
            planes.append(next(container.decode(video=0)).to_ndarray(format="yuv420p").astype(int))
    assert abs(planes[0] - planes[1]).mean() < 2.5


@pytest.mark.parametrize(
    ("codec", "pixel_format", "suffix"),
    [("png", "rgba", "mov"), ("qtrle", "argb", "mov"), ("prores_ks", "yuva444p10le", "mov"), ("ffv1", "bgra", "mkv")],
)
def test_transparent_pixels_are_blended_with_white(codec: str, pixel_format: str, suffix: str, tmp_path: Path) -> None:
    rgba = np.zeros((48, 64, 4), np.uint8)
    rgba[:, :32] = (200, 40, 40, 255)
    with av.open(str(tmp_path / f"a.{suffix}"), "w") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=10))
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixel_format
        frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=pixel_format)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with closing(open_video(str(tmp_path / f"a.{suffix}"))) as video:
        image = next(video.frames()).image
    assert image[24, 16] == pytest.approx((200, 40, 40), abs=4)
    assert image[24, 48] == pytest.approx((255, 255, 255), abs=1)


@pytest.mark.parametrize(("transfer", "white"), [(PQ, 0.58), (HLG, 0.75)])
def test_hdr_becomes_sdr(transfer: int, white: float, tmp_path: Path) -> None:
    ramp = np.zeros((96, 192, 3), np.uint8)
    for index, level in enumerate((0.0, 0.25, 0.5, 0.75, 1.0, 0.4)):
        ramp[:, 32 * index : 32 * (index + 1)] = round(255 * white * level)
    tags = ColorTags(BT2020, LIMITED, BT2020, transfer)
    source, copy = write_frames(tmp_path / "a.mp4", [ramp] * 2, tags=tags), tmp_path / "copy.mp4"
    copy_video(source, copy)
    assert tags_of(copy) == ColorTags(BT709, LIMITED, BT709, BT709)
    with closing(open_video(str(copy))) as video:
        levels = [color[1] for color in centers(next(video.frames()).image)]
    assert levels[0] < 8
    assert levels[:5] == sorted(levels[:5])
    assert 170 < levels[4] <= 255  # diffuse white is near white, where the plain values are at 58 and 75 percent
    assert all(np.ptp(color) < 8 for color in centers(np.array(ramp)))
