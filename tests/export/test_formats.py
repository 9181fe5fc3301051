from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.core.image import ImageSource
from blitznet.core.spec import Precision
from blitznet.export.formats import SUFFIXES, Format, export, export_spec
from blitznet.export.verify import verify
from blitznet.nets.blitznet import build
from blitznet.runtime.image_paths import find_images
from support import tiny_models
from support.exported_models import BRIEF, SEGMENTATION, small
from support.fake_engines import SPEC

IMAGES = [ImageSource(path) for path in find_images()]


@pytest.mark.parametrize(("to", "size"), [("onnx", (33, 50)), ("openvino", (96, 64)), ("torch", (64, 160))])
def test_whole_networks_at_any_size(to: Format, size: tuple[int, int], tmp_path: Path) -> None:
    spec = export_spec(tiny_models.specs()[1], size=size)
    path = tmp_path / f"a{SUFFIXES[to]}"
    net = build(spec)
    export(net, spec, path, to)
    assert verify(path, net, spec, IMAGES[:1]).worst() is None


@pytest.mark.parametrize("nms", [False, True], ids=["raw", "finished"])
def test_int8_is_calibrated_and_then_finished(nms: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def quantize(source: Path, target: Path, images: object, spec: object) -> None:
        target.write_bytes(source.read_bytes())
        given.extend([images, spec])

    monkeypatch.setattr("blitznet.export.quantize.quantize_onnx", quantize)
    spec = replace(BRIEF, precision="int8")
    images = [np.zeros((*spec.size, 3), np.uint8)]
    export(small(), spec, tmp_path / "a.onnx", nms=nms, images=images)
    assert given == [images, spec]
    assert verify(tmp_path / "a.onnx", small(), spec, IMAGES[:1], nms=nms).worst() is None


def test_contracts() -> None:
    assert export_spec(SPEC) == SPEC
    assert export_spec(SPEC, precision="int8", size=(32, 320)) == replace(SPEC, precision="int8", size=(32, 320))
    with pytest.raises(UsageError, match="--size: expected 32 pixels or more a side, got 64x16"):
        export_spec(SPEC, size=(16, 64))


@pytest.mark.parametrize(
    ("precision", "to", "images", "message"),
    [
        (
            "int8",
            "torch",
            1,
            "--precision: a torch program is float32 or bfloat16; for int8 choose --to onnx or openvino",
        ),
        ("int8", "onnx", 0, "--calibrate: expected images to measure ranges on, got none"),
        ("float32", "onnx", 1, "--calibrate: expected no images for other precisions than int8, got some"),
    ],
)
def test_what_cannot_be_written(precision: Precision, to: Format, images: int, message: str, tmp_path: Path) -> None:
    spec = replace(SPEC, precision=precision)
    with pytest.raises(UsageError, match=message):
        export(small(), spec, tmp_path / "a", to, images=[np.zeros((*SPEC.size, 3), np.uint8)] * images)
    assert not list(tmp_path.iterdir())


def test_no_boxes_to_finish(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--nms: small finds no boxes, so there are none to suppress; leave it out"):
        export(small(SEGMENTATION), SEGMENTATION, tmp_path / "a.onnx", nms=True)
