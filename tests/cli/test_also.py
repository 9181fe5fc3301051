import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from faster_coco_eval import COCO

from blitznet.cli.main import main
from blitznet.runtime.photos import SAMPLES


def test_every_tool_gets_every_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["predict", "--engine", "onnxruntime", "--out", "out", "--also", "yolo", "labelme", "cvat", "coco"]) == 0
    )
    entries = json.loads(Path("out/predictions.json").read_text())
    counts = [len(entry["detections"]) for entry in entries]
    assert sum(counts) > 2
    names = [Path(entry["path"]).stem for entry in entries]
    assert [len(Path(f"out/yolo/{name}.txt").read_text().splitlines()) for name in names] == counts
    for name, count in zip(names, counts, strict=True):
        told = json.loads(Path(f"out/labelme/{name}.json").read_text())
        assert len(told["shapes"]) == count
        assert Path(told["imagePath"]) == (SAMPLES / f"{name}.jpg").resolve()
    images = ElementTree.parse("out/cvat/annotations.xml").getroot().findall("image")
    assert [len(image) for image in images] == counts
    found = COCO("out/coco/images.json").loadRes("out/coco/results.json")
    assert [len(found.getAnnIds(imgIds=[number])) for number in range(1, len(counts) + 1)] == counts


def test_a_package_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "blitznet.bridges.coco", raising=False)
    for name in ("faster_coco_eval", "faster_coco_eval.core", "faster_coco_eval.core.mask"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["predict", "--engine", "onnxruntime", "--also", "coco"]) == 2
    assert "--also coco needs `pip install 'blitznet[eval]'`" in capsys.readouterr().err
