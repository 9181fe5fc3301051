"""Outlines in flat arrays."""

import numpy as np

from blitznet.data.dataset import Annotation, AnnotationArrays
from blitznet.data.outlines import Outline, Outlines

ONES = np.ones(4, np.float32)


def test_outlines_are_returned_per_object() -> None:
    annotations = AnnotationArrays.pack(
        [[Annotation((0, 0, 2, 2), 0), Annotation((0, 0, 4, 4), 1)], [], [Annotation((1, 1, 2, 2), 2, crowd=True)]]
    )
    first = Outline(polygons=[[0, 0, 2, 0, 2, 2], [1, 1, 2, 1, 2, 2]])
    outlines = Outlines.pack([first, Outline(), Outline(runs=np.asarray([3, 1]))])
    a, b = outlines.mask_objects(annotations, annotations.image_slice(0), np.asarray([2, 3, 2, 3], np.float32)) or ()
    assert [p.tolist() for p in a.polygons] == [[0, 0, 4, 0, 4, 6], [2, 3, 4, 3, 4, 6]]
    assert (a.value, a.box, b.value, b.polygons, b.runs) == (1, (0, 0, 4, 6), 2, (), None)
    assert outlines.mask_objects(annotations, annotations.image_slice(1), ONES) == ()
    (c,) = outlines.mask_objects(annotations, annotations.image_slice(2), ONES) or ()
    assert c.value == 255
    assert c.runs is not None
    assert c.runs.tolist() == [3, 1]


def test_no_mask_without_outlines() -> None:
    annotations = AnnotationArrays.pack([[Annotation((0, 0, 2, 2), 0)], [Annotation((0, 0, 2, 2), 0)]])
    assert Outlines.pack([Outline(), Outline()]).mask_objects(annotations, slice(0, 0), ONES) is None
    second_only = Outlines.pack([Outline(), Outline(polygons=[[0, 0, 2, 0, 2, 2]])])
    assert second_only.mask_objects(annotations, annotations.image_slice(0), ONES) is None
    assert second_only.mask_objects(annotations, annotations.image_slice(1), ONES) is not None


def test_polygons_keep_every_digit() -> None:
    polygon = [12.3, 4.1, 40.7, 8.9, 20.1, 33.3]  # 12.3 as float32 rounds to another fifth of a pixel
    outlines = Outlines.pack([Outline(polygons=[polygon])])
    assert outlines.polygons[0].tolist() == polygon
