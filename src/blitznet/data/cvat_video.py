"""Tracks of "CVAT for video 1.1" as elements of "CVAT for images 1.1", one image for each frame."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from blitznet.core.errors import DataError, shown
from blitznet.core.image import IMAGE_SUFFIXES, ImageSource
from blitznet.data.annotation_files import require_numbers
from blitznet.data.dataset import files_by_name

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

UNKNOWN = "unknown"
"""attribute of an image element whose objects are not known"""
_FRAME_NAME = re.compile(r"frame_0*([0-9]{1,9})")
_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_NO_GAPS = frozenset({"points", "polyline", "skeleton", "cuboid"})
"""shapes without an area: a frame that lacks them lacks nothing"""


def has_tracks(tree: "Element") -> bool:
    """Whether an XML file contains tracks of a video."""
    return next(tree.iter("track"), None) is not None


def frame_elements(tree: "Element", path: Path) -> list["Element"]:
    """The frames of a video as image elements with the shapes of all tracks.

    CVAT lists the shape of each frame. Where a file lists keyframes only, boxes are interpolated linearly, and the
    frames between other shapes have the attribute `UNKNOWN`. A shape stays until the next one, or one that is outside.

    Args:
        tree: The XML file.
        path: Its path; images are beside it or in `images`, named `frame_000000.png` or in the order of the frames.

    Raises:
        DataError: There are no images of frames, tracks of several tasks, or a frame that is no number.
    """
    if len({track.get("task_id") for track in tree.iter("track")}) > 1:
        raise DataError(f"{path}: expected the tracks of one task, got several; export each task")
    folder = path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    names = _frame_names(folder, tree.findtext(".//size"))
    if not names:
        raise DataError(
            f"{path}: expected images of the video's frames, got none; export the task with images, or write them with "
            "`ffmpeg -i VIDEO -start_number 0 images/frame_%06d.png`"
        )
    shapes: dict[int, list[Element]] = defaultdict(list)
    unknown: set[int] = set()
    for track in tree.iter("track"):
        for frame, shape in _track_shapes(track, sorted(names), path):
            if shape is None:
                unknown.add(frame)
            else:
                shapes[frame].append(shape)
    size = tree.find(".//original_size")
    elements = []
    for frame in sorted({*names, *shapes}):
        name = names.get(frame, f"frame_{frame:06d}.png")
        image = tree.makeelement("image", {"name": name, **_size(size, folder / name)})
        if frame in unknown:
            image.set(UNKNOWN, "1")
        image.extend(shapes[frame])
        elements.append(image)
    return elements


def _frame_names(folder: Path, count: str | None) -> dict[int, str]:
    """Frame -> name of its image; images of other names are in the order of the frames if none is missing."""
    paths = [path for paths in files_by_name(folder, IMAGE_SUFFIXES).values() for path in paths]
    names = [path.relative_to(folder).as_posix() for path in paths]
    matches = {int(match[1]): name for name in names if (match := _FRAME_NAME.fullmatch(Path(name).stem))}
    return matches or (dict(enumerate(sorted(names))) if count == str(len(names)) else {})


def _size(size: "Element | None", image: Path) -> Mapping[str, str]:
    """Attributes of the size that the file states for all frames, else that of the image."""
    if size is not None:
        return {"width": size.findtext("width", ""), "height": size.findtext("height", "")}
    try:
        height, width = ImageSource(image).size()
    except DataError:
        return {}  # an error when the image is read
    return {"width": str(width), "height": str(height)}


def _track_shapes(track: "Element", frames: Sequence[int], path: Path) -> Iterator[tuple[int, "Element | None"]]:
    """Each frame that a track is visible in, and its shape there; None if the shape is not known."""
    keyframes = sorted(
        ((_frame_number(shape, path), shape) for shape in track if shape.get("frame") is not None),
        key=lambda keyframe: keyframe[0],
    )
    end: tuple[int, Element | None] = (frames[-1] + 1, None)
    for (frame, shape), (next_frame, following) in pairwise([*keyframes, end]):
        assert shape is not None, "only the end has none"
        if shape.get("outside") == "1":
            continue
        shape.set("label", track.get("label", ""))
        yield frame, shape
        moves = following is not None and following.get("outside") != "1"
        for between in frames[bisect_left(frames, frame + 1) : bisect_left(frames, next_frame)]:
            if not moves:
                yield between, shape
            elif shape.tag == "box" and following is not None:
                yield between, _interpolated(shape, following, (between - frame) / (next_frame - frame), path)
            elif shape.tag not in _NO_GAPS:
                yield between, None


def _frame_number(shape: "Element", path: Path) -> int:
    text = shape.get("frame", "")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise DataError(f"{path}: expected the number of a frame, got {shown(text)}")
    return int(text)


def _interpolated(shape: "Element", following: "Element", fraction: float, path: Path) -> "Element":
    """The box between two boxes; that of a shape whose track goes on as another shape stays."""
    if following.tag != "box":
        return shape
    first, second = (
        require_numbers([box.get(key) for key in _CORNERS], str(path), "a box") for box in (shape, following)
    )
    corners = {key: str(a + (b - a) * fraction) for key, a, b in zip(_CORNERS, first, second, strict=True)}
    return shape.makeelement("box", {**shape.attrib, **corners})
