import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.metrics.bootstrap import unit_weights
from blitznet.metrics.evaluate import compute_scores
from blitznet.metrics.state import Accumulator, concatenate
from blitznet.report.eval_tables import unscored_lines
from support.metric_cases import NAMES, SIZE, random_case, result, sample, state_of


def test_concatenated_sets_equal_one_set() -> None:
    rng = np.random.default_rng(0)
    pairs = [random_case(rng, f"{n}") for n in range(9)]
    whole, joined = state_of(pairs), concatenate([state_of(pairs[:4]), state_of(pairs[4:])])
    assert joined.num_images == whole.num_images == 9
    assert joined.mask_images.tolist() == whole.mask_images.tolist()
    for name, value in whole.class_values(unit_weights(9)).items():
        np.testing.assert_array_equal(joined.class_values(unit_weights(9))[name], value)


def test_tasks_without_annotations_or_predictions_are_not_measured() -> None:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    without_boxes = sample("a", box_classes=[False] * 3, mask=mask)
    without_mask = sample("b", [(0, 0, 9, 9)], [0])
    accumulator = Accumulator(NAMES)
    accumulator.update(result([(0, 0, 9, 9)], [0], [0.9], class_map=mask), without_boxes)
    assert not accumulator.compute().has_boxes
    assert accumulator.compute().mask_images.tolist() == [0]
    accumulator.update(result(class_map=mask), without_mask)
    assert accumulator.compute().has_boxes
    assert accumulator.compute().mask_images.tolist() == [0]
    no_tasks = Accumulator(NAMES, detection=False, segmentation=False)
    no_tasks.update(result(class_map=mask), sample("c", [(0, 0, 9, 9)], [0], mask=mask))
    assert not no_tasks.compute().has_boxes
    assert not len(no_tasks.compute().confusions)


def test_predictions_of_other_classes_are_refused() -> None:
    message = r"7: expected a prediction of the data's 3 classes \(cat, dog, cow\), got 1 \(x\)"
    with pytest.raises(DataError, match=message):
        Accumulator(NAMES).update(result(names=("x",)), sample("7"))


def test_class_maps_of_another_size_are_refused() -> None:
    truth = sample("7", mask=np.zeros((4, 5), np.uint8))
    with pytest.raises(DataError, match=r"7: class map: expected \(4, 5\) as in the truth"):
        Accumulator(NAMES).update(result(class_map=np.zeros((SIZE, SIZE), np.uint8)), truth)


def test_detections_and_pixels_of_classes_without_annotations_are_counted() -> None:
    truth = np.zeros((SIZE, SIZE), np.uint8)
    truth[:4] = 1
    predicted = truth.copy()
    predicted[-2:] = 3
    image = sample("a", [(0, 0, 9, 9)], [0], mask=truth)
    boxes = [(0, 0, 9, 9)] * 4
    accumulator = Accumulator(NAMES)
    accumulator.update(result(boxes, [0, 2, 2, 2], [0.9, 0.8, 0.5, 0.4], class_map=predicted), image)
    scores = compute_scores("toy", accumulator.compute())
    assert scores.detection.without_objects == {NAMES[2]: 2}
    assert scores.segmentation.without_pixels == {NAMES[2]: pytest.approx(2 / SIZE)}
    assert len(unscored_lines(scores)) == 2
    assert scores.to_dict()["detection"]["without_objects"] == {NAMES[2]: 2}
    joined = concatenate([accumulator.compute()] * 2)
    assert compute_scores("toy", joined).detection.without_objects == {NAMES[2]: 4}
