"""The COCO writer."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blitznet.data.convert import convert_dataset
from blitznet.data.writers.coco import category_ids
from support.conversions import ANY_OUTLINE, annotation, assert_same_dataset, open_text, write_annotations


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.lists(annotation(ANY_OUTLINE), max_size=4), min_size=1, max_size=3))
def test_coco_to_coco_keeps_everything(images: list[list[dict[str, Any]]]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        before = write_annotations(root / "a", images)
        assert not convert_dataset(before, "coco", root / "b", "train")
        assert_same_dataset(before, open_text(f"coco:{root / 'b'}@train"))
        old, new = (COCO(str(root / name / "annotations" / "instances_train.json")) for name in "ab")
        for first, second in zip(_annotations_by_image(old), _annotations_by_image(new), strict=True):
            assert first["iscrowd"] == second["iscrowd"]
            if "segmentation" in first:
                pixels = old.annToMask(first)
                np.testing.assert_array_equal(pixels, new.annToMask(second))
                assert second["area"] == pixels.sum()


def _annotations_by_image(coco: Any) -> list[dict[str, Any]]:
    return [item for image in sorted(coco.getImgIds()) for item in coco.loadAnns(coco.getAnnIds([image]))]


def test_category_ids_are_official_where_possible() -> None:
    assert category_ids(("person", "bicycle", "tv", "toothbrush")) == (1, 2, 72, 90)
    assert category_ids(("bicycle", "person")) == (1, 2)  # not in ascending order of the official ids
    assert category_ids(("person", "unicorn")) == (1, 2)
