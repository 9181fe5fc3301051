from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import UsageError
from blitznet.core.image import ImageSource
from blitznet.core.outputs import NmsOutputs
from blitznet.core.spec import Spec
from blitznet.metrics.calibration.fit import CalibrationFit, RawPrediction, calibrate_spec, fit_calibration
from blitznet.metrics.calibration.platt import PlattFit
from blitznet.metrics.calibration.temperature import TemperatureFit
from support.fake_engines import SPEC
from support.metric_cases import MemoryDataset, sample

BOXES = PlattFit(PlattScaling(0.5, 0.25), 0.1, 0.01, 0.02)
PIXELS = TemperatureFit(1.5, 0.2, 0.1, 0.12)


def test_calibrate_spec_keeps_the_detections_that_pass_the_threshold() -> None:
    spec = calibrate_spec(SPEC, CalibrationFit(BOXES, PIXELS))
    assert spec.score_calibration == BOXES.scaling
    assert spec.segmentation_temperature == 1.5
    threshold = BOXES.scaling.apply(np.array([SPEC.postprocess.score_threshold], np.float32))[0]
    assert spec.postprocess.score_threshold == pytest.approx(float(threshold))
    assert spec.uncalibrated() == SPEC


def test_calibrate_spec_replaces_an_earlier_calibration() -> None:
    earlier = calibrate_spec(SPEC, CalibrationFit(replace(BOXES, scaling=PlattScaling(2.0, -0.5)), PIXELS))
    assert calibrate_spec(earlier, CalibrationFit(BOXES, PIXELS)) == calibrate_spec(SPEC, CalibrationFit(BOXES, PIXELS))


def test_calibrate_spec_of_one_task_keeps_the_other() -> None:
    both = calibrate_spec(SPEC, CalibrationFit(BOXES, PIXELS))
    assert calibrate_spec(both, CalibrationFit(None, replace(PIXELS, temperature=2.0))) == replace(
        both, segmentation_temperature=2.0
    )
    assert calibrate_spec(both, CalibrationFit(BOXES, None)) == both


def test_calibrate_spec_without_a_fit() -> None:
    with pytest.raises(UsageError, match="expected datasets with boxes or masks, got none"):
        calibrate_spec(SPEC, CalibrationFit(None, None))


def test_fit_calibration_refuses_models_with_nms_inside() -> None:
    def predict(image: ImageSource) -> RawPrediction:
        none: Any = np.zeros((1, 0))
        return RawPrediction(NmsOutputs(none, none, none, none, None), image.size(), SPEC.size)

    spec: Spec = SPEC
    with pytest.raises(UsageError, match="expected a model without NMS inside"):
        fit_calibration(predict, spec, [MemoryDataset("a", (sample("1"),))])
