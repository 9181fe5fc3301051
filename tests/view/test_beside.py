import numpy as np
import pytest

import toy
from blitznet.core.errors import DataError
from blitznet.core.photo import Photo
from blitznet.core.result import Result
from blitznet.core.sample import Sample
from blitznet.view.beside import truth_beside
from blitznet.view.draw import class_colour, draw, truth_marks


def seen(sample: Sample, *, painted: bool = True) -> Result:
    """One box of the last class, and all of the photo painted as the first."""
    return Result(
        boxes=np.array([[60, 48, 120, 96]], np.float32),
        scores=np.array([0.9], np.float32),
        labels=np.array([2]),
        names=toy.NAMES,
        size=(96, 120),
        painted=np.ones((96, 120), np.uint8) if painted else None,
    )


def test_both_are_drawn_at_their_small_size() -> None:
    sample = toy.draw(1)[0].sample
    truth, found = truth_beside(sample, seen(sample), 60)
    assert truth.shape == found.shape == (48, 60, 3)
    assert found[47, 35].tolist() == list(class_colour(2))  # the box' lower line, halved with the photo
    assert (found != truth).any()


def test_a_small_photo_stays_as_it_is() -> None:
    sample = toy.draw(1)[0].sample
    truth, _ = truth_beside(sample, seen(sample, painted=False), 999)
    marks = truth_marks(sample.boxes, sample.labels, sample.crowd, toy.NAMES)
    assert (truth == draw(sample.photo.read(), marks, sample.class_map())).all()


def test_a_photo_that_is_not_there() -> None:
    drawing = toy.draw(1)[0].sample
    gone = Sample(
        **{name: getattr(drawing, name) for name in Sample.__slots__ if name != "photo"}, photo=Photo("gone.jpg")
    )
    with pytest.raises(DataError, match=r"gone\.jpg: there is no such file"):
        truth_beside(gone, seen(drawing), 60)
