from dataclasses import replace

import numpy as np
import pytest

from blitznet.core.anchors import grids, make_anchors
from blitznet.core.arrays import Floats
from blitznet.core.errors import ModelError
from blitznet.core.result import Outputs
from blitznet.core.spec import Limits
from blitznet.runtime.detect import detections
from blitznet.runtime.finish import finish
from runtime.fakes import ANCHORS, SPEC, random_outputs


def test_the_worked_value_of_decoding_in_pixels() -> None:
    logits = np.full((1, len(ANCHORS), 4), [9, 0, 0, 0], np.float32)
    logits[0, 7] = [0, 0, 9, 0]
    offsets = np.zeros((1, len(ANCHORS), 4), np.float32)
    result = finish(Outputs(offsets, logits, None), 0, SPEC, size=(200, 100))
    x, y, w, h = ANCHORS[7]
    wanted = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, 1) * [100, 200, 100, 200]
    np.testing.assert_allclose(result.boxes, [wanted], rtol=1e-6)
    assert result.boxes.dtype == np.float32
    assert [result.names[label] for label in result.labels] == ["dog"]


def test_an_endless_box_is_clipped() -> None:
    offsets = np.full((1, len(ANCHORS), 4), [0, 0, 1e4, 1e4], np.float32)
    result = finish(replace_logits(offsets), 0, SPEC, size=(20, 10), limits=Limits(per_image=1))
    assert result.boxes.tolist() == [[0, 0, 10, 20]]


def replace_logits(offsets: Floats) -> Outputs:
    return Outputs(offsets, np.zeros((1, len(ANCHORS), 4), np.float32), None)


@pytest.mark.parametrize(
    ("logits", "limits"),
    [
        (np.full((102, 4), [9, 0, 0, 0], np.float32), Limits()),
        (np.full((102, 4), np.nan, np.float32), Limits()),
        (np.zeros((102, 4), np.float32), Limits(score=1.0)),
        (np.zeros((102, 4), np.float32), Limits(per_class=0)),
    ],
    ids=["background", "not a number", "limit of 1", "none kept"],
)
def test_nothing_found(logits: Floats, limits: Limits) -> None:
    result = finish(Outputs(np.zeros((1, 102, 4), np.float32), logits[None], None), 0, SPEC, size=(9, 7), limits=limits)
    assert len(result) == 0
    assert result.class_map is None


def test_a_task_that_was_not_asked_for() -> None:
    outputs = random_outputs()
    boxes_only = finish(replace(outputs, class_map=None), 0, SPEC, size=(9, 7))
    map_only = finish(replace(outputs, offsets=None, logits=None), 0, SPEC, size=(9, 7))
    assert len(boxes_only) > 0
    assert boxes_only.class_map is None
    assert len(map_only) == 0
    assert map_only.class_map is not None
    assert finish(outputs, 0, SPEC, size=(9, 7), class_map=False).class_map is None


def test_each_image_of_a_batch_has_its_own() -> None:
    outputs = random_outputs(3)
    assert outputs.offsets is not None
    assert outputs.logits is not None
    for i in range(3):
        result = finish(outputs, i, SPEC, size=(1, 1))
        boxes, scores, labels = detections(outputs.offsets[i], outputs.logits[i], ANCHORS, SPEC, SPEC.limits)
        np.testing.assert_array_equal(result.boxes, boxes)
        np.testing.assert_array_equal(result.scores, scores)
        np.testing.assert_array_equal(result.labels, labels)


def test_anchors_are_those_of_the_size_that_was_fed() -> None:
    count = len(make_anchors(SPEC.anchors, grids(SPEC.anchors, (96, 80))))
    logits = np.zeros((1, count, 4), np.float32)
    outputs = Outputs(np.zeros((1, count, 4), np.float32), logits, None)
    assert len(finish(outputs, 0, SPEC, size=(9, 7), fed=(96, 80))) > 0
    with pytest.raises(ModelError, match=rf"small: its contract lays 102 anchors over 48x64 pixels, .* for {count}"):
        finish(outputs, 0, SPEC, size=(9, 7))
