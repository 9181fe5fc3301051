"""Results with boxes and a class map that agree."""

import numpy as np

from blitznet.postprocess.result import Result, Segmentation


def make_result(seed: int = 0, count: int = 4) -> Result:
    """A result of `count` random detections of three classes in an image of 40 x 50 pixels."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 20, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(6, 20, (count, 2))], 1).astype(np.float32)
    labels = rng.integers(0, 3, count)
    class_map = np.zeros((40, 50), np.uint8)
    for (x1, y1, x2, y2), label in zip(boxes.astype(int), labels, strict=True):
        class_map[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] = label + 1
    scores = np.sort(rng.uniform(0.3, 1, count))[::-1].astype(np.float32)
    class_names = ("cat", "dog", "person")
    return Result(boxes, scores, labels, class_names, (40, 50), Segmentation.from_class_map(class_map))


RESULTS = [make_result(seed) for seed in range(5)]
EMPTY = make_result().filter(min_score=1.0)
"""a result without detections"""
