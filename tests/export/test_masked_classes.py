"""Exported files never predict a class that a head did not learn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blitznet.core.image import ImageSource
from blitznet.core.spec import PostprocessConfig
from blitznet.export.formats import export
from blitznet.nets.blitznet import build
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.predictor import Predictor
from support import synthetic_data, tiny_models


@pytest.mark.slow
@pytest.mark.parametrize("nms", [False, True])
def test_masked_classes_are_not_in_the_results_of_a_file(nms: bool, tmp_path: Path) -> None:
    _, spec = tiny_models.specs()
    spec = replace(
        spec,
        detection_classes=("square",),
        segmentation_classes=("cross", "ell"),
        postprocess=PostprocessConfig(score_threshold=1e-6, max_per_class=4, max_detections=8),
    )
    torch.manual_seed(0)
    export(build(spec).eval(), spec, tmp_path / "m.onnx", nms=nms)
    predictor = Predictor(OnnxEngine(tmp_path / "m.onnx", threads=1))
    assert predictor.spec.detection_classes == ("square",)
    for drawing in synthetic_data.draw(3):
        result = predictor(ImageSource(drawing.image), min_score=0.0)
        assert set(result.labels.tolist()) == {2}
        assert result.class_map is not None
        assert 3 not in np.unique(result.class_map)
