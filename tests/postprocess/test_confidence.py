from dataclasses import replace

import numpy as np
import pytest

from blitznet.core.outputs import NmsOutputs
from blitznet.postprocess import confidence as module
from blitznet.postprocess.confidence import pixel_confidence
from blitznet.postprocess.postprocess import postprocess
from support.fake_engines import MAP, SPEC, random_outputs


@pytest.mark.parametrize("size", [(16, 12), (61, 37), (5, 7), (1, 90)])
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_confidence_equals_a_plain_loop(size: tuple[int, int], chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_VALUES", chunk)
    logits = np.random.default_rng(0).normal(0, 3, (4, *MAP)).astype(np.float32)
    confidence = pixel_confidence(logits, size, 2.0)
    assert confidence.dtype == np.float32
    for y, x in np.ndindex(*size):
        v = min(max((y + 0.5) * MAP[0] / size[0] - 0.5, 0), MAP[0] - 1)
        u = min(max((x + 0.5) * MAP[1] / size[1] - 0.5, 0), MAP[1] - 1)
        i, j = int(v), int(u)
        below, right = min(i + 1, MAP[0] - 1), min(j + 1, MAP[1] - 1)
        top = logits[:, i, j] * (1 - u + j) + logits[:, i, right] * (u - j)
        low = logits[:, below, j] * (1 - u + j) + logits[:, below, right] * (u - j)
        power = np.exp((top * (1 - v + i) + low * (v - i)) / 2)
        assert confidence[y, x] == pytest.approx(power.max() / power.sum(), abs=1e-5)


def test_result_uses_the_specs_temperature() -> None:
    outputs = random_outputs(2)
    assert outputs.segmentation_logits is not None
    confidence = postprocess(outputs, 1, replace(SPEC, segmentation_temperature=3.0), size=(9, 7)).confidence
    assert confidence is not None
    np.testing.assert_array_equal(confidence, pixel_confidence(outputs.segmentation_logits[1], (9, 7), 3.0))
    assert postprocess(outputs, 0, SPEC, size=(9, 7), class_map=False).confidence is None


def test_model_with_nms_inside_has_no_confidence() -> None:
    none, small = np.zeros((1, 0), np.float32), np.zeros((1, *SPEC.size), np.uint8)
    outputs = NmsOutputs(np.zeros((1, 0, 4), np.float32), none, none.astype(np.int64), np.zeros(1, np.int64), small)
    result = postprocess(outputs, 0, SPEC, size=(9, 7))
    assert result.class_map is not None
    assert result.confidence is None
