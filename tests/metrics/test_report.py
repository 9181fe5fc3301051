import json

from rich.console import Console

from blitznet.metrics.report import ClassScore, DetectionScores, Report, Scores, SegmentationScores

ONE = Scores(
    title="voc:a@val",
    images=3,
    detection=DetectionScores(
        ap50_11point=0.5,
        ap50_area=0.6,
        ap50_pooled=0.7,
        calibration_error=0.05,
        per_class={"cat": ClassScore(score=0.6, count=2)},
    ),
    segmentation=SegmentationScores(miou=0.4, per_class={"background": ClassScore(score=0.4, count=3)}),
    intervals={"ap50_area": (0.5, 0.7)},
)
TWO = Scores(title="voc:b@val", images=1)


def test_one_set_lies_at_the_top() -> None:
    assert json.loads(json.dumps(Report(total=ONE, sets=(ONE,)).to_dict())) == {
        "images": 3,
        "detection": {
            "ap50_11point": 0.5,
            "ap50_area": 0.6,
            "ap50_pooled": 0.7,
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


def test_several_sets_lie_under_their_titles() -> None:
    values = Report(total=ONE, sets=(ONE, TWO)).to_dict()
    assert list(values["sets"]) == ["voc:a@val", "voc:b@val"]
    assert values["sets"]["voc:b@val"]["segmentation"] == {"miou": None, "calibration_error": None, "per_class": {}}
    assert values["detection"] == values["sets"]["voc:a@val"]["detection"]


def test_table() -> None:
    console = Console(width=120, force_terminal=False)
    with console.capture() as capture:
        console.print(Report(total=ONE, sets=(ONE, TWO)).table())
    lines = [line for line in capture.get().splitlines() if "voc:" in line]
    assert len(lines) == 3
    assert "60.0 ±10.0" in lines[0]
    assert "40.0" in lines[0]
    assert " 5.0 " in lines[0]
    assert "-" in lines[1]
