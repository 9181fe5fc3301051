from dataclasses import replace

import numpy as np
import pytest

from blitznet.core.calibration import PlattScaling
from blitznet.core.models import get_spec

LINES = (PlattScaling(), PlattScaling(0.5, -0.7), PlattScaling(2.5, 0.3), PlattScaling(1.0, 1.0))


@pytest.mark.parametrize("line", LINES)
def test_there_and_back(line: PlattScaling) -> None:
    own = np.array([0.0, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.999, 1.0], np.float32)
    told = line.apply(own)
    assert told.dtype == np.float32
    assert (told[0], told[-1]) == (0, 1)
    assert (np.diff(told) > 0).all()
    for before, after in zip(own[1:-1], told[1:-1], strict=True):
        odds = (before / (1 - before)) ** (1 / line.temperature) * np.exp(line.bias)
        assert after == pytest.approx(odds / (1 + odds), rel=1e-4)
        assert line.inverse(float(after)) == pytest.approx(before, rel=1e-4)
    assert [line.inverse(score) for score in (-1.0, 0.0, 1.0, 2.0)] == [-1.0, 0.0, 1.0, 2.0]


def test_a_contract_without_calibration_has_the_networks_own_limit() -> None:
    spec = get_spec("blitznet300-s8")
    line = PlattScaling(0.6, -0.3)
    limit = float(line.apply(np.array([0.01], np.float32))[0])
    told = replace(
        spec,
        score_calibration=PlattScaling(0.6, -0.3),
        segmentation_temperature=1.2,
        postprocess=replace(spec.postprocess, score_threshold=limit),
    )
    assert told.score_calibration == line
    assert told.uncalibrated() == spec
    assert spec.uncalibrated() == spec
