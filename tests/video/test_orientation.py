from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core.arrays import RGBArray
from blitznet.video.reader import open_video
from support.videos import write_display_matrix, write_frames

IMAGE = np.zeros((48, 64, 3), np.uint8)
IMAGE[:24, :32], IMAGE[:24, 32:], IMAGE[24:, :32] = 200, 130, 60


@pytest.mark.parametrize(
    ("orientation", "stored"), [(1, IMAGE), (3, np.rot90(IMAGE, 2)), (6, np.rot90(IMAGE)), (8, np.rot90(IMAGE, -1))]
)
def test_frames_with_exif_data_are_upright(orientation: int, stored: RGBArray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    with closing(open_video(str(tmp_path / "a.jpg"))) as video:
        (frame,) = video.frames()
    assert frame.image.shape == IMAGE.shape
    assert np.abs(frame.image.astype(int) - IMAGE).mean() < 4


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), IMAGE),
        ((0, 1, -1, 0), np.rot90(IMAGE, -1)),
        ((-1, 0, 0, -1), np.rot90(IMAGE, 2)),
        ((0, -1, 1, 0), np.rot90(IMAGE)),
        ((-1, 0, 0, 1), IMAGE[:, ::-1]),  # as of front cameras
        ((1, 0, 0, -1), IMAGE[::-1]),
        ((0, 1, 1, 0), IMAGE.transpose(1, 0, 2)),
        ((0, -1, -1, 0), np.rot90(IMAGE, 2).transpose(1, 0, 2)),
    ],
)
def test_turned_and_mirrored_videos_are_upright(
    matrix: tuple[int, int, int, int], upright: RGBArray, tmp_path: Path
) -> None:
    path = write_frames(tmp_path / "a.mp4", [IMAGE] * 2, sample_aspect_ratio=Fraction(4, 3))
    with closing(open_video(str(write_display_matrix(path, *matrix)))) as video:
        frame = next(video.frames())
        assert frame.image.flags.c_contiguous
        assert frame.image.shape == upright.shape
        assert np.abs(frame.image.astype(int) - upright).mean() < 4
        assert video.info.sample_aspect_ratio == Fraction(*((4, 3) if upright.shape == IMAGE.shape else (3, 4)))
