import numpy as np

from blitznet.integrations.supervision import to_supervision
from support.results import EMPTY, RESULTS


def test_supervision_has_boxes_scores_and_names() -> None:
    result = RESULTS[0]
    detections = to_supervision(result)
    np.testing.assert_array_equal(detections.xyxy, result.boxes)
    assert detections.confidence is not None
    assert detections.class_id is not None
    assert detections.confidence.tolist() == result.scores.tolist()
    assert detections.class_id.tolist() == result.labels.tolist()
    assert list(detections.data["class_name"]) == [result.class_names[label] for label in result.labels]
    assert detections.mask is None


def test_supervision_masks_are_the_instance_masks() -> None:
    result = RESULTS[0]
    detections = to_supervision(result, masks=True)
    assert detections.mask is not None
    assert detections.mask.shape == (len(result), *result.size)
    for index in range(len(result)):
        np.testing.assert_array_equal(detections.mask[index], result.instances().mask(index))


def test_supervision_of_an_empty_result_is_empty() -> None:
    assert len(to_supervision(EMPTY)) == 0
    assert len(to_supervision(EMPTY, masks=True)) == 0
