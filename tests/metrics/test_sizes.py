import numpy as np
import pytest

from blitznet.metrics.sizes import SizeScore, by_size
from support.metric_cases import drawn, evidence_of, result, sample

SMALL, MEDIUM, LARGE = (0, 0, 20, 20), (30, 30, 80, 80), (0, 0, 98, 97)


def test_objects_and_boxes_of_other_sizes_are_ignored() -> None:
    """A wrong small box stands before everything: it costs the small ones only."""
    truth = sample("a", [SMALL, MEDIUM, LARGE], [0, 0, 0])
    found = result([(80, 5, 95, 20), SMALL, MEDIUM], [0, 0, 0], [0.9, 0.8, 0.7])
    assert {name: (one.ap50, one.objects) for name, one in by_size(evidence_of([(found, truth)])).items()} == {
        "small": (pytest.approx(1 / 2), 1),
        "medium": (pytest.approx(1), 1),
        "large": (0.0, 1),
    }


def test_a_bound_belongs_to_both_sizes() -> None:
    edge = (0, 0, 32, 32)
    found = by_size(evidence_of([(result([edge], [0], [0.9]), sample("a", [edge], [0]))]))
    assert found == {"small": SizeScore(1.0, 1), "medium": SizeScore(1.0, 1), "large": SizeScore(None, 0)}


def test_ignored_objects_stay_ignored() -> None:
    truth = sample("a", [SMALL, (30, 30, 50, 50)], [0, 0], difficult=[True, False])
    found = result([SMALL, (30, 30, 50, 50)], [0, 0], [0.9, 0.8])
    assert by_size(evidence_of([(found, truth)]))["small"] == SizeScore(1.0, 1)


def test_close_to_cocos_own() -> None:
    """COCO falls back on a second object where the nearest is ignored or taken, so it may be a little higher."""
    pytest.importorskip("faster_coco_eval")
    from faster_coco_eval import COCO, COCOeval_faster

    from blitznet.metrics.coco_ap import _dataset, _table

    rng = np.random.default_rng(0)
    evidence = evidence_of([drawn(rng, f"{n}") for n in range(40)])
    truth = COCO(_dataset(evidence.objects, evidence.sizes, 3))
    judge = COCOeval_faster(truth, truth.loadRes(_table(evidence.found)), "bbox")
    judge.params.iouThrs = np.array([0.5])
    judge.evaluate()
    judge.accumulate()
    precision = np.asarray(judge.eval["precision"])  # (1, recalls, K, areas, most)
    for place, (name, score) in enumerate(by_size(evidence).items(), 1):
        values = precision[0, :, :, place, -1]
        if score.ap50 is not None:
            assert score.ap50 == pytest.approx(values[values >= 0].mean(), abs=0.03), name
