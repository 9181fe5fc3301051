"""What is written for other tools, read by other means."""

import base64
import itertools
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from faster_coco_eval.core import mask as coco_mask
from PIL import Image

from blitznet.data.yolo import open_yolo
from blitznet.integrations.coco import coco_panoptic, coco_results
from blitznet.integrations.cvat import to_cvat_xml
from blitznet.integrations.labelme import to_labelme
from blitznet.integrations.torchvision import to_torchvision
from blitznet.integrations.yolo import to_yolo_lines, yolo_names
from blitznet.postprocess.result import Result, Segmentation


def result(seed: int = 0, count: int = 4) -> Result:
    """Boxes and a class map that know of each other."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 20, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(6, 20, (count, 2))], 1).astype(np.float32)
    labels = rng.integers(0, 3, count)
    class_map = np.zeros((40, 50), np.uint8)
    for (x1, y1, x2, y2), label in zip(boxes.astype(int), labels, strict=True):
        class_map[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] = label + 1
    scores = np.sort(rng.uniform(0.3, 1, count))[::-1].astype(np.float32)
    return Result(boxes, scores, labels, ("cat", "dog", "person"), (40, 50), segmentation=Segmentation.from_class_map(class_map))


RESULTS = [result(seed) for seed in range(5)]
EMPTY = result().filter(min_score=2.0)


@pytest.mark.parametrize("one", [*RESULTS, EMPTY])
def test_coco_results_decode_to_the_instances(one: Result) -> None:
    told = coco_results(one, 7, (10, 20, 30), masks=True)
    assert len(told) == len(one)
    for index, entry in enumerate(told):
        x, y, w, h = entry["bbox"]
        assert [x, y, x + w, y + h] == pytest.approx(one.boxes[index].tolist(), abs=0.02)
        assert (entry["image_id"], entry["category_id"]) == (7, 10 * (one.labels[index] + 1))
        assert entry["score"] == pytest.approx(one.scores[index], abs=1e-5)
        np.testing.assert_array_equal(coco_mask.decode(entry["segmentation"]), one.instances().mask(index))
    assert all("segmentation" not in entry for entry in coco_results(one, 7, (10, 20, 30)))


@pytest.mark.parametrize("one", [*RESULTS, EMPTY])
def test_coco_panoptic_says_the_same(one: Result) -> None:
    panoptic = one.panoptic()
    picture, entry = coco_panoptic(panoptic, 7, (10, 20, 30), file_name="7.png")
    ids = picture.astype(np.int64) @ np.array([1, 256, 256**2])
    np.testing.assert_array_equal(ids, panoptic.segmentation)
    assert (entry["image_id"], entry["file_name"]) == (7, "7.png")
    for segment in entry["segments_info"]:
        rows, columns = np.nonzero(ids == segment["id"])
        assert segment["area"] == len(rows)
        assert segment["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


@pytest.mark.parametrize("one", RESULTS)
def test_yolo_is_read_by_our_own_reader(one: Result, tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name / "train").mkdir(parents=True)
    Image.new("RGB", one.size[::-1]).save(tmp_path / "images" / "train" / "a.png")
    (tmp_path / "labels" / "train" / "a.txt").write_text(to_yolo_lines(one))
    (tmp_path / "data.yaml").write_text(f"train: images/train\n{yolo_names(one.class_names)}")
    sample = open_yolo(tmp_path, "train", title="a")[0]
    np.testing.assert_allclose(sample.boxes, one.boxes, atol=1e-3)
    assert sample.labels.tolist() == one.labels.tolist()
    for names in (one.class_names, ("a: b", "no", '"', "12", "ä # é")):
        assert yaml.safe_load(yolo_names(names)) == {"names": dict(enumerate(names))}
    assert [float(line.split()[-1]) for line in to_yolo_lines(one, scores=True).splitlines()] == pytest.approx(
        one.scores.tolist(), abs=1e-6
    )


@pytest.mark.parametrize("one", [*RESULTS, EMPTY])
def test_labelme_masks_lie_where_the_instances_are(one: Result) -> None:
    told = to_labelme(one, "a.jpg", masks=True)
    assert (told["imagePath"], told["imageHeight"], told["imageWidth"]) == ("a.jpg", 40, 50)
    assert [shape["label"] for shape in told["shapes"]] == [one.class_names[label] for label in one.labels]
    for index, shape in enumerate(told["shapes"]):
        assert shape["shape_type"] == "mask"
        (x1, y1), (x2, y2) = shape["points"]
        whole = np.zeros(one.size, bool)
        with Image.open(BytesIO(base64.b64decode(shape["mask"]))) as mask:
            whole[y1 : y2 + 1, x1 : x2 + 1] = np.asarray(mask)
        np.testing.assert_array_equal(whole, one.instances().mask(index))
    for shape, box in zip(to_labelme(one, "a.jpg")["shapes"], one.boxes, strict=True):
        assert shape["shape_type"] == "rectangle"
        assert list(itertools.chain(*shape["points"])) == pytest.approx(box.tolist(), abs=0.01)


def test_cvat_masks_lie_where_the_instances_are() -> None:
    root = ElementTree.fromstring(
        to_cvat_xml([("a.jpg", RESULTS[0]), ("b.jpg", EMPTY), ("c.jpg", RESULTS[1])], masks=True)
    )
    images = root.findall("image")
    assert [(image.get("id"), image.get("name")) for image in images] == [
        ("0", "a.jpg"),
        ("1", "b.jpg"),
        ("2", "c.jpg"),
    ]
    for image, one in zip(images, (RESULTS[0], EMPTY, RESULTS[1]), strict=True):
        assert (image.get("width"), image.get("height")) == ("50", "40")
        assert len(image) == len(one)
        for index, mask in enumerate(image.findall("mask")):
            left, top, width, height = (int(mask.get(key, "")) for key in ("left", "top", "width", "height"))
            lengths = [int(length) for length in mask.get("rle", "").split(", ")]
            values = np.repeat(np.arange(len(lengths)) % 2, lengths)
            whole = np.zeros(one.size, bool)
            whole[top : top + height, left : left + width] = values.reshape(height, width)
            np.testing.assert_array_equal(whole, one.instances().mask(index))
            assert mask.get("label") == one.class_names[one.labels[index]]
    box = ElementTree.fromstring(to_cvat_xml([("a.jpg", RESULTS[0])])).findall("image/box")[0]
    assert [float(box.get(key, "")) for key in ("xtl", "ytl", "xbr", "ybr")] == pytest.approx(
        RESULTS[0].boxes[0].tolist(), abs=0.01
    )


@pytest.mark.parametrize("one", [*RESULTS, EMPTY])
def test_torchvision_counts_labels_from_one(one: Result) -> None:
    told = to_torchvision(one, masks=True)
    assert told["boxes"].shape == (len(one), 4)
    assert told["labels"].dtype == torch.int64
    assert told["labels"].tolist() == [label + 1 for label in one.labels.tolist()]
    assert told["scores"].tolist() == one.scores.tolist()
    for index in range(len(one)):
        np.testing.assert_array_equal(told["masks"][index, 0].numpy(), one.instances().mask(index))
