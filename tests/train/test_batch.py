"""collate: shapes, image indices, types, memory layout."""

import numpy as np
import torch

from blitznet.core.arrays import IGNORE_INDEX
from blitznet.data.train_sample import TrainSample
from blitznet.train.batch import collate


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
