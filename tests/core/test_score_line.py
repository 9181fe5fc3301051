from dataclasses import replace

import numpy as np
import pytest

from blitznet.core.models import named
from blitznet.core.score_line import Line

LINES = (Line(), Line(0.5, -0.7), Line(2.5, 0.3), Line(1.0, 1.0))


@pytest.mark.parametrize("line", LINES)
def test_there_and_back(line: Line) -> None:
    own = np.array([0.0, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.999, 1.0], np.float32)
    told = line.told(own)
    assert told.dtype == np.float32
    assert (told[0], told[-1]) == (0, 1)
    assert (np.diff(told) > 0).all()
    for before, after in zip(own[1:-1], told[1:-1], strict=True):
        odds = (before / (1 - before)) ** (1 / line.temperature) * np.exp(line.shift)
        assert after == pytest.approx(odds / (1 + odds), rel=1e-4)
        assert line.own(float(after)) == pytest.approx(before, rel=1e-4)
    assert [line.own(score) for score in (-1.0, 0.0, 1.0, 2.0)] == [-1.0, 0.0, 1.0, 2.0]


def test_a_contract_without_calibration_has_the_networks_own_limit() -> None:
    spec = named("blitznet300-s8")
    line = Line(0.6, -0.3)
    limit = float(line.told(np.array([0.01], np.float32))[0])
    told = replace(spec, temperature=0.6, shift=-0.3, map_temperature=1.2, limits=replace(spec.limits, score=limit))
    assert told.score_line == line
    assert told.uncalibrated() == spec
    assert spec.uncalibrated() == spec
