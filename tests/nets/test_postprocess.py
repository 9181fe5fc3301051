from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import Floats
from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import UsageError
from blitznet.core.outputs import NMS_OUTPUT_NAMES
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.nets.deploy import Deployed
from blitznet.nets.postprocess import EndToEnd, PostprocessModule, nms_output_names
from blitznet.postprocess.decode import decode_detections
from support.exported_models import DETECTION, SEGMENTATION, small
from support.fake_engines import SPEC

WIDE = replace(
    SPEC, size=(256, 320), postprocess=PostprocessConfig(topk_candidates=40, max_per_class=7, max_detections=15)
)
"""more anchors than candidates, and limits that all bite"""


def anchors_of(spec: Spec) -> Floats:
    return generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))


def random(spec: Spec, batch: int = 2, *, seed: int = 0, spread: float = 3.0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    shape = (batch, len(anchors_of(spec)))
    offsets = rng.normal(0, 1, (*shape, 4)).astype(np.float32)
    return offsets, rng.normal(0, spread, (*shape, spec.num_channels)).astype(np.float32)


def crowded(spec: Spec) -> tuple[Floats, Floats]:
    """Objects as a network sees them: neighbouring anchors of one place agree on a box and on a class."""
    anchors = anchors_of(spec)
    rng = np.random.default_rng(1)
    place = np.floor(anchors[:, :2] * 3).astype(int) @ [1, 3]  # nine objects
    centre = (np.stack([place % 3, place // 3], 1) + 0.5) / 3 + rng.normal(0, 0.01, (len(anchors), 2))
    shift = (centre - anchors[:, :2]) / anchors[:, 2:] / 0.1
    stretch = np.log(0.3 / anchors[:, 2:]) / 0.2 + rng.normal(0, 0.3, (len(anchors), 2))
    logits = rng.normal(0, 0.5, (len(anchors), spec.num_channels))
    logits[np.arange(len(anchors)), place % spec.num_channels] += 5 * rng.random(len(anchors))
    return np.concatenate([shift, stretch], 1)[None].astype(np.float32), logits[None].astype(np.float32)


def finish(spec: Spec, offsets: Floats, logits: Floats) -> tuple[Tensor, ...]:
    given: tuple[Tensor, ...] = PostprocessModule(spec)(torch.from_numpy(offsets), torch.from_numpy(logits))
    return given


def require_the_same(spec: Spec, offsets: Floats, logits: Floats) -> int:
    """Compare with numpy's finishing; how many boxes there are."""
    boxes, scores, labels, count = (answer.numpy() for answer in finish(spec, offsets, logits))
    assert boxes.shape[1:] == (scores.shape[1], 4)
    assert labels.dtype == count.dtype == np.int64
    for i in range(len(offsets)):
        expected = decode_detections(offsets[i], logits[i], anchors_of(spec), spec, spec.postprocess)
        n = count[i]
        assert n == len(expected[1])
        np.testing.assert_allclose(boxes[i, :n], expected[0], atol=1e-5)
        np.testing.assert_allclose(scores[i, :n], expected[1], atol=1e-5)
        np.testing.assert_array_equal(labels[i, :n], expected[2])
        assert not boxes[i, n:].any()
        assert not scores[i, n:].any()
        assert not labels[i, n:].any()
    return int(count.sum())


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        WIDE,
        replace(WIDE, postprocess=PostprocessConfig()),
        replace(WIDE, postprocess=PostprocessConfig(score_threshold=0.6, nms_threshold=0.2)),
        replace(WIDE, postprocess=PostprocessConfig(nms_threshold=1.0, max_per_class=400, max_detections=1000)),
        replace(WIDE, score_calibration=PlattScaling(0.7, -0.4)),
    ],
    ids=["few anchors", "narrow limits", "wide limits", "score and iou", "nothing suppressed", "told scores"],
)
@pytest.mark.parametrize("made", ["random", "crowded"])
def test_the_same_as_in_numpy(spec: Spec, made: str) -> None:
    assert require_the_same(spec, *(random(spec) if made == "random" else crowded(spec)))


def test_nothing_passes() -> None:
    offsets, logits = random(WIDE)
    logits[..., 0] = 50
    assert require_the_same(WIDE, offsets, logits) == 0


def test_everything_passes_and_ties_keep_the_anchors_order() -> None:
    offsets, logits = random(WIDE)
    spec = replace(WIDE, postprocess=replace(WIDE.postprocess, topk_candidates=offsets.shape[1]))
    logits = np.round(logits / 4)  # few values, so that scores are equal
    logits[..., 0] = -50
    assert require_the_same(spec, offsets, logits) == 2 * WIDE.postprocess.max_detections


def test_boxes_without_an_area_and_without_an_end() -> None:
    offsets, logits = random(SPEC)
    offsets[0, ::3, 2:] = -600
    offsets[1, ::3, 2:] = 600
    assert require_the_same(SPEC, offsets, logits)


def test_alone_as_in_a_batch() -> None:
    offsets, logits = random(WIDE, batch=3)
    together = finish(WIDE, offsets, logits)
    for i in range(3):
        for one, all_ in zip(finish(WIDE, offsets[i : i + 1], logits[i : i + 1]), together, strict=True):
            torch.testing.assert_close(one[0], all_[i], atol=1e-6, rtol=0)


def test_from_pixels_to_a_class_map() -> None:
    spec = replace(SPEC, postprocess=WIDE.postprocess)
    deployed = Deployed(small(), spec).eval()
    images = torch.randint(0, 256, (2, *spec.size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        *found, painted = EndToEnd(deployed, spec)(images)
        offsets, logits, class_map = deployed(images)
    for actual, expected in zip(found, PostprocessModule(spec)(offsets, logits), strict=True):
        torch.testing.assert_close(actual, expected)
    assert painted.dtype == torch.uint8
    wide = F.interpolate(class_map, spec.size, mode="bilinear", align_corners=False)
    assert painted.tolist() == wide.max(1).indices.tolist()


def test_names() -> None:
    assert nms_output_names(SPEC) == (*NMS_OUTPUT_NAMES, "class_map")
    assert nms_output_names(DETECTION) == NMS_OUTPUT_NAMES
    assert len(EndToEnd(Deployed(small(DETECTION), DETECTION), DETECTION)(torch.zeros(1, 64, 48, 3))) == len(
        NMS_OUTPUT_NAMES
    )


def test_no_boxes_to_finish() -> None:
    with pytest.raises(UsageError, match="small: finds no boxes, so there are none to suppress; leave --nms out"):
        PostprocessModule(SEGMENTATION)


def test_nothing_is_asked_of_the_device() -> None:
    """On the meta device a tensor has a shape and no values: whatever looks at one fails."""
    finishing = PostprocessModule(WIDE).to("meta")
    offsets, logits = (torch.from_numpy(value).to("meta") for value in random(WIDE))
    boxes, scores, labels, count = finishing(offsets, logits)
    assert (boxes.shape, scores.shape, labels.shape, count.shape) == ((2, 15, 4), (2, 15), (2, 15), (2,))
