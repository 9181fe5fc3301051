"""Display matrices: how players turn and mirror the frames of a video, as phones and front cameras write them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from av.video.frame import VideoFrame

from blitznet.core.arrays import RGBArray

if TYPE_CHECKING:
    from av.buffer import Buffer


@dataclass(frozen=True, slots=True)
class Orientation:
    """What makes a frame upright: first rows become columns, then it is mirrored."""

    transposed: bool = False
    """whether rows become columns"""
    mirrored: bool = False
    """whether left and right are exchanged"""
    flipped: bool = False
    """whether top and bottom are exchanged"""


_ROTATIONS = (
    Orientation(),
    Orientation(transposed=True, flipped=True),
    Orientation(mirrored=True, flipped=True),
    Orientation(transposed=True, mirrored=True),
)
"""orientation of each number of quarter turns counterclockwise"""


def read_orientation(frame: VideoFrame) -> Orientation:
    """The orientation in a decoded frame's display matrix, to the nearest quarter turn."""
    try:
        data = cast("Buffer | None", frame.side_data.get("DISPLAYMATRIX"))
    except ValueError:  # the frame also has data of a type that PyAV does not know, such as the EXIF data of a JPEG
        return _ROTATIONS[round(frame.rotation / 90) % 4]
    if data is None:
        return Orientation()
    # x' = a x + c y and y' = b x + d y, from the coordinates of the stored frame to those of the upright one
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transposed=True, mirrored=c < 0, flipped=b < 0)
    return Orientation(mirrored=a < 0, flipped=d < 0)


def make_upright(image: RGBArray, orientation: Orientation) -> RGBArray:
    """A stored frame (H, W, 3) upright; the same array if it is upright."""
    if orientation == Orientation():
        return image
    upright = image.transpose(1, 0, 2) if orientation.transposed else image
    upright = upright[:, ::-1] if orientation.mirrored else upright
    return np.ascontiguousarray(upright[::-1] if orientation.flipped else upright)
