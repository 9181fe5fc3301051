import numpy as np

from benchmarks.competitors.accuracy import FilledBoxes
from blitznet.core.image import ImageSource
from blitznet.postprocess.result import Result


class FixedBoxes:
    """A predictor of three boxes: a better one over a larger one, and one that is too uncertain."""

    class_names = ("cat", "dog")

    def __call__(self, image: ImageSource) -> Result:
        boxes = np.array([[1, 1, 3, 2], [0, 0, 4, 3], [0, 3, 6, 4]], np.float32)
        return Result(boxes, np.array([0.9, 0.6, 0.4], np.float32), np.array([1, 0, 1]), self.class_names, image.size())


def test_filled_boxes_are_a_class_map_with_the_best_scores_on_top() -> None:
    predict = FilledBoxes(FixedBoxes(), min_score=0.5)
    result = predict(ImageSource(np.zeros((4, 6, 3), np.uint8)))
    assert result.class_map is not None
    assert result.class_map.tolist() == [[1, 1, 1, 1, 0, 0], [1, 2, 2, 1, 0, 0], [1, 1, 1, 1, 0, 0], [0] * 6]
