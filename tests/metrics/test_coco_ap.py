import sys
from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import MissingExtra
from blitznet.core.sample import Sample
from blitznet.metrics.coco_ap import coco_ap
from blitznet.metrics.evidence import Collector
from blitznet.postprocess.result import Result
from support.metric_cases import NAMES, SIDE, drawn, result, sample


def scores(pairs: list[tuple[Result, Sample]]) -> tuple[float | None, float | None]:
    collector = Collector(NAMES)
    for pair in pairs:
        collector.update(*pair)
    proof = collector.evidence()
    return coco_ap(proof.found, proof.objects, proof.sizes, len(NAMES))


def by_hand(pairs: list[tuple[Result, Sample]]) -> tuple[float, float]:
    """The library's own way: dictionaries in, its printed statistics out."""
    from faster_coco_eval import COCO, COCOeval_faster

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for number, (found, truth) in enumerate(pairs, 10):
        images.append({"id": number, "width": SIDE, "height": SIDE})
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
        for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
            x, y, w, h = float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])
            answers.append(
                {"image_id": number, "category_id": int(label) + 7, "bbox": [x, y, w, h], "score": float(score)}
            )
    categories = [{"id": label + 7, "name": name} for label, name in enumerate(NAMES)]
    truth_table = COCO({"info": {}, "images": images, "annotations": annotations, "categories": categories})
    run = COCOeval_faster(truth_table, truth_table.loadRes(answers), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return float(run.stats[0]), float(run.stats[1])


def test_equals_the_library_called_by_hand() -> None:
    rng = np.random.default_rng(3)
    pairs = [drawn(rng, f"{n}") for n in range(20)]
    assert scores(pairs) == pytest.approx(by_hand(pairs), abs=1e-6)


def test_perfect_nothing_found_and_nothing_to_find() -> None:
    box = (10, 10, 40, 40)
    truth = sample("a", [box], [0])
    assert scores([(result([box], [0], [0.9]), truth)]) == pytest.approx((1.0, 1.0))
    assert scores([(result(), truth)]) == (0.0, 0.0)
    assert scores([(result([box], [0], [0.9]), sample("a"))]) == (None, None)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingExtra, match=r"needs `pip install 'blitznet\[eval\]'`"):
        scores([(result(), sample("a"))])
