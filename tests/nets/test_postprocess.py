from collections.abc import Callable
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
from blitznet.nets.postprocess import EndToEnd, PostprocessModule, nms_output_names, nms_static
from blitznet.postprocess.decode import decode_detections
from support.exported_models import DETECTION_SPEC, SEGMENTATION_SPEC, small_network
from support.fake_engines import SPEC

LARGE_SPEC = replace(
    SPEC, size=(256, 320), postprocess=PostprocessConfig(topk_candidates=40, max_per_class=7, max_detections=15)
)
"""more anchors than candidates, and every limit is reached"""


def anchors_of(spec: Spec) -> Floats:
    return generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))


def random_outputs(spec: Spec, batch: int = 2, *, seed: int = 0, spread: float = 3.0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    shape = (batch, len(anchors_of(spec)))
    offsets = rng.normal(0, 1, (*shape, 4)).astype(np.float32)
    return offsets, rng.normal(0, spread, (*shape, spec.num_channels)).astype(np.float32)


def overlapping_outputs(spec: Spec) -> tuple[Floats, Floats]:
    """Outputs as of a trained network: neighboring anchors agree on a box and on a class."""
    anchors = anchors_of(spec)
    rng = np.random.default_rng(1)
    objects = np.floor(anchors[:, :2] * 3).astype(int) @ [1, 3]  # nine objects
    center = (np.stack([objects % 3, objects // 3], 1) + 0.5) / 3 + rng.normal(0, 0.01, (len(anchors), 2))
    shift = (center - anchors[:, :2]) / anchors[:, 2:] / 0.1
    log_scale = np.log(0.3 / anchors[:, 2:]) / 0.2 + rng.normal(0, 0.3, (len(anchors), 2))
    logits = rng.normal(0, 0.5, (len(anchors), spec.num_channels))
    logits[np.arange(len(anchors)), objects % spec.num_channels] += 5 * rng.random(len(anchors))
    return np.concatenate([shift, log_scale], 1)[None].astype(np.float32), logits[None].astype(np.float32)


def postprocess(spec: Spec, offsets: Floats, logits: Floats) -> tuple[Tensor, ...]:
    detections: tuple[Tensor, ...] = PostprocessModule(spec)(torch.from_numpy(offsets), torch.from_numpy(logits))
    return detections


def assert_equals_numpy(spec: Spec, offsets: Floats, logits: Floats) -> int:
    """Compare with the numpy reference; the number of boxes."""
    boxes, scores, labels, count = (tensor.numpy() for tensor in postprocess(spec, offsets, logits))
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
        LARGE_SPEC,
        replace(LARGE_SPEC, postprocess=PostprocessConfig()),
        replace(LARGE_SPEC, postprocess=PostprocessConfig(score_threshold=0.6, nms_threshold=0.2)),
        replace(LARGE_SPEC, postprocess=PostprocessConfig(nms_threshold=1.0, max_per_class=400, max_detections=1000)),
        replace(LARGE_SPEC, score_calibration=PlattScaling(0.7, -0.4)),
    ],
    ids=["few anchors", "low limits", "default limits", "thresholds", "no NMS", "calibrated scores"],
)
@pytest.mark.parametrize("outputs", [random_outputs, overlapping_outputs])
def test_equals_the_numpy_reference(spec: Spec, outputs: Callable[[Spec], tuple[Floats, Floats]]) -> None:
    assert assert_equals_numpy(spec, *outputs(spec))


def test_no_score_passes() -> None:
    offsets, logits = random_outputs(LARGE_SPEC)
    logits[..., 0] = 50
    assert assert_equals_numpy(LARGE_SPEC, offsets, logits) == 0


def test_every_score_passes_and_equal_ones_keep_the_order_of_the_anchors() -> None:
    offsets, logits = random_outputs(LARGE_SPEC)
    spec = replace(LARGE_SPEC, postprocess=replace(LARGE_SPEC.postprocess, topk_candidates=offsets.shape[1]))
    logits = np.round(logits / 4)  # few values, so that scores are equal
    logits[..., 0] = -50
    assert assert_equals_numpy(spec, offsets, logits) == 2 * LARGE_SPEC.postprocess.max_detections


def test_boxes_without_an_area_and_infinite_boxes() -> None:
    offsets, logits = random_outputs(SPEC)
    offsets[0, ::3, 2:] = -600
    offsets[1, ::3, 2:] = 600
    assert assert_equals_numpy(SPEC, offsets, logits)


@pytest.mark.parametrize(("threshold", "selected"), [(0.5, [0, 1]), (0.49, [0])])
def test_boxes_with_an_iou_at_the_threshold_are_selected(threshold: float, selected: list[int]) -> None:
    boxes = torch.tensor([[[[0.0, 0, 2, 1], [1, 0, 2, 1], [0, 0, 2, 1]]]])  # IoU 0.5, 1
    indices, valid = nms_static(boxes, torch.ones(1, 1, 3, dtype=torch.bool), iou_threshold=threshold, max_boxes=3)
    assert indices[valid].tolist() == selected


def test_one_image_has_the_same_result_as_in_a_batch() -> None:
    offsets, logits = random_outputs(LARGE_SPEC, batch=3)
    batch = postprocess(LARGE_SPEC, offsets, logits)
    for i in range(3):
        single = postprocess(LARGE_SPEC, offsets[i : i + 1], logits[i : i + 1])
        for actual, expected in zip(single, batch, strict=True):
            torch.testing.assert_close(actual[0], expected[i], atol=1e-6, rtol=0)


def test_end_to_end_returns_detections_and_class_map() -> None:
    spec = replace(SPEC, postprocess=LARGE_SPEC.postprocess)
    deployed = Deployed(small_network(), spec).eval()
    images = torch.randint(0, 256, (2, *spec.size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        *detections, class_map = EndToEnd(deployed, spec)(images)
        offsets, logits, segmentation_logits = deployed(images)
    for actual, expected in zip(detections, PostprocessModule(spec)(offsets, logits), strict=True):
        torch.testing.assert_close(actual, expected)
    assert class_map.dtype == torch.uint8
    upsampled = F.interpolate(segmentation_logits, spec.size, mode="bilinear", align_corners=False)
    assert class_map.tolist() == upsampled.max(1).indices.tolist()


def test_output_names_depend_on_the_tasks() -> None:
    assert nms_output_names(SPEC) == (*NMS_OUTPUT_NAMES, "class_map")
    assert nms_output_names(DETECTION_SPEC) == NMS_OUTPUT_NAMES
    net = EndToEnd(Deployed(small_network(DETECTION_SPEC), DETECTION_SPEC), DETECTION_SPEC)
    assert len(net(torch.zeros(1, 64, 48, 3))) == len(NMS_OUTPUT_NAMES)


def test_a_model_without_the_detection_task_is_rejected() -> None:
    with pytest.raises(UsageError, match="--nms: expected a model with the detection task, got small; remove --nms"):
        PostprocessModule(SEGMENTATION_SPEC)


def test_no_step_reads_values() -> None:
    """On the meta device a tensor has no values, so a step that reads one fails."""
    module = PostprocessModule(LARGE_SPEC).to("meta")
    offsets, logits = (torch.from_numpy(value).to("meta") for value in random_outputs(LARGE_SPEC))
    boxes, scores, labels, count = module(offsets, logits)
    assert (boxes.shape, scores.shape, labels.shape, count.shape) == ((2, 15, 4), (2, 15), (2, 15), (2,))
