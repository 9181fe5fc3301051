"""collate: shapes, image indices, types, memory layout."""

from dataclasses import replace

import numpy as np
import torch

from blitznet.core.arrays import IGNORE_INDEX
from blitznet.core.sample import ANY_CLASS
from blitznet.data.train_sample import TrainSample
from blitznet.train.batch import collate, drop_unpredicted
from support import tiny_models


def make_sample(name: str, objects: int, *, classes: int = 3) -> TrainSample:
    rng = np.random.default_rng(objects)
    return TrainSample(
        id=name,
        image=rng.integers(0, 256, (6, 8, 3), np.uint8),
        boxes=rng.random((objects, 4), np.float32),
        labels=rng.integers(0, classes, objects),
        crowd=rng.random(objects) < 0.5,
        class_map=np.full((3, 4), IGNORE_INDEX, np.uint8),
        annotated_box_classes=np.ones(classes, bool),
        annotated_mask_classes=np.zeros(classes, bool),
    )


def test_collate_lists_objects_with_their_image() -> None:
    samples = [make_sample("a", 2), make_sample("b", 0), make_sample("c", 3)]
    batch = collate(samples)
    assert len(batch) == 3
    assert batch.ids == ("a", "b", "c")
    assert batch.image_index.tolist() == [0, 0, 2, 2, 2]
    for image in range(3):
        own = batch.image_index == image
        np.testing.assert_array_equal(batch.boxes[own], samples[image].boxes)
        np.testing.assert_array_equal(batch.labels[own], samples[image].labels)
        np.testing.assert_array_equal(batch.crowd[own], samples[image].crowd)
        np.testing.assert_array_equal(batch.images[image].permute(1, 2, 0), samples[image].image)


def test_collate_keeps_types_and_shapes() -> None:
    batch = collate([make_sample("a", 0), make_sample("b", 0)])
    assert (batch.images.dtype, batch.images.shape) == (torch.uint8, (2, 3, 6, 8))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.boxes.dtype, batch.boxes.shape) == (torch.float32, (0, 4))
    assert (batch.labels.dtype, batch.image_index.dtype) == (torch.int64, torch.int64)
    assert (batch.crowd.dtype, batch.crowd.shape) == (torch.bool, (0,))
    assert (batch.class_map.dtype, batch.class_map.shape) == (torch.uint8, (2, 3, 4))
    assert (batch.box_classes.dtype, batch.box_classes.shape) == (torch.bool, (2, 3))
    assert not batch.mask_classes.any()


def test_to_moves_every_tensor() -> None:
    moved = collate([make_sample("a", 2)]).to("meta")
    assert moved.images.is_meta
    assert moved.boxes.is_meta
    assert moved.mask_classes.is_meta
    assert moved.ids == ("a",)


def test_labels_of_classes_that_a_head_does_not_predict_are_dropped() -> None:
    """Crowd regions stay; in the class map these classes become background, and ignored pixels stay ignored."""
    spec = tiny_models.PAPER
    sample = replace(
        make_sample("a", 6),
        labels=np.array([0, 1, 2, 2, ANY_CLASS, 0]),
        crowd=np.array([False, False, False, True, True, True]),
        class_map=np.array([[0, 1, 2, 3], [3, 2, 1, 0], [IGNORE_INDEX] * 4], np.uint8),
    )
    batch = collate([make_sample("b", 0), sample])
    assert drop_unpredicted(batch, spec) is batch
    boxes = drop_unpredicted(batch, replace(spec, detection_classes=spec.classes[:1]))
    rows = [0, 3, 4, 5]
    for name in ("boxes", "labels", "image_index", "crowd"):
        assert getattr(boxes, name).tolist() == getattr(batch, name)[rows].tolist(), name
    assert boxes.class_map is batch.class_map
    maps = drop_unpredicted(batch, replace(spec, segmentation_classes=spec.classes[1:2]))
    assert maps.class_map[1].tolist() == [[0, 0, 2, 0], [0, 2, 0, 0], [IGNORE_INDEX] * 4]
    assert maps.class_map.dtype == torch.uint8
    assert maps.labels is batch.labels
