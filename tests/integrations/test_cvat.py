from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from blitznet.data.cvat import open_cvat
from blitznet.data.masks import RasterizedMask, decode_coco_rle
from blitznet.integrations.cvat import to_cvat_rle, to_cvat_xml
from support.results import EMPTY, RESULTS


def test_cvat_masks_are_the_instance_masks() -> None:
    results = (RESULTS[0], EMPTY, RESULTS[1])
    names = ("a.jpg", "b.jpg", "c.jpg")
    root = ElementTree.fromstring(to_cvat_xml(zip(names, results, strict=True), masks=True))
    images = root.findall("image")
    assert [(image.get("id"), image.get("name")) for image in images] == [
        (str(image_id), name) for image_id, name in enumerate(names)
    ]
    for image, result in zip(images, results, strict=True):
        assert (image.get("width"), image.get("height")) == ("50", "40")
        assert len(image) == len(result)
        for index, element in enumerate(image.findall("mask")):
            left, top, width, height = (int(element.get(key, "")) for key in ("left", "top", "width", "height"))
            lengths = [int(length) for length in element.get("rle", "").split(", ")]
            values = np.repeat(np.arange(len(lengths)) % 2, lengths)
            mask = np.zeros(result.size, bool)
            mask[top : top + height, left : left + width] = values.reshape(height, width)
            np.testing.assert_array_equal(mask, result.instances().mask(index))
            assert element.get("label") == result.class_names[result.labels[index]]


def test_cvat_boxes_are_the_detections() -> None:
    box = ElementTree.fromstring(to_cvat_xml([("a.jpg", RESULTS[0])])).findall("image/box")[0]
    assert [float(box.get(key, "")) for key in ("xtl", "ytl", "xbr", "ybr")] == pytest.approx(
        RESULTS[0].boxes[0].tolist(), abs=0.01
    )


@pytest.mark.parametrize(("rows", "expected"), [([[0, 1], [1, 0]], "1, 2, 1"), ([[1, 1], [0, 1]], "0, 2, 1, 1")])
def test_cvat_run_lengths_start_with_background(rows: list[list[int]], expected: str) -> None:
    assert to_cvat_rle(np.array(rows, bool)) == expected


def test_cvat_meta_lists_the_labels() -> None:
    root = ElementTree.fromstring(to_cvat_xml([("a.jpg", RESULTS[0]), ("b.jpg", EMPTY)]))
    labels = [label.findtext("name") for label in root.findall("meta/task/labels/label")]
    assert labels == list(RESULTS[0].class_names)
    assert root.findtext("meta/task/size") == "2"


def test_cvat_names_that_are_not_utf_8_are_replaced() -> None:
    text = to_cvat_xml([("caf\udce9\x01.jpg", RESULTS[0])])
    assert ElementTree.fromstring(text.encode()).findall("image")[0].get("name") == "caf\ufffd\ufffd.jpg"


def test_cvat_files_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(to_cvat_xml([("a.jpg", RESULTS[0])], masks=True))
    Image.new("RGB", (50, 40)).save(tmp_path / "a.jpg")
    dataset = open_cvat(tmp_path, None, title="t")
    assert dataset.class_names == RESULTS[0].class_names
    instances = RESULTS[0].instances()
    sample = dataset[0]
    assert sample.labels.tolist() == RESULTS[0].labels.tolist()
    assert isinstance(sample.mask, RasterizedMask)
    for index, item in enumerate(sample.mask.objects):
        assert item.runs is not None
        np.testing.assert_array_equal(decode_coco_rle(item.runs, (40, 50), name="a"), instances.mask(index))
