from dataclasses import replace

import numpy as np

from blitznet.integrations.supervision import to_supervision
from blitznet.postprocess.result import Result, Segmentation

RESULT = Result(
    boxes=np.array([[1, 2, 11, 12], [5, 5, 15, 19]], np.float32),
    scores=np.array([0.9, 0.4], np.float32),
    labels=np.array([2, 0]),
    class_names=("cat", "dog", "person"),
    size=(20, 30),
    segmentation=Segmentation.from_class_map(np.pad(np.full((8, 8), 3, np.uint8), ((3, 9), (2, 20)))),
)


def test_boxes_scores_and_names() -> None:
    found = to_supervision(RESULT)
    np.testing.assert_array_equal(found.xyxy, RESULT.boxes)
    assert found.confidence is not None
    assert found.class_id is not None
    assert found.confidence.tolist() == RESULT.scores.tolist()
    assert found.class_id.tolist() == [2, 0]
    assert list(found.data["class_name"]) == ["person", "cat"]
    assert found.mask is None


def test_masks_are_those_of_the_instances() -> None:
    found = to_supervision(RESULT, masks=True)
    assert found.mask is not None
    assert found.mask.shape == (2, 20, 30)
    for index in range(2):
        np.testing.assert_array_equal(found.mask[index], RESULT.instances().mask(index))


def test_nothing() -> None:
    assert len(to_supervision(RESULT.filter(min_score=0.95))) == 0
    assert len(to_supervision(replace(RESULT.filter(min_score=0.95)), masks=True)) == 0
