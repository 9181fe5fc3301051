import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.drawing.annotate import class_color, draw, truth_marks
from blitznet.drawing.side_by_side import side_by_side
from blitznet.postprocess.result import Result, Segmentation
from support import synthetic_data


def seen(sample: Sample, *, class_map: bool = True) -> Result:
    """One box of the last class, and all of the image painted as the first."""
    return Result(
        boxes=np.array([[60, 48, 120, 96]], np.float32),
        scores=np.array([0.9], np.float32),
        labels=np.array([2]),
        class_names=synthetic_data.NAMES,
        size=(96, 120),
        segmentation=Segmentation.from_class_map(np.ones((96, 120), np.uint8)) if class_map else None,
    )


def test_both_are_drawn_at_their_small_size() -> None:
    sample = synthetic_data.draw(1)[0].sample
    truth, found = side_by_side(sample, seen(sample), 60)
    assert truth.shape == found.shape == (48, 60, 3)
    assert found[47, 35].tolist() == list(class_color(2))  # the box' lower line, halved with the image
    assert (found != truth).any()


def test_a_small_image_stays_as_it_is() -> None:
    sample = synthetic_data.draw(1)[0].sample
    truth, _ = side_by_side(sample, seen(sample, class_map=False), 999)
    marks = truth_marks(sample.boxes, sample.labels, sample.crowd, synthetic_data.NAMES)
    assert (truth == draw(sample.image.read(), marks, sample.class_map())).all()


def test_a_image_that_is_not_there() -> None:
    drawing = synthetic_data.draw(1)[0].sample
    gone = Sample(
        **{name: getattr(drawing, name) for name in Sample.__slots__ if name != "image"}, image=ImageSource("gone.jpg")
    )
    with pytest.raises(DataError, match=r"gone\.jpg: there is no such file"):
        side_by_side(gone, seen(drawing), 60)
