import json
from typing import Any

import numpy as np
import pytest

from blitznet.core.arrays import ClassMap, Floats
from blitznet.core.errors import BlitzNetError
from blitznet.postprocess.result import Result


def result(**fields: Any) -> Result:
    values: dict[str, Any] = {
        "boxes": np.array([[1, 2, 30.126, 40], [0, 0, 9, 9], [5, 5, 6, 6]], np.float32),
        "scores": np.array([0.912345, 0.5, 0.1], np.float32),
        "labels": np.array([1, 0, 1]),
        "names": ("cat", "dog"),
        "size": (40, 60),
        "painted": np.zeros((40, 60), np.uint8),
    }
    return Result(**{**values, **fields})


def test_plain_values_for_json() -> None:
    plain = json.loads(json.dumps(result().above(0.5).to_dict()))
    assert plain == {
        "width": 60,
        "height": 40,
        "detections": [
            {"label": "dog", "score": 0.9123, "box": [1.0, 2.0, 30.13, 40.0]},
            {"label": "cat", "score": 0.5, "box": [0.0, 0.0, 9.0, 9.0]},
        ],
    }


@pytest.mark.parametrize(("score", "count"), [(0, 3), (0.1, 3), (0.11, 2), (0.5, 2), (0.95, 0)])
def test_above_keeps_what_has_the_score(score: float, count: int) -> None:
    kept = result().above(score)
    assert len(kept) == len(kept.boxes) == len(kept.labels) == count
    assert kept.class_map is not None
    assert (kept.class_names, kept.size) == (("cat", "dog"), (40, 60))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": np.zeros((2, 4), np.float32)}, r"^Result\.boxes: expected shape \(3, 4\), got \(2, 4\)$"),
        ({"labels": np.zeros(2, np.int64)}, r"^Result\.labels: expected shape \(3\), got \(2,\)$"),
        ({"painted": np.zeros((60, 40), np.uint8)}, r"^Result\.painted: expected shape \(40, 60\), got \(60, 40\)$"),
    ],
)
def test_arrays_must_agree(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BlitzNetError, match=message):
        result(**fields)


def test_no_class_map_is_no_mistake() -> None:
    assert result(painted=None).class_map is None


def test_a_class_map_is_made_once_and_only_when_looked_at() -> None:
    made = list[int]()

    def paint() -> ClassMap:
        made.append(1)
        return np.ones((40, 60), np.uint8)

    seen = result(painted=paint)
    assert not made
    assert seen.class_map is not None
    assert seen.class_map is seen.class_map
    assert seen.above(0.5).class_map is seen.class_map
    assert made == [1]


def test_certainty_is_made_once_and_only_when_looked_at() -> None:
    made = list[int]()

    def look() -> Floats:
        made.append(1)
        return np.ones((40, 60), np.float32)

    seen = result(sure=look)
    assert not made
    assert seen.confidence is not None
    assert seen.above(0.5).confidence is seen.confidence
    assert made == [1]
    assert result().confidence is None
    with pytest.raises(BlitzNetError, match=r"^Result\.sure: expected shape \(40, 60\)"):
        result(sure=np.ones((60, 40), np.float32))
