import json
import os
import sys
import weakref
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from faster_coco_eval import COCO

from blitznet.cli.formats import FORMAT_NAMES, FormatWriter
from blitznet.cli.main import main
from blitznet.core.errors import UsageError
from blitznet.postprocess.result import Result, Segmentation
from blitznet.runtime.image_paths import SAMPLES


def test_every_format_has_every_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "--engine", "onnxruntime", "--out", "out", "--formats", *FORMAT_NAMES]) == 0
    entries = json.loads(Path("out/predictions.json").read_text())
    counts = [len(entry["detections"]) for entry in entries]
    assert sum(counts) > 2
    names = [Path(entry["path"]).stem for entry in entries]
    assert [len(Path(f"out/yolo/{name}.txt").read_text().splitlines()) for name in names] == counts
    for name, count in zip(names, counts, strict=True):
        labelme = json.loads(Path(f"out/labelme/{name}.json").read_text())
        assert len(labelme["shapes"]) == count
        assert Path(labelme["imagePath"]) == (SAMPLES / f"{name}.jpg").resolve()
    images = ElementTree.parse("out/cvat/annotations.xml").getroot().findall("image")
    assert [len(image) for image in images] == counts
    labels = json.loads(Path("out/fiftyone/labels.json").read_text())["labels"]
    assert [len(labels[name]) for name in names] == counts
    lines = [path.read_text().splitlines() for path in sorted(Path("out/voc/results/VOC2012/Main").iterdir())]
    assert len(lines) == 20
    assert sorted(line.split()[0] for of_class in lines for line in of_class) == sorted(np.repeat(names, counts))
    assert {path.stem for path in Path("out/voc/results/VOC2012/Segmentation/comp6_test_cls").iterdir()} == {*names}
    assert json.loads(Path("out/coco/images.json").read_text())["info"] == {}
    coco = COCO("out/coco/images.json").loadRes("out/coco/results.json")
    assert [len(coco.getAnnIds(imgIds=[image_id])) for image_id in range(1, len(counts) + 1)] == counts


def test_writer_keeps_no_results(tmp_path: Path) -> None:
    """Each result contains a class map as large as its image; thousands would not fit in memory."""
    writer = FormatWriter(tmp_path, FORMAT_NAMES, ("cat", "dog"))
    result = Result(
        boxes=np.array([[1, 1, 6, 7]], np.float32),
        scores=np.array([0.9], np.float32),
        labels=np.array([1]),
        size=(8, 9),
        class_names=("cat", "dog"),
        segmentation=Segmentation.from_class_map(np.full((8, 9), 2, np.uint8)),
    )
    reference = weakref.ref(result)
    writer.add(tmp_path / "a.jpg", "a", result)
    del result
    assert reference() is None
    writer.close()
    assert len(ElementTree.parse(tmp_path / "cvat/annotations.xml").getroot().findall("image/mask")) == 1
    assert json.loads((tmp_path / "coco/images.json").read_text())["images"][0]["height"] == 8


def result_of(count: int) -> Result:
    """A result with this number of detections."""
    return Result(
        boxes=np.array([[1, 1, 6, 7]] * count, np.float32).reshape(-1, 4),
        scores=np.full(count, 0.9, np.float32),
        labels=np.zeros(count, np.int64),
        size=(8, 9),
        class_names=("cat",),
    )


def test_images_of_one_name_stay_apart(tmp_path: Path) -> None:
    images = [tmp_path / name for name in ("in/1/a.jpg", "in/2/a.jpg", "in/2/a.png", "in/b.jpg")]
    writer = FormatWriter(tmp_path, ("coco", "cvat", "fiftyone"), ("cat",), inputs=images)
    for count, image in enumerate(images):
        writer.add(image, f"a-{count}", result_of(count))
    writer.close()
    names = ["1/a.jpg", "2/a.jpg", "2/a.png", "b.jpg"]
    coco = json.loads((tmp_path / "coco/images.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == names
    cvat = ElementTree.parse(tmp_path / "cvat/annotations.xml").getroot().findall("image")
    assert [image.attrib["name"] for image in cvat] == names
    labels = json.loads((tmp_path / "fiftyone/labels.json").read_text())["labels"]
    assert {name: len(entries) for name, entries in labels.items()} == {"1/a": 0, "2/a": 1, "2/a.png": 2, "b": 3}


def test_a_file_that_cannot_be_written_is_the_only_one_missing(tmp_path: Path) -> None:
    writer = FormatWriter(tmp_path, FORMAT_NAMES, ("cat",))
    writer.add(Path("a.jpg"), "a", result_of(1))
    (tmp_path / "fiftyone/labels.json").mkdir()
    with pytest.raises(UsageError, match=r"labels\.json: cannot be written"):
        writer.close()
    for name in ("yolo/data.yaml", "cvat/annotations.xml", "coco/images.json"):
        assert (tmp_path / name).is_file()


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff")
    writer = FormatWriter(tmp_path, FORMAT_NAMES, ("cat",))
    writer.add(tmp_path / f"{name}.jpg", name, result_of(1))
    writer.close()
    assert (tmp_path / "voc/results/VOC2012/Main/comp4_det_test_cat.txt").read_bytes().startswith(b"\xff 0.9")


def test_missing_package_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "blitznet.integrations.coco", raising=False)
    for name in ("faster_coco_eval", "faster_coco_eval.core", "faster_coco_eval.core.mask"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["predict", "--engine", "onnxruntime", "--formats", "coco"]) == 2
    assert "--formats coco needs `pip install 'blitznet[eval]'`" in capsys.readouterr().err
