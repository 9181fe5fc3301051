"""Random evaluation sets of a population whose true metrics are known, with the predictions of two models."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.metrics.matching import ObjectTable, PredictionTable
from blitznet.metrics.state import EvaluationState

CLASS_FREQUENCY = np.geomspace(0.04, 0.35, 8)
"""(K,) fraction of the images that contain a class"""
CLASS_EASE = np.array([0.8, 1.4, 0.3, 1.0, 0.6, 1.6, 1.2, 0.4])
"""(K,) how well objects of a class are recognized, in logits"""


def simulated_states(rng: np.random.Generator, num_images: int) -> tuple[EvaluationState, EvaluationState]:
    """Predictions of two models for the same images: the second is better, and both fail on the same hard images."""
    present = rng.random((num_images, len(CLASS_FREQUENCY))) < CLASS_FREQUENCY  # (N, K)
    absent = np.flatnonzero(~present.any(0))
    present[rng.integers(num_images, size=len(absent)), absent] = True
    counts = present * (1 + rng.poisson(0.6, present.shape))  # objects
    areas = present * rng.beta(1.2, 5.0, present.shape)
    hard = rng.normal(0.0, 0.6, (num_images, 1))
    noise = rng.normal(0.0, 0.7, present.shape)
    states = [_state(rng, counts, areas, hard + noise, gain) for gain in (0.0, 0.3)]
    return states[0], states[1]


def _state(
    rng: np.random.Generator, counts: Int64Array, areas: Float64Array, hard: Float64Array, gain: float
) -> EvaluationState:
    num_images, classes = counts.shape
    image, label = (index.repeat(counts.ravel()) for index in np.indices(counts.shape).reshape(2, -1))
    score = CLASS_EASE[label] + gain - hard[image, label] + rng.normal(0.0, 0.7, len(image))
    detected = score > -0.6
    false = rng.poisson(0.05 + 0.3 * (counts > 0), counts.shape)
    false_image, false_label = (index.repeat(false.ravel()) for index in np.indices(false.shape).reshape(2, -1))
    boxes = _boxes(image)
    predictions = PredictionTable(
        image=np.concatenate([image[detected], false_image]),
        label=np.concatenate([label[detected], false_label]),
        boxes=np.concatenate([boxes[detected], np.tile([0.0, 500.0, 9.0, 509.0], (len(false_image), 1))]),
        score=np.concatenate([score[detected], rng.normal(-0.7, 1.0, len(false_image))]).astype(np.float32),
    )
    return EvaluationState(
        class_names=tuple(f"{number}" for number in range(classes)),
        num_images=num_images,
        sizes=np.full((num_images, 2), 600),
        has_boxes=True,
        predictions=predictions,
        objects=ObjectTable(image=image, label=label, boxes=boxes, ignored=np.zeros(len(image), np.bool_)),
        mask_images=np.arange(num_images),
        confusions=_confusions(rng, areas, CLASS_EASE + gain - hard),
        pixel_bins=np.zeros((0, 3, 15)),
    )


def _boxes(image: NDArray[Any]) -> Float64Array:
    """Boxes (T, 4) that overlap in no image."""
    left = 10.0 * np.arange(len(image))
    return np.stack([left, np.zeros(len(image)), left + 8, np.full(len(image), 8.0)], -1)


def _confusions(rng: np.random.Generator, areas: Float64Array, logits: Float64Array) -> Int64Array:
    """Confusion matrices (N, C, C): a part of each object is predicted as background, and the reverse."""
    num_images, classes = areas.shape
    pixels = (10_000 * areas).astype(np.int64)
    correct = (pixels / (1 + np.exp(-logits))).astype(np.int64)
    false = (10_000 * (rng.random(areas.shape) < 0.03) * rng.beta(1.2, 12.0, areas.shape)).astype(np.int64)
    confusions = np.zeros((num_images, classes + 1, classes + 1), np.int64)
    label = np.arange(1, classes + 1)
    confusions[:, label, label] = correct
    confusions[:, label, 0] = pixels - correct
    confusions[:, 0, label] = false
    confusions[:, 0, 0] = 20_000
    return confusions
