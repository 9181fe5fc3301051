from dataclasses import replace

import numpy as np
import pytest

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import Floats
from blitznet.core.calibration import PlattScaling
from blitznet.core.spec import AnchorLayout, PostprocessConfig
from blitznet.postprocess.decode import decode_detections
from support.fake_engines import ANCHORS, SPEC, random_outputs

Row = tuple[float, int, int, list[np.float32]]
"""score, label, anchor, box"""

SMALL = PostprocessConfig(score_threshold=0.2, topk_candidates=12, nms_threshold=0.3, max_per_class=4, max_detections=9)
ALL = PostprocessConfig(score_threshold=0.0, topk_candidates=20, nms_threshold=0.45, max_per_class=5, max_detections=10)
EVERYTHING = PostprocessConfig(
    score_threshold=-1.0, topk_candidates=10**6, nms_threshold=1.0, max_per_class=10**6, max_detections=10**6
)


def reference_box(offset: Floats, anchor: Floats) -> list[np.float32]:
    """Decode one offset, then clip both corners."""
    x, y = (anchor[i] + offset[i] * np.float32(0.1) * anchor[2 + i] for i in (0, 1))
    w, h = (anchor[2 + i] * np.exp(offset[2 + i] * np.float32(0.2)) for i in (0, 1))
    corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    return [min(max(np.float32(corner), np.float32(0)), np.float32(1)) for corner in corners]


def reference_iou(a: list[np.float32], b: list[np.float32]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    zero = np.float32(0)
    inter = max(width, zero) * max(height, zero)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter / union) if union > 0 else 0.0


def decode_reference(offsets: Floats, logits: Floats, anchors: Floats, config: PostprocessConfig) -> list[Row]:
    """The paper's 3.5 in plain loops: softmax and decoding of every anchor first."""
    scores = [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in logits]
    boxes = [reference_box(offset, anchor) for offset, anchor in zip(offsets, anchors, strict=True)]
    rows = list[Row]()
    for label in range(logits.shape[1] - 1):
        passing = [a for a in range(len(anchors)) if scores[a][label + 1] > config.score_threshold]
        passing.sort(key=lambda a, label=label: -scores[a][label + 1])  # type: ignore[misc]
        keep = list[int]()
        for a in passing[: config.topk_candidates]:
            if len(keep) < config.max_per_class and all(
                reference_iou(boxes[a], boxes[b]) <= config.nms_threshold for b in keep
            ):
                keep.append(a)
        rows += [(float(scores[a][label + 1]), label, a, boxes[a]) for a in keep]
    return sorted(rows, key=lambda row: -row[0])[: config.max_detections]


def assert_equals_reference(offsets: Floats, logits: Floats, anchors: Floats, config: PostprocessConfig) -> int:
    """Assert that decoding equals the reference; return the number of detections."""
    boxes, scores, labels = decode_detections(offsets, logits, anchors, SPEC, config)
    expected = decode_reference(offsets, logits, anchors, config)
    assert labels.tolist() == [label for _, label, _, _ in expected]
    np.testing.assert_allclose(scores, np.array([score for score, *_ in expected], np.float32), rtol=1e-6)
    np.testing.assert_allclose(boxes, np.array([box for *_, box in expected], np.float32).reshape(-1, 4), atol=2e-6)
    return len(expected)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "config", [PostprocessConfig(), SMALL, ALL, EVERYTHING], ids=["paper", "small", "all", "everything"]
)
@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
def test_decoding_equals_the_reference(seed: int, config: PostprocessConfig, spread: float) -> None:
    outputs = random_outputs(seed=seed, spread=spread)
    assert outputs.offsets is not None
    assert outputs.logits is not None
    part = slice(0, 40) if config is EVERYTHING else slice(None)
    assert_equals_reference(outputs.offsets[0, part], outputs.logits[0, part], ANCHORS[part], config)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("config", [PostprocessConfig(), SMALL, ALL], ids=["paper", "small", "all"])
def test_equal_scores_are_ordered_by_class_then_by_anchor(seed: int, config: PostprocessConfig) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.integers(-1, 2, (len(ANCHORS), SPEC.num_channels)).astype(np.float32)
    offsets = rng.integers(-3, 4, (len(ANCHORS), 4)).astype(np.float32)
    assert assert_equals_reference(offsets, logits, ANCHORS, config) > 3


@pytest.mark.parametrize(
    ("config", "counts"),
    [
        (PostprocessConfig(topk_candidates=10, nms_threshold=1.0, max_per_class=8, max_detections=20), [8, 8, 4]),
        (PostprocessConfig(topk_candidates=10, nms_threshold=1.0, max_per_class=12, max_detections=24), [10, 10, 4]),
        (PostprocessConfig(topk_candidates=10, nms_threshold=1.0, max_per_class=12, max_detections=31), [10, 10, 10]),
    ],
)
def test_equal_scores_at_every_limit(config: PostprocessConfig, counts: list[int]) -> None:
    offsets, logits = np.zeros_like(ANCHORS), np.zeros((len(ANCHORS), 4), np.float32)
    _, _, labels = decode_detections(offsets, logits, ANCHORS, SPEC, config)
    assert np.bincount(labels).tolist() == counts
    assert_equals_reference(offsets, logits, ANCHORS, config)


