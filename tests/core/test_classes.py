import numpy as np
import pytest

from blitznet.core.classes import COCO, VOC, canonical, palette

ORDER = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant "
    "sheep sofa train tvmonitor"
)


def test_voc_order() -> None:
    assert " ".join(VOC) == ORDER


@pytest.mark.parametrize(("value", "name"), [(1, "airplane"), (15, "person"), (20, "tv"), (21, "apple"), (80, "zebra")])
def test_coco_order(value: int, name: str) -> None:
    assert COCO[value - 1] == name


def test_coco_starts_with_the_classes_of_voc() -> None:
    assert len(COCO) == len(set(COCO)) == 80
    assert [canonical(name) for name in COCO[:20]] == [canonical(name) for name in VOC]
    assert list(COCO[20:]) == sorted(COCO[20:])


@pytest.mark.parametrize(
    "names",
    [
        ("airplane", "aeroplane", "Plane"),
        ("tv", "tvmonitor", "TV monitor", "tv-monitor", "television"),
        ("couch", "sofa", "Sofa"),
        ("motorcycle", "motorbike"),
        ("dining table", "diningtable", "dining_table", "table"),
        ("potted plant", "pottedplant", "plant"),
        ("person", "pedestrian"),
        ("bike", "bicycle"),
    ],
)
def test_canonical_of_aliases(names: tuple[str, ...]) -> None:
    assert len({canonical(name) for name in names}) == 1


def test_canonical_is_unique_within_a_list() -> None:
    for names in (VOC, COCO):
        assert len({canonical(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("value", "color"),
    [
        (0, (0, 0, 0)),
        (1, (128, 0, 0)),
        (2, (0, 128, 0)),
        (3, (128, 128, 0)),
        (4, (0, 0, 128)),
        (15, (192, 128, 128)),
        (20, (0, 64, 128)),
        (255, (224, 224, 192)),
    ],
)
def test_palette_values(value: int, color: tuple[int, int, int]) -> None:
    assert tuple(palette()[value]) == color


def test_palette_colors_are_unique() -> None:
    assert palette().dtype == np.uint8
    assert len(np.unique(palette(), axis=0)) == 256
