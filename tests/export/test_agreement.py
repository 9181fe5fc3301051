from dataclasses import replace

import numpy as np
import pytest

from blitznet.export.agreement import Agreement
from blitznet.postprocess.result import Result, Segmentation


def seen(*found: tuple[float, float, int], class_id: int = 0) -> Result:
    """Squares of 100 pixels: (left edge, score, label)."""
    return Result(
        boxes=np.array([(left, 0, left + 100, 100) for left, _, _ in found], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in found], np.float32),
        labels=np.array([label for _, _, label in found], np.int64),
        class_names=("cat", "dog"),
        size=(200, 400),
        segmentation=Segmentation.from_class_map(np.full((200, 400), class_id, np.uint8)),
    )


def agreement(*pairs: tuple[Result, Result]) -> Agreement:
    counted = Agreement()
    for one, other in pairs:
        counted.add(one, other)
    return counted


def test_differences_are_the_largest_of_all_images() -> None:
    counted = agreement(
        (seen((0, 0.9, 0)), seen((2, 0.89, 0))), (seen((0, 0.9, 1), (150, 0.5, 1)), seen((0, 0.9, 1), (150, 0.3, 1)))
    )
    assert counted.pixels == pytest.approx(2)
    assert counted.score == pytest.approx(0.2)
    assert counted.matched == counted.alike == 1


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (seen(), seen(), 1),
        (seen((0, 0.9, 0), (200, 0.9, 0)), seen((5, 0.9, 0), (206, 0.9, 0)), 0.5),  # IoU 0.905 and 0.887
        (seen((0, 0.31, 0)), seen((0, 0.29, 0)), 1),  # whatever the other's score
        (seen((0, 0.29, 0)), seen(), 1),  # not clear
        (seen((0, 0.9, 0)), seen((0, 0.9, 1)), 0),
        (seen((0, 0.9, 0)), seen((0, 0.9, 0), (200, 0.8, 0)), 0.5),  # one too many
    ],
    ids=["nothing", "places", "scores", "faint", "classes", "both ways"],
)
def test_clear_boxes_have_their_like(one: Result, other: Result, share: float) -> None:
    assert agreement((one, other)).matched == share
    assert agreement((other, one)).matched == share


def test_a_box_without_an_area_is_alike_where_it_is() -> None:
    flat = replace(seen((0, 0.9, 0)), boxes=np.array([[50, 0, 50, 80]], np.float32))
    moved = replace(flat, boxes=flat.boxes + np.float32(2))
    assert agreement((flat, flat)).matched == 1
    assert agreement((flat, moved)).matched == 0


def test_a_class_that_one_of_them_lacks() -> None:
    counted = agreement((seen((0, 0.2, 0)), seen((0, 0.2, 1))))
    assert counted.pixels == counted.score == np.inf
    assert agreement((seen((0, 0.09, 0)), seen((0, 0.09, 1)))).pixels == 0, "faint ones do not count"


def test_pixels_of_the_same_class() -> None:
    half = seen()
    other = np.zeros((200, 400), np.uint8)
    other[:100] = 1
    assert agreement((half, replace(half, segmentation=Segmentation.from_class_map(other)))).alike == 0.5
    assert agreement((half, replace(half, segmentation=Segmentation.from_class_map(other))), (half, half)).alike == 0.75
    assert agreement((half, replace(half, segmentation=None))).alike == 1
