from dataclasses import replace

import numpy as np
import pytest

from blitznet.core.calibration import PlattScaling
from blitznet.core.models import get_spec

SCALINGS = (PlattScaling(), PlattScaling(0.5, -0.7), PlattScaling(2.5, 0.3), PlattScaling(1.0, 1.0))


@pytest.mark.parametrize("scaling", SCALINGS)
def test_inverse_undoes_apply(scaling: PlattScaling) -> None:
    raw = np.array([0.0, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.999, 1.0], np.float32)
    calibrated = scaling.apply(raw)
    assert calibrated.dtype == np.float32
    assert (calibrated[0], calibrated[-1]) == (0, 1)
    assert (np.diff(calibrated) > 0).all()
    for before, after in zip(raw[1:-1], calibrated[1:-1], strict=True):
        odds = (before / (1 - before)) ** (1 / scaling.temperature) * np.exp(scaling.bias)
        assert after == pytest.approx(odds / (1 + odds), rel=1e-4)
        assert scaling.inverse(float(after)) == pytest.approx(before, rel=1e-4)
    assert [scaling.inverse(score) for score in (-1.0, 0.0, 1.0, 2.0)] == [-1.0, 0.0, 1.0, 2.0]


def test_uncalibrated_spec_has_the_networks_own_threshold() -> None:
    spec = get_spec("blitznet300-s8")
    scaling = PlattScaling(0.6, -0.3)
    threshold = float(scaling.apply(np.array([0.01], np.float32))[0])
    calibrated = replace(
        spec,
        score_calibration=scaling,
        segmentation_temperature=1.2,
        postprocess=replace(spec.postprocess, score_threshold=threshold),
    )
    assert calibrated.uncalibrated() == spec
    assert spec.uncalibrated() == spec
