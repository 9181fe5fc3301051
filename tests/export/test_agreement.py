from dataclasses import replace

import numpy as np
import pytest

from blitznet.export.agreement import Agreement
from blitznet.postprocess.result import Result, Segmentation


def make_result(*detections: tuple[float, float, int], class_id: int = 0) -> Result:
    """Squares of 100 pixels: (left edge, score, label)."""
    return Result(
        boxes=np.array([(left, 0, left + 100, 100) for left, _, _ in detections], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in detections], np.float32),
        labels=np.array([label for _, _, label in detections], np.int64),
        class_names=("cat", "dog"),
        size=(200, 400),
        segmentation=Segmentation.from_class_map(np.full((200, 400), class_id, np.uint8)),
    )


def agreement_of(*pairs: tuple[Result, Result]) -> Agreement:
    agreement = Agreement()
    for a, b in pairs:
        agreement.add(a, b)
    return agreement


def test_differences_are_the_largest_of_all_images() -> None:
    agreement = agreement_of(
        (make_result((0, 0.9, 0)), make_result((2, 0.89, 0))),
        (make_result((0, 0.9, 1), (150, 0.5, 1)), make_result((0, 0.9, 1), (150, 0.3, 1))),
    )
    assert agreement.max_box_difference == pytest.approx(2)
    assert agreement.max_score_difference == pytest.approx(0.2)
    assert agreement.matched_detections == agreement.equal_pixels == 1


@pytest.mark.parametrize(
    ("a", "b", "fraction"),
    [
        (make_result(), make_result(), 1),
        # IoU 0.905 and 0.887
        (make_result((0, 0.9, 0), (200, 0.9, 0)), make_result((5, 0.9, 0), (206, 0.9, 0)), 0.5),
        (make_result((0, 0.31, 0)), make_result((0, 0.29, 0)), 1),  # a match may have any score
        (make_result((0, 0.29, 0)), make_result(), 1),  # below the minimum score
        (make_result((0, 0.9, 0)), make_result((0, 0.9, 1)), 0),
        (make_result((0, 0.9, 0)), make_result((0, 0.9, 0), (200, 0.8, 0)), 0.5),  # a detection more
    ],
    ids=["nothing", "boxes", "scores", "low score", "classes", "both directions"],
)
def test_matched_detections(a: Result, b: Result, fraction: float) -> None:
    assert agreement_of((a, b)).matched_detections == fraction
    assert agreement_of((b, a)).matched_detections == fraction


def test_a_box_without_an_area_matches_itself() -> None:
    flat = replace(make_result((0, 0.9, 0)), boxes=np.array([[50, 0, 50, 80]], np.float32))
    moved = replace(flat, boxes=flat.boxes + np.float32(2))
    assert agreement_of((flat, flat)).matched_detections == 1
    assert agreement_of((flat, moved)).matched_detections == 0


def test_a_class_that_only_one_result_has() -> None:
    agreement = agreement_of((make_result((0, 0.2, 0)), make_result((0, 0.2, 1))))
    assert agreement.max_box_difference == agreement.max_score_difference == np.inf
    low = agreement_of((make_result((0, 0.09, 0)), make_result((0, 0.09, 1))))
    assert low.max_box_difference == 0, "detections with low scores are not compared"


def test_equal_pixels() -> None:
    background = make_result()
    class_map = np.zeros((200, 400), np.uint8)
    class_map[:100] = 1
    half = replace(background, segmentation=Segmentation.from_class_map(class_map))
    assert agreement_of((background, half)).equal_pixels == 0.5
    assert agreement_of((background, half), (background, background)).equal_pixels == 0.75
    assert agreement_of((background, replace(background, segmentation=None))).equal_pixels == 1
