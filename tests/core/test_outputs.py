from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import ModelError
from blitznet.core.outputs import NmsOutputs, Outputs, outputs_from

RAW = {"offsets": np.zeros((1, 6, 4)), "logits": np.zeros((1, 6, 3)), "segmentation_logits": np.zeros((1, 3, 2, 2))}
NMS = {"boxes": np.zeros((1, 5, 4)), "scores": np.zeros((1, 5)), "labels": np.zeros((1, 5)), "count": np.zeros(1)}


@pytest.mark.parametrize("name", ["segmentation_logits", "class_map"])
def test_raw_outputs(name: str) -> None:
    """Version 1 calls the segmentation logits `class_map`."""
    outputs = outputs_from(
        {"offsets": RAW["offsets"], "logits": RAW["logits"], name: RAW["segmentation_logits"]}, source="a.onnx"
    )
    assert isinstance(outputs, Outputs)
    for field, array in RAW.items():
        assert getattr(outputs, field) is array


def test_raw_outputs_of_a_single_task() -> None:
    outputs = outputs_from({"segmentation_logits": RAW["segmentation_logits"]}, source="a.onnx")
    assert isinstance(outputs, Outputs)
    assert outputs.offsets is None
    assert outputs.logits is None


@pytest.mark.parametrize("class_map", [None, np.zeros((1, 8, 8), np.uint8)])
def test_nms_outputs(class_map: Any) -> None:
    arrays = NMS if class_map is None else {**NMS, "class_map": class_map}
    outputs = outputs_from(arrays, source="a.onnx")
    assert isinstance(outputs, NmsOutputs)
    assert outputs.boxes is NMS["boxes"]
    assert outputs.class_map is class_map


def test_unknown_outputs() -> None:
    with pytest.raises(ModelError, match=r"^a\.onnx: expected outputs from offsets, .*, got depth$"):
        outputs_from({"depth": np.zeros(1)}, source="a.onnx")
