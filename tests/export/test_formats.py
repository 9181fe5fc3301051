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
from support.exported_models import NMS_SPEC, SEGMENTATION_SPEC, small_network
from support.fake_engines import SPEC

IMAGES = [ImageSource(path) for path in find_images()]


@pytest.mark.slow
@pytest.mark.parametrize(("to", "size"), [("onnx", (33, 50)), ("openvino", (96, 64)), ("torch", (64, 160))])
def test_export_at_other_input_sizes(to: Format, size: tuple[int, int], tmp_path: Path) -> None:
    spec = export_spec(tiny_models.specs()[1], size=size)
    path = tmp_path / f"a{SUFFIXES[to]}"
    net = build(spec)
    export(net, spec, path, to)
    assert verify(path, net, spec, IMAGES[:1]).worst_failure() is None


@pytest.mark.slow
@pytest.mark.parametrize("nms", [False, True], ids=["raw", "nms"])
def test_int8_is_quantized_before_post_processing_is_appended(
    nms: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: list[object] = []

    def quantize(source: Path, target: Path, images: object, spec: object) -> None:
        target.write_bytes(source.read_bytes())
        arguments.extend([images, spec])

    monkeypatch.setattr("blitznet.export.quantize.quantize_onnx", quantize)
    spec = replace(NMS_SPEC, precision="int8")
    images = [np.zeros((*spec.size, 3), np.uint8)]
    export(small_network(), spec, tmp_path / "a.onnx", nms=nms, calibration_images=images)
    assert arguments == [images, spec]
    assert verify(tmp_path / "a.onnx", small_network(), spec, IMAGES[:1], nms=nms).worst_failure() is None


def test_export_spec() -> None:
    assert export_spec(SPEC) == SPEC
    assert export_spec(SPEC, precision="int8", size=(32, 320)) == replace(SPEC, precision="int8", size=(32, 320))
    with pytest.raises(UsageError, match="--imgsz: expected 32 pixels or more, got 16 64"):
        export_spec(SPEC, size=(16, 64))


@pytest.mark.parametrize(
    ("precision", "to", "num_images", "message"),
    [
        (
            "int8",
            "torch",
            1,
            "--precision: expected float32 or bfloat16 for torch, got int8; add --to onnx or openvino",
        ),
        ("int8", "onnx", 0, "--calibration-data: expected images for int8, got none"),
        ("float32", "onnx", 1, "--calibration-data: expected no images for float32, got some"),
    ],
)
def test_export_rejects_options_that_exclude_each_other(
    precision: Precision, to: Format, num_images: int, message: str, tmp_path: Path
) -> None:
    spec = replace(SPEC, precision=precision)
    images = [np.zeros((*SPEC.size, 3), np.uint8)] * num_images
    with pytest.raises(UsageError, match=message):
        export(small_network(), spec, tmp_path / "a", to, calibration_images=images)
    assert not list(tmp_path.iterdir())


def test_nms_needs_the_detection_task(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--nms: expected a model with the detection task, got small; remove --nms"):
        export(small_network(SEGMENTATION_SPEC), SEGMENTATION_SPEC, tmp_path / "a.onnx", nms=True)
