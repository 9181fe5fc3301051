import numpy as np
import pytest

from blitznet.metrics.sizes import SizeScore, ap_by_size
from support.metric_cases import random_case, result, sample, state_of

SMALL, MEDIUM, LARGE = (0, 0, 20, 20), (30, 30, 80, 80), (0, 0, 98, 97)


def test_objects_and_boxes_of_other_sizes_are_ignored() -> None:
    """A small false positive has the highest score; it lowers the AP of small objects only."""
    truth = sample("a", [SMALL, MEDIUM, LARGE], [0, 0, 0])
    predicted = result([(80, 5, 95, 20), SMALL, MEDIUM], [0, 0, 0], [0.9, 0.8, 0.7])
    scores = ap_by_size(state_of([(predicted, truth)]))
    assert {name: (score.ap50, score.objects) for name, score in scores.items()} == {
        "small": (pytest.approx(1 / 2), 1),
        "medium": (pytest.approx(1), 1),
        "large": (0.0, 1),
    }


def test_area_ranges_share_their_bounds() -> None:
    box = (0, 0, 32, 32)
    scores = ap_by_size(state_of([(result([box], [0], [0.9]), sample("a", [box], [0]))]))
    assert scores == {"small": SizeScore(1.0, 1), "medium": SizeScore(1.0, 1), "large": SizeScore(None, 0)}


def test_ignored_objects_stay_ignored() -> None:
    truth = sample("a", [SMALL, (30, 30, 50, 50)], [0, 0], difficult=[True, False])
    predicted = result([SMALL, (30, 30, 50, 50)], [0, 0], [0.9, 0.8])
    assert ap_by_size(state_of([(predicted, truth)]))["small"] == SizeScore(1.0, 1)


def test_ap_is_close_to_coco_s() -> None:
    """COCO tries a second object if the nearest is ignored or matched, so its AP may be a little higher."""
    pytest.importorskip("faster_coco_eval")
    from faster_coco_eval import COCO, COCOeval_faster

    from blitznet.metrics.coco_ap import _detections, _ground_truth

    rng = np.random.default_rng(0)
    state = state_of([random_case(rng, f"{n}") for n in range(40)])
    truth = COCO(_ground_truth(state.objects, state.sizes, 3))
    evaluator = COCOeval_faster(truth, truth.loadRes(_detections(state.predictions)), "bbox")
    evaluator.params.iouThrs = np.array([0.5])
    evaluator.evaluate()
    evaluator.accumulate()
    precision = np.asarray(evaluator.eval["precision"])  # (1, recalls, K, areas, most)
    for area, (name, score) in enumerate(ap_by_size(state).items(), 1):
        values = precision[0, :, :, area, -1]
        if score.ap50 is not None:
            assert score.ap50 == pytest.approx(values[values >= 0].mean(), abs=0.03), name
