import json

from blitznet.metrics.report import ClassScore, DetectionScores, Report, SegmentationScores, SetScores

FIRST = SetScores(
    title="voc:a@val",
    images=3,
    detection=DetectionScores(
        ap50_11point=0.5,
        ap50_area=0.6,
        ap50_frequent=0.7,
        calibration_error=0.05,
        per_class={"cat": ClassScore(score=0.6, count=2)},
    ),
    segmentation=SegmentationScores(miou=0.4, per_class={"background": ClassScore(score=0.4, count=3)}),
    intervals={"ap50_area": (0.5, 0.7)},
)
SECOND = SetScores(title="voc:b@val", images=1)


def test_json_of_one_set() -> None:
    assert json.loads(json.dumps(Report(total=FIRST, sets=(FIRST,)).to_dict())) == {
        "images": 3,
        "detection": {
            "ap50_11point": 0.5,
            "ap50_area": 0.6,
            "ap50_frequent": 0.7,
            "coco_ap": None,
            "coco_ap50": None,
            "calibration_error": 0.05,
            "per_class": {"cat": {"score": 0.6, "count": 2}},
        },
        "segmentation": {
            "miou": 0.4,
            "calibration_error": None,
            "per_class": {"background": {"score": 0.4, "count": 3}},
        },
        "intervals": {"ap50_area": [0.5, 0.7]},
    }


def test_json_of_several_sets() -> None:
    values = Report(total=FIRST, sets=(FIRST, SECOND)).to_dict()
    assert list(values["sets"]) == ["voc:a@val", "voc:b@val"]
    assert values["sets"]["voc:b@val"]["segmentation"] == {"miou": None, "calibration_error": None, "per_class": {}}
    assert values["detection"] == values["sets"]["voc:a@val"]["detection"]
