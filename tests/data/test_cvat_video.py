"""Tracks of CVAT for video."""

from pathlib import Path

import pytest

from blitznet.core.errors import DataError
from blitznet.data.cvat import open_cvat
from support import synthetic_data

SIZE = "<original_size><width>80</width><height>64</height></original_size>"


def write(root: Path, *tracks: str, frames: int = 5, name: str = "frame_{:06d}.png", meta: str = SIZE) -> None:
    for frame in range(frames):
        synthetic_data.write_image(root / "images" / name.format(frame), synthetic_data.draw(1, size=(64, 80))[0])
    content = f"<annotations><meta><task><size>{frames}</size>{meta}</task></meta>{''.join(tracks)}</annotations>"
    (root / "annotations.xml").write_text(content)


def track(*shapes: str, label: str = "car", attributes: str = "") -> str:
    return f'<track id="0" label="{label}" {attributes}>{"".join(shapes)}</track>'


def box(frame: object, x: float, *, outside: int = 0) -> str:
    corners = f'xtl="{x}" ytl="10" xbr="{x + 20}" ybr="30"'
    return f'<box frame="{frame}" outside="{outside}" keyframe="1" {corners}/>'


def polygon(frame: int) -> str:
    return f'<polygon frame="{frame}" outside="0" keyframe="1" points="1,1;30,1;30,30"/>'


def left_sides(root: Path) -> list[list[float]]:
    """The left side of each box in each frame."""
    dataset = open_cvat(root, None, title="t")
    return [sorted(dataset[k].boxes[:, 0].tolist()) for k in range(len(dataset))]


def test_a_box_moves_between_keyframes_and_ends_outside(tmp_path: Path) -> None:
    write(tmp_path, track(box(0, 0), box(2, 20), box(3, 20, outside=1)))
    assert left_sides(tmp_path) == [[0], [10], [20], [], []]


def test_a_box_stays_until_it_is_outside_or_the_video_ends(tmp_path: Path) -> None:
    write(tmp_path, track(box(1, 5), box(3, 30, outside=1)), track(box(3, 7), label="bus"))
    assert left_sides(tmp_path) == [[], [5], [5], [7], [7]]
    dataset = open_cvat(tmp_path, None, title="t")
    assert dataset.class_names == ("bus", "car")
    assert not dataset.unlabeled  # a frame without a box is annotated


def test_frames_between_keyframes_of_polygons_are_not_annotated(tmp_path: Path) -> None:
    write(tmp_path, track(polygon(0), polygon(3)), track(box(0, 0), label="bus"))
    dataset = open_cvat(tmp_path, None, title="t")
    assert dataset.unlabeled == {1, 2}
    assert [len(dataset[k].boxes) for k in range(5)] == [2, 0, 0, 2, 2]


def test_images_of_other_names_are_frames_in_their_order(tmp_path: Path) -> None:
    write(tmp_path, track(box(1, 5), box(2, 5, outside=1)), name="shot{}.png", meta="")
    assert left_sides(tmp_path) == [[], [5], [], [], []]


def test_a_frame_without_an_image_is_missing(tmp_path: Path) -> None:
    write(tmp_path, track(box(7, 5)))
    dataset = open_cvat(tmp_path, None, title="t")
    assert dataset.image_paths[-1] == str(tmp_path / "images" / "frame_000007.png")
    with pytest.raises(DataError, match=r"frame_000007\.png"):
        dataset[5].image.size()


@pytest.mark.parametrize(
    ("tracks", "options", "message"),
    [
        ([track(box(0, 0))], {"frames": 0}, "expected images of the video's frames, got none"),
        ([track(box("x", 0))], {}, "expected the number of a frame, got x"),
        ([track(box("-1", 0))], {}, "expected the number of a frame, got -1"),
        ([track(box("9" * 30, 0))], {}, "expected the number of a frame"),
        (
            [track(attributes='task_id="1"'), track(attributes='task_id="2"')],
            {},
            "expected the tracks of one task, got several",
        ),
    ],
)
def test_broken_tracks_are_refused(tracks: list[str], options: dict[str, int], message: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    write(tmp_path, *tracks, frames=options.get("frames", 2))
    with pytest.raises(DataError, match=message):
        open_cvat(tmp_path, None, title="t")