@pytest.mark.parametrize("calibration", [PlattScaling(0.5, -0.7), PlattScaling(2.0, 0.3)])
def test_calibrated_scores_belong_to_the_same_boxes(calibration: PlattScaling) -> None:
    outputs = random_outputs(spread=3.0)
    assert outputs.offsets is not None
    assert outputs.logits is not None
    offsets, logits = outputs.offsets[0], outputs.logits[0]
    boxes, scores, labels = decode_detections(offsets, logits, ANCHORS, SPEC, SMALL)
    config = replace(SMALL, score_threshold=float(calibration.apply(np.array([SMALL.score_threshold], np.float32))[0]))
    spec = replace(SPEC, score_calibration=calibration)
    calibrated = decode_detections(offsets, logits, ANCHORS, spec, config)
    assert len(boxes) > 3
    np.testing.assert_array_equal(calibrated[0], boxes)
    np.testing.assert_allclose(
        calibrated[1],
        1 / (1 + ((1 - scores) / scores) ** (1 / calibration.temperature) / np.exp(calibration.bias)),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(calibrated[2], labels)


@pytest.mark.parametrize("max_detections", [1, 30, 200])
@pytest.mark.parametrize("step", [0.0, 1e-3])
def test_higher_thresholds_tried_first_change_nothing(max_detections: int, step: float) -> None:
    layout = AnchorLayout(strides=(8, 16), min_scale=0.1, second_scale=0.3, max_scale=0.9)
    anchors = generate_anchors(layout, feature_map_sizes(layout, (128, 128)))
    rng = np.random.default_rng(max_detections)
    logits = rng.normal(0, 2, (len(anchors), SPEC.num_channels)).astype(np.float32)
    if step:
        logits = np.round(logits / 2)  # many equal scores
    offsets = rng.normal(0, 1, (len(anchors), 4)).astype(np.float32)
    config = PostprocessConfig(topk_candidates=400, max_per_class=100, max_detections=max_detections)
    assert assert_equals_reference(offsets, logits, anchors, config) == max_detections


def test_a_class_that_scores_higher_where_the_thresholds_are_estimated() -> None:
    """Every 17th anchor is sampled. There a class scores 0.9, elsewhere 0.5: the raised threshold is too high."""
    layout = AnchorLayout(strides=(8, 16), min_scale=0.1, second_scale=0.3, max_scale=0.9)
    anchors = generate_anchors(layout, feature_map_sizes(layout, (128, 128)))
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 0.1, (len(anchors), SPEC.num_channels)).astype(np.float32)
    logits[:, 1] += 1
    logits[::17, 1] += 3
    offsets = np.zeros((len(anchors), 4), np.float32)
    config = PostprocessConfig(nms_threshold=1.0, max_per_class=400, max_detections=100)
    assert assert_equals_reference(offsets, logits, anchors, config) == 100
    config = replace(config, max_detections=200)
    assert assert_equals_reference(offsets, logits, anchors, config) == 200


def test_all_anchors_of_a_large_grid_pass() -> None:
    layout = AnchorLayout(strides=(8, 16), min_scale=0.1, second_scale=0.3, max_scale=0.9)
    anchors = generate_anchors(layout, feature_map_sizes(layout, (128, 96)))
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 0.5, (len(anchors), SPEC.num_channels)).astype(np.float32)
    offsets = rng.normal(0, 1, (len(anchors), 4)).astype(np.float32)
    assert assert_equals_reference(offsets, logits, anchors, PostprocessConfig()) > 50


@pytest.mark.parametrize("score", [0.001, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_prefilter_drops_nothing_that_passes(score: float) -> None:
    rng = np.random.default_rng(5)
    shift = rng.choice([0.0, 50.0, -80.0], (5000, 1))
    logits = (rng.normal(0, 4, (5000, SPEC.num_channels)) + shift).astype(np.float32)
    logits[:500, 0] = logits[:500, 1] - np.float32(np.log(score / (1 - score)))  # two classes alone, at the threshold
    logits[:500, 2:] = -200
    config = replace(EVERYTHING, score_threshold=score)
    _, scores, _ = decode_detections(
        np.zeros((5000, 4), np.float32), logits, np.full((5000, 4), 0.5, np.float32), SPEC, config
    )
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    scores_of_all = (exponentials / exponentials.sum(1, keepdims=True))[:, 1:]
    np.testing.assert_array_equal(scores, np.sort(scores_of_all[scores_of_all > score])[::-1])


def test_corners_are_decoded_before_clipping() -> None:
    anchors = np.array([[0.006667, 0.006667, 0.04, 0.04]], np.float32)  # the first of blitznet300-s4
    boxes, _, _ = decode_detections(
        np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32), anchors, SPEC, PostprocessConfig()
    )
    np.testing.assert_allclose(boxes[0], [0, 0, 0.026667, 0.026667], atol=1e-6)
