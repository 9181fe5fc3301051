import json

import numpy as np
import pytest

from blitznet.integrations.fiftyone import to_fiftyone_detections, to_fiftyone_labels
from support.results import EMPTY, RESULTS


def test_fiftyone_boxes_are_fractions_of_the_image() -> None:
    result = RESULTS[0]
    entries = to_fiftyone_detections(result)
    assert [entry["label"] for entry in entries] == [result.class_names[label] for label in result.labels]
    assert [entry["confidence"] for entry in entries] == pytest.approx(result.scores.tolist(), abs=1e-4)
    boxes = np.asarray([entry["bounding_box"] for entry in entries]) * (50, 40, 50, 40)
    boxes[:, 2:] += boxes[:, :2]
    np.testing.assert_allclose(boxes, result.boxes, atol=1e-3)


def test_fiftyone_labels_are_listed_by_image() -> None:
    images = [(name, to_fiftyone_detections(result)) for name, result in (("a", RESULTS[0]), ("b", EMPTY))]
    content = json.loads(json.dumps(to_fiftyone_labels(images, RESULTS[0].class_names)))
    assert list(content) == ["classes", "labels"]
    assert [len(content["labels"][name]) for name in ("a", "b")] == [len(RESULTS[0]), 0]
