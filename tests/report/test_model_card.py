from dataclasses import replace

from blitznet.core.calibration import PlattScaling
from blitznet.report.model_card import ModelCard, ModelFile, render_model_card
from support.fake_engines import ANCHORS, SPEC

FILE = ModelFile("small.onnx", 4_346_910, "a1e7", "int8")
BOXES = {
    "ap50_area": 0.5,
    "ap50_frequent": None,
    "calibration_error": 0.031,
    "per_class": {"cat": {"score": 0.5, "count": 7}},
}
PIXELS = {"miou": 0.25, "calibration_error": None, "per_class": {"background": {"score": 0.9, "count": 3}}}
SET = "voc:some/where/VOC2012@val,sample_weight=2"
SCORES = {
    "images": 9,
    "detection": BOXES,
    "segmentation": PIXELS,
    "intervals": {"ap50_area": [0.4, 0.6]},
    "sets": {SET: {"images": 4, "detection": BOXES, "segmentation": {"miou": None}}},
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


def test_card_of_a_spec() -> None:
    text = render_model_card(ModelCard(SPEC, (FILE,)))
    assert text.startswith("# small\n\n| | |\n|---|---|\n| outputs | object boxes and a class map |\n")
    assert "| classes | 3: cat, dog, person |\n" in text
    assert "| input | uint8 RGB, 48 x 64 pixels" in text
    assert f"| anchors | {len(ANCHORS)} |\n" in text
    assert "| small.onnx | 4.3 MB | int8 | `a1e7` |\n" in text
    assert "## Scores" not in text
    boxes = render_model_card(ModelCard(replace(SPEC, tasks=("detection",)), (FILE,), parameters=3_410_000))
    assert "| outputs | object boxes |\n" in boxes
    assert "| parameters | 3.41 million |\n" in boxes


def test_card_states_the_calibration() -> None:
    spec = replace(SPEC, score_calibration=PlattScaling(0.5554, 0.0584), segmentation_temperature=1.297)
    text = render_model_card(ModelCard(spec, (FILE,)))
    assert "| Platt scaling, temperature 0.5554, bias +0.0584; segmentation temperature 1.297 |\n" in text


def test_card_with_all_parts() -> None:
    card = ModelCard(SPEC, (FILE,), None, "## Data\n\nSource | terms.\n", SCORES, SPEED, ("card-cat.jpg",))
    text = render_model_card(card)
    assert "\n\n## Data\n\nSource | terms.\n\n## Scores\n\n" in text
    assert "| VOC2012@val | 4 | 50.0 | - | - | 3.1 | - |\n" in text
    assert "| all sets | 9 | 50.0 (40.0 to 60.0) | - | 25.0 | 3.1 | - |\n" in text
    assert "| class | AP50, VOC2012@val | AP50, all sets | IoU |\n" in text
    assert "| background | - | - | 90 (3) |\n| cat | 50 (7) | 50 (7) | - |\n" in text
    assert "| openvino 1, int8 | 5.0 | 9.0 | 111 | 140 | 100 |\n" in text
    assert "A Processor, 2 cores, 2026-11-27." in text
    assert text.endswith("## Example predictions\n\n![card-cat.jpg](card-cat.jpg)\n")
    assert "some/where" not in text
    assert "In brackets: 95 % bootstrap intervals" in text


def test_card_without_intervals_does_not_mention_them() -> None:
    text = render_model_card(ModelCard(SPEC, (FILE,), scores={"images": 9, "detection": BOXES}))
    assert "## Scores" in text
    assert "bootstrap" not in text


def test_cells_are_escaped() -> None:
    text = render_model_card(ModelCard(replace(SPEC, provenance="a|b\nc"), (FILE,)))
    assert "| provenance | a\\|b c |\n" in text
