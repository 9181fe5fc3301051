"""Outlines in flat arrays."""

import numpy as np

from blitznet.data.dataset import Annotation, Objects
from blitznet.data.outlines import Outline, Outlines

ONES = np.ones(4, np.float32)


def test_outlines_come_back_object_by_object() -> None:
    objects = Objects.pack(
        [[Annotation((0, 0, 2, 2), 0), Annotation((0, 0, 4, 4), 1)], [], [Annotation((1, 1, 2, 2), 2, crowd=True)]]
    )
    first = Outline(polygons=[[0, 0, 2, 0, 2, 2], [1, 1, 2, 1, 2, 2]])
    outlines = Outlines.pack([first, Outline(), Outline(runs=np.asarray([3, 1]))])
    a, b = outlines.shapes(objects, objects.span(0), np.asarray([2, 3, 2, 3], np.float32)) or ()
    assert [p.tolist() for p in a.polygons] == [[0, 0, 4, 0, 4, 6], [2, 3, 4, 3, 4, 6]]
    assert (a.value, a.box, b.value, b.polygons, b.runs) == (1, (0, 0, 4, 6), 2, (), None)
    assert outlines.shapes(objects, objects.span(1), ONES) == ()
    (c,) = outlines.shapes(objects, objects.span(2), ONES) or ()
    assert c.value == 255
    assert c.runs is not None
    assert c.runs.tolist() == [3, 1]


def test_no_outline_no_mask() -> None:
    objects = Objects.pack([[Annotation((0, 0, 2, 2), 0)], [Annotation((0, 0, 2, 2), 0)]])
    assert Outlines.pack([Outline(), Outline()]).shapes(objects, slice(0, 0), ONES) is None
    half = Outlines.pack([Outline(), Outline(polygons=[[0, 0, 2, 0, 2, 2]])])
    assert half.shapes(objects, objects.span(0), ONES) is None
    assert half.shapes(objects, objects.span(1), ONES) is not None
