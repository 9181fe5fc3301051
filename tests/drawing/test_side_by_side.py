import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.drawing.annotate import class_color, draw, truth_marks
from blitznet.drawing.side_by_side import side_by_side
from blitznet.postprocess.result import Result, Segmentation
from support import synthetic_data


def prediction(sample: Sample, *, class_map: bool = True) -> Result:
    """One box of the last class, and a class map of the first everywhere."""
    return Result(
        boxes=np.array([[60, 48, 120, 96]], np.float32),
        scores=np.array([0.9], np.float32),
        labels=np.array([2]),
        class_names=synthetic_data.NAMES,
        size=(96, 120),
        segmentation=Segmentation.from_class_map(np.ones((96, 120), np.uint8)) if class_map else None,
    )


def test_both_images_are_drawn_at_the_maximum_size() -> None:
    sample = synthetic_data.draw(1)[0].sample
    truth, predicted = side_by_side(sample, prediction(sample), 60)
    assert truth.shape == predicted.shape == (48, 60, 3)
    assert predicted[47, 35].tolist() == list(class_color(2))  # the lower edge of the box, scaled by 0.5
    assert (predicted != truth).any()


def test_smaller_images_keep_their_size() -> None:
    sample = synthetic_data.draw(1)[0].sample
    truth, _ = side_by_side(sample, prediction(sample, class_map=False), 999)
    marks = truth_marks(sample.boxes, sample.labels, sample.crowd, synthetic_data.NAMES)
    assert (truth == draw(sample.image.read(), marks, sample.class_map())).all()


def test_missing_image() -> None:
    drawing = synthetic_data.draw(1)[0].sample
    gone = Sample(
        **{name: getattr(drawing, name) for name in Sample.__slots__ if name != "image"}, image=ImageSource("gone.jpg")
    )
    with pytest.raises(DataError, match=r"gone\.jpg: expected a file, got a path that does not exist"):
        side_by_side(gone, prediction(drawing), 60)
