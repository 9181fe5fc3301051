from dataclasses import replace

from blitznet.report.model_card import Card, ModelFile, card_page
from support.fake_engines import ANCHORS, SPEC

FILE = ModelFile("small.onnx", 4_346_910, "a1e7", "int8")
BOXES = {
    "ap50_area": 0.5,
    "ap50_pooled": None,
    "calibration_error": 0.031,
    "per_class": {"cat": {"score": 0.5, "count": 7}},
}
PIXELS = {"miou": 0.25, "calibration_error": None, "per_class": {"background": {"score": 0.9, "count": 3}}}
SCORES = {
    "images": 9,
    "detection": BOXES,
    "segmentation": PIXELS,
    "intervals": {"ap50_area": [0.4, 0.6]},
    "sets": {"voc:some/where/VOC2012@val,weight=2": {"images": 4, "detection": BOXES, "segmentation": {"miou": None}}},
}
SPEED = {
    "date": "2026-11-27T10:00:00",
    "image_size": "500x375",
    "machine": {"processor": "A Processor", "cores": 2},
    "rows": [
        {
            "engine": "openvino 1",
            "precision": "int8",
            "stages": {"network": {"median": 5.04}, "total": {"median": 9.0}},
            "frames_per_second": 111.1,
            "streamed_per_second": 140.4,
            "peak_memory": 99.6,
        }
    ],
}


def test_a_contract_alone_makes_a_card() -> None:
    said = card_page(Card(SPEC, (FILE,)))
    assert said.startswith("# small\n\n| | |\n|---|---|\n| answers | object boxes and a class map |\n")
    assert "| classes | 3: cat, dog, person |\n" in said
    assert "| input | uint8 RGB, 48 x 64 pixels" in said
    assert f"| anchors | {len(ANCHORS)} |\n" in said
    assert "| small.onnx | 4.3 MB | int8 | `a1e7` |\n" in said
    assert "## Scores" not in said
    boxes = card_page(Card(replace(SPEC, tasks=("detection",)), (FILE,), parameters=3_410_000))
    assert "| answers | object boxes |\n" in boxes
    assert "| parameters | 3.41 million |\n" in boxes


def test_a_full_card() -> None:
    said = card_page(Card(SPEC, (FILE,), None, "## Data\n\nWhence | it is.\n", SCORES, SPEED, ("card-cat.jpg",)))
    assert "\n\n## Data\n\nWhence | it is.\n\n## Scores\n\n" in said
    assert "| VOC2012@val | 4 | 50.0 | - | - | 3.1 | - |\n" in said
    assert "| all as one | 9 | 50.0 (40.0 to 60.0) | - | 25.0 | 3.1 | - |\n" in said
    assert "| class | AP50, VOC2012@val | AP50, all as one | IoU |\n" in said
    assert "| background | - | - | 90 (3) |\n| cat | 50 (7) | 50 (7) | - |\n" in said
    assert "| openvino 1, int8 | 5.0 | 9.0 | 111 | 140 | 100 |\n" in said
    assert "A Processor, 2 cores, 2026-11-27." in said
    assert said.endswith("## What it answers\n\n![card-cat.jpg](card-cat.jpg)\n")
    assert "some/where" not in said


def test_text_does_not_break_a_table() -> None:
    said = card_page(Card(replace(SPEC, provenance="a|b\nc"), (FILE,)))
    assert "| provenance | a\\|b c |\n" in said
