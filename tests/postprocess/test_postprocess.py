from dataclasses import replace

import numpy as np
import pytest

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import Floats
from blitznet.core.errors import ModelError
from blitznet.core.outputs import Outputs
from blitznet.core.spec import PostprocessConfig
from blitznet.postprocess.decode import decode_detections
from blitznet.postprocess.postprocess import postprocess
from support.fake_engines import ANCHORS, SPEC, random_outputs


def test_boxes_are_decoded_in_pixels() -> None:
    logits = np.full((1, len(ANCHORS), 4), [9, 0, 0, 0], np.float32)
    logits[0, 7] = [0, 0, 9, 0]
    offsets = np.zeros((1, len(ANCHORS), 4), np.float32)
    result = postprocess(Outputs(offsets, logits, None), 0, SPEC, size=(200, 100))
    x, y, w, h = ANCHORS[7]
    expected = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, 1) * [100, 200, 100, 200]
    np.testing.assert_allclose(result.boxes, [expected], rtol=1e-6)
    assert result.boxes.dtype == np.float32
    assert [result.class_names[label] for label in result.labels] == ["dog"]


def test_infinite_box_is_clipped() -> None:
    offsets = np.full((1, len(ANCHORS), 4), [0, 0, 1e4, 1e4], np.float32)
    result = postprocess(equal_scores(offsets), 0, SPEC, size=(20, 10), config=PostprocessConfig(max_detections=1))
    assert result.boxes.tolist() == [[0, 0, 10, 20]]


def equal_scores(offsets: Floats) -> Outputs:
    return Outputs(offsets, np.zeros((1, len(ANCHORS), 4), np.float32), None)


@pytest.mark.parametrize(
    ("logits", "config"),
    [
        (np.full((102, 4), [9, 0, 0, 0], np.float32), PostprocessConfig()),
        (np.full((102, 4), np.nan, np.float32), PostprocessConfig()),
        (np.zeros((102, 4), np.float32), PostprocessConfig(score_threshold=1.0)),
        (np.zeros((102, 4), np.float32), PostprocessConfig(max_per_class=0)),
    ],
    ids=["background", "not a number", "threshold of 1", "none per class"],
)
def test_no_detections(logits: Floats, config: PostprocessConfig) -> None:
    result = postprocess(
        Outputs(np.zeros((1, 102, 4), np.float32), logits[None], None), 0, SPEC, size=(9, 7), config=config
    )
    assert len(result) == 0
    assert result.class_map is None


def test_models_with_one_task() -> None:
    outputs = random_outputs()
    boxes_only = postprocess(replace(outputs, segmentation_logits=None), 0, SPEC, size=(9, 7))
    map_only = postprocess(replace(outputs, offsets=None, logits=None), 0, SPEC, size=(9, 7))
    assert len(boxes_only) > 0
    assert boxes_only.class_map is None
    assert len(map_only) == 0
    assert map_only.class_map is not None
    assert postprocess(outputs, 0, SPEC, size=(9, 7), class_map=False).class_map is None


def test_each_image_of_a_batch_has_its_own_result() -> None:
    outputs = random_outputs(3)
    assert outputs.offsets is not None
    assert outputs.logits is not None
    for i in range(3):
        result = postprocess(outputs, i, SPEC, size=(1, 1))
        boxes, scores, labels = decode_detections(
            outputs.offsets[i], outputs.logits[i], ANCHORS, SPEC, SPEC.postprocess
        )
        np.testing.assert_array_equal(result.boxes, boxes)
        np.testing.assert_array_equal(result.scores, scores)
        np.testing.assert_array_equal(result.labels, labels)


def test_anchors_follow_the_input_size() -> None:
    count = len(generate_anchors(SPEC.anchors, feature_map_sizes(SPEC.anchors, (96, 80))))
    logits = np.zeros((1, count, 4), np.float32)
    outputs = Outputs(np.zeros((1, count, 4), np.float32), logits, None)
    assert len(postprocess(outputs, 0, SPEC, size=(9, 7), input_size=(96, 80))) > 0
    with pytest.raises(ModelError, match=rf"^small: expected outputs for 102 anchors of a 48x64 input, got {count}; "):
        postprocess(outputs, 0, SPEC, size=(9, 7))
