"""The reader of CVAT for images."""

from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.data.cvat import cvat_subsets, open_cvat
from blitznet.data.dataset import treat_unlabeled
from support import exports, synthetic_data

IMAGE = '<image id="0" name="x.png" width="120" height="96"{}>{}</image>'
BOX = '<box label="a" xtl="10" ytl="20" xbr="40" ybr="30" rotation="{}"/>'


def write(root: Path, *images: str, labels: str = "") -> None:
    synthetic_data.write_image(root / "x.png", synthetic_data.draw(1)[0])
    meta = f"<meta><task><labels>{labels}</labels></task></meta>" if labels else ""
    (root / "annotations.xml").write_text(f"<annotations>{meta}{''.join(images)}</annotations>")


@pytest.mark.parametrize(
    ("degrees", "expected"), [(0, [10, 20, 40, 30]), (90, [20, 10, 30, 40]), (180, [10, 20, 40, 30])]
)
def test_boxes_may_be_turned(degrees: int, expected: list[float], tmp_path: Path) -> None:
    write(tmp_path, IMAGE.format("", BOX.format(degrees)))
    sample = open_cvat(tmp_path, None, title="t")[0]
    np.testing.assert_allclose(sample.boxes, [expected], atol=1e-4)
    assert (sample.mask is not None) == (degrees != 0)


def test_ellipses_are_outlines_and_lines_are_left_out(tmp_path: Path) -> None:
    line = '<polyline label="a" points="1,1;5,5"/><points label="a" points="1,1"/><tag label="a"/>'
    write(tmp_path, IMAGE.format("", line + '<ellipse label="a" cx="60" cy="50" rx="20" ry="10"/>'))
    sample = open_cvat(tmp_path, None, title="t")[0]
    np.testing.assert_allclose(sample.boxes, [[40, 40, 80, 60]], atol=0.1)
    class_map = sample.class_map()
    assert class_map is not None
    assert class_map.sum() == pytest.approx(np.pi * 200, rel=0.05)


def test_classes_are_the_labels_of_the_task(tmp_path: Path) -> None:
    labels = "<label><name>z</name></label><label><name>a</name></label>"
    write(tmp_path, IMAGE.format("", BOX.format(0)), labels=labels)
    dataset = open_cvat(tmp_path, None, title="t")
    assert dataset.class_names == ("z", "a")
    assert dataset[0].labels.tolist() == [1]


def test_subsets_are_splits(tmp_path: Path) -> None:
    images = [IMAGE.format(f' subset="{name}"', BOX.format(0)) for name in ("Train", "Train", "Validation")]
    write(tmp_path, *images)
    assert cvat_subsets(tmp_path / "annotations.xml") == ("Train", "Validation")
    assert len(open_cvat(tmp_path, "Train", title="t")) == 2
    assert len(open_cvat(tmp_path, None, title="t")) == 3
    with pytest.raises(DataError, match="there is no split 'test'; splits here: Train, Validation"):
        open_cvat(tmp_path, "test", title="t")


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (BOX.format("x"), "box 1: expected numbers for rotation"),
        ('<box label="a" xtl="1"/>', "box 1: expected numbers for xtl ytl xbr ybr"),
        ('<box xtl="1"/>', "box 1: expected a label, got none"),
        ('<polygon label="a" points="1,2;3,4"/>', "polygon 1: expected three points or more, got 4 numbers"),
        (
            '<mask label="a" rle="1, x" left="0" top="0" width="2" height="2"/>',
            "mask 1: expected run lengths, got '1, x'",
        ),
        (
            '<mask label="a" rle="9" left="0" top="0" width="2" height="2"/>',
            "expected run lengths of 4 pixels in all",
        ),
        ('<mask label="a" rle="0, 4" left="119" top="0" width="2" height="2"/>', "expected a mask inside the image"),
        (
            '<mask label="a" rle="4" left="0" top="0" width="99999" height="99999"/>',
            "expected a mask of 1 to 89,478,485 pixels, got 99999x99999",
        ),
        ('<wall label="a"/>', "wall 1: expected a box, polygon, ellipse or mask"),
    ],
)
def test_broken_elements_are_errors_of_their_image(element: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, IMAGE.format("", BOX.format(0)), IMAGE.format("", element))
    dataset = open_cvat(tmp_path, None, title="t")
    assert list(dataset.errors) == [1]
    with pytest.raises(DataError, match=f"image x.png: .*{message}"):
        dataset[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations><track id='0'/></annotations>", "expected images of the video's frames, got none"),
        ("<annotations/>", "expected annotated images, got none"),
        ("<annotations>", "not well-formed XML"),
        ('<!DOCTYPE a [<!ENTITY x "xx">]><annotations>&x;</annotations>', "entities and DTDs are refused"),
    ],
)
def test_broken_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    exports.write_cvat(tmp_path, synthetic_data.draw(1))
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(DataError, match=message):
        open_cvat(tmp_path, None, title="t")


def test_images_without_an_element_are_assumed_to_be_empty(tmp_path: Path) -> None:
    """CVAT lists all images of a task, also those that nobody annotated."""
    line = '<polyline label="a" points="1,1;5,5"/>'
    elements = {"x": BOX.format(0), "y": "", "z": line, "w": '<tag label="a"/>'}
    write(tmp_path, *(IMAGE.replace("x.png", f"{name}.png").format("", text) for name, text in elements.items()))
    dataset = open_cvat(tmp_path, None, title="t")
    assert dataset.assumed_empty == {1, 3}
    assert treat_unlabeled(dataset, "skip").unlabeled == {1, 3}
    assert dataset.remarks == {"points, lines and regions without a class, left out": ["z: a"]}
    assert [bool(flags) for flags in dataset.incomplete.values()] == [True]
    assert list(dataset.incomplete) == [2]


def test_a_missing_image_is_not_another_one(tmp_path: Path) -> None:
    write(tmp_path, *(IMAGE.replace("x.png", name).format("", BOX.format(0)) for name in ("x.png", "b/x.png")))
    assert open_cvat(tmp_path, None, title="t").image_paths == (
        str(tmp_path / "x.png"),
        str(tmp_path / "images" / "b" / "x.png"),
    )
