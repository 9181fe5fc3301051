import sys
from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import MissingExtra
from blitznet.core.sample import Sample
from blitznet.metrics.coco_ap import coco_ap
from blitznet.postprocess.result import Result
from support.metric_cases import NAMES, SIZE, random_case, result, sample, state_of


def scores(pairs: list[tuple[Result, Sample]]) -> tuple[float | None, float | None]:
    state = state_of(pairs)
    return coco_ap(state.predictions, state.objects, state.sizes, len(NAMES))


def scores_by_dictionaries(pairs: list[tuple[Result, Sample]]) -> tuple[float, float]:
    """The same through the library's dictionaries, object by object."""
    from faster_coco_eval import COCO, COCOeval_faster

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for number, (predicted, truth) in enumerate(pairs, 10):
        images.append({"id": number, "width": SIZE, "height": SIZE})
        for box, label, ignored in zip(truth.boxes, truth.labels, truth.difficult | truth.crowd, strict=True):
            x, y, w, h = float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(label) + 7,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(ignored),
                }
            )
        for box, label, score in zip(predicted.boxes, predicted.labels, predicted.scores, strict=True):
            x, y, w, h = float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])
            detections.append(
                {"image_id": number, "category_id": int(label) + 7, "bbox": [x, y, w, h], "score": float(score)}
            )
    categories = [{"id": label + 7, "name": name} for label, name in enumerate(NAMES)]
    truth_table = COCO({"info": {}, "images": images, "annotations": annotations, "categories": categories})
    evaluator = COCOeval_faster(truth_table, truth_table.loadRes(detections), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return float(evaluator.stats[0]), float(evaluator.stats[1])


def test_coco_ap_equals_the_library_s_own_way() -> None:
    rng = np.random.default_rng(3)
    pairs = [random_case(rng, f"{n}") for n in range(20)]
    assert scores(pairs) == pytest.approx(scores_by_dictionaries(pairs), abs=1e-6)


def test_coco_ap_of_perfect_missing_and_unlabeled() -> None:
    box = (10, 10, 40, 40)
    truth = sample("a", [box], [0])
    assert scores([(result([box], [0], [0.9]), truth)]) == pytest.approx((1.0, 1.0))
    assert scores([(result(), truth)]) == (0.0, 0.0)
    assert scores([(result([box], [0], [0.9]), sample("a"))]) == (None, None)
    for ignored in (sample("a", [box], [0], difficult=[True]), sample("a", [box], [0], crowd=[True])):
        assert scores([(result([box], [0], [0.9]), ignored)]) == (None, None)


@pytest.mark.parametrize(("wrong", "score"), [(99, 0.01), (100, 0.0)])
def test_only_a_hundred_detections_of_a_class_are_scored(wrong: int, score: float) -> None:
    """The one that is right has the lowest score."""
    box, far = (10, 10, 40, 40), (60, 60, 90, 90)
    predicted = result([far] * wrong + [box], [0] * (wrong + 1), np.linspace(0.9, 0.1, wrong + 1))
    assert scores([(predicted, sample("a", [box], [0]))]) == pytest.approx((score, score), abs=1e-4)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingExtra, match=r"needs `pip install 'blitznet\[eval\]'`"):
        scores([(result(), sample("a"))])
