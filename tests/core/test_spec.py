import json
from dataclasses import replace
from typing import Any

import pytest

from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import ModelError
from blitznet.core.models import MODELS, get_spec
from blitznet.core.spec import METADATA_KEY, VERSION, AnchorLayout, PostprocessConfig, Spec, read_spec

SPEC = get_spec("blitznet300-s8")
V1 = {
    "anchors": {
        "first": 0.085,
        "high": 0.85,
        "low": 0.17,
        "ratios": [2.0, 0.5, 3.0, 0.3333333333333333],
        "strides": [8, 16, 32, 64, 128, 256],
        "variances": [0.1, 0.1, 0.2, 0.2],
    },
    "classes": list(SPEC.classes),
    "licence": "Apache-2.0",
    "limits": {"candidates": 400, "iou": 0.45, "per_class": 50, "per_image": 200, "score": 0.02},
    "map_temperature": 1.297,
    "mean": [0.5, 0.5, 0.5],
    "name": "blitznet416-lite",
    "network": {
        "encoder": "mobilenetv2-ssdlite",
        "extra": 4,
        "family": "lite",
        "fusion": "resskip",
        "fusion_resize": "bilinear",
        "guide": True,
        "inner": 64,
        "presence": 3.0,
        "segmentation_resize": "bilinear",
        "segmentation_stride": 4,
        "segmentation_taps": 128,
        "segmentation_width": 48,
        "side": True,
        "side_offsets": True,
        "width": 128,
    },
    "precision": "int8",
    "provenance": "a test",
    "shift": 0.0584,
    "size": [416, 416],
    "std": [0.5, 0.5, 0.5],
    "tasks": ["detection", "segmentation"],
    "temperature": 0.5554,
    "version": 1,
}
"""a spec as version 1 wrote it"""


def changed(**fields: Any) -> str:
    """The spec as JSON with other values of these fields."""
    return json.dumps({**json.loads(SPEC.to_json()), **fields})


@pytest.mark.parametrize("name", MODELS)
def test_from_json_inverts_to_json(name: str) -> None:
    spec = replace(
        get_spec(name),
        postprocess=PostprocessConfig(score_threshold=0.3, max_detections=7),
        provenance="ä\n",
        precision="bfloat16",
    )
    text = spec.to_json()
    assert "\n" not in text
    assert Spec.from_json(text) == spec
    assert hash(Spec.from_json(text)) == hash(spec)


def test_from_json_reads_version_1() -> None:
    spec = Spec.from_json(json.dumps(V1))
    plain = get_spec("blitznet300-lite-plain")
    assert spec == replace(
        get_spec("blitznet416-lite"),
        network=replace(
            plain.network,
            extra_levels=4,
            lateral_channels=128,
            ssd_head=True,
            ssd_box_head=True,
            detection_prior=True,
            image_prior_weight=3.0,
        ),
        postprocess=PostprocessConfig(score_threshold=0.02),
        score_calibration=PlattScaling(temperature=0.5554, bias=0.0584),
        segmentation_temperature=1.297,
        precision="int8",
        provenance="a test",
    )
    assert spec.version == VERSION
    assert Spec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("lateral_channels", [None, 0])
def test_from_json_reads_version_1_without_optional_fields(lateral_channels: int | None) -> None:
    optional = {"segmentation_taps", "guide", "presence", "side", "side_offsets", "fusion"}
    network = {key: value for key, value in V1["network"].items() if key not in optional}  # type: ignore[attr-defined]
    if lateral_channels is not None:
        network["segmentation_taps"] = lateral_channels
    fields = {key: value for key, value in V1.items() if key not in {"temperature", "shift", "map_temperature"}}
    spec = Spec.from_json(json.dumps({**fields, "network": network}))
    plain = get_spec("blitznet300-lite-plain").network
    assert spec.network == replace(plain, extra_levels=4)
    assert spec.score_calibration.is_identity
    assert spec.segmentation_temperature == 1


def test_postprocess_defaults_are_the_papers() -> None:
    config = SPEC.postprocess
    assert (config.score_threshold, config.topk_candidates, config.nms_threshold) == (0.01, 400, 0.45)
    assert (config.max_per_class, config.max_detections) == (50, 200)


def test_num_channels_and_num_anchors_per_cell() -> None:
    assert SPEC.num_channels == 21
    assert SPEC.anchors.num_anchors_per_cell == 6
    layout = AnchorLayout(strides=(8, 16), min_scale=0.1, second_scale=0.2, max_scale=0.9, ratios=(2.0, 0.5))
    assert layout.num_anchors_per_cell == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ()}, r"expected at least one class name and no duplicates, got \[\]"),
        ({"classes": ("cat", "cat")}, r"expected at least one class name and no duplicates, got \['cat', 'cat'\]"),
        ({"classes": tuple(map(str, range(255)))}, "expected 1 to 254 classes, got 255"),
        ({"tasks": ()}, r"expected tasks from \['detection', 'segmentation'\], got \[\]"),
        ({"tasks": ("depth",)}, r"expected tasks from .*, got \['depth'\]"),
        ({"size": (300,)}, r"expected a size of \(height, width\) in pixels, got \[300\]"),
        ({"size": (300, 0)}, r"expected a size of \(height, width\) in pixels, got \[300, 0\]"),
        ({"size": (300.0, 300)}, r"expected a size of \(height, width\) in pixels, got \[300\.0, 300\]"),
        ({"classes": (1, 2)}, r"expected class names as strings, got \[1, 2\]"),
        ({"score_calibration": PlattScaling(temperature=0.0)}, r"expected a temperature above 0, got 0\.0"),
        ({"score_calibration": PlattScaling(bias=float("inf"))}, "expected a finite calibration bias, got inf"),
        ({"segmentation_temperature": -1.0}, r"expected a temperature above 0, got -1\.0"),
    ],
)
def test_invalid_specs(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"^blitznet300-s8: {message}$"):
        replace(SPEC, **fields)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "1", '"a"', "{}", '{"anchors": []}'),
        changed(anchors=[]),
        changed(classes=5),
        json.dumps({key: value for key, value in json.loads(SPEC.to_json()).items() if key != "mean"}),
        json.dumps({key: value for key, value in V1.items() if key != "limits"}),
    ],
)
def test_from_json_of_something_else(text: str) -> None:
    with pytest.raises(ModelError, match=r"^expected the spec of a blitznet model, got something else \("):
        Spec.from_json(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(extra=1), r"^the spec has unknown keys \['extra'\]; the file is of a newer version, update blitznet$"),
        (changed(postprocess={"soft": True}), r"^the spec has unknown keys \['soft'\]; .*, update blitznet$"),
        (changed(tasks=["depth"]), r"got \['depth'\]$"),
        (changed(version=3), r"^expected a model spec of version 2 or older, got 3; update blitznet$"),
    ],
)
def test_from_json_of_a_newer_version(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Spec.from_json(text)


def test_read_spec() -> None:
    assert read_spec(SPEC.to_json(), source="a.onnx") == SPEC
    assert METADATA_KEY == "blitznet"
    assert SPEC.version == VERSION


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            None,
            "a.onnx: expected a blitznet model, got a file without 'blitznet' metadata; "
            "make one with `blitznet train` or `blitznet export`",
        ),
        ("{}", "a.onnx: expected the spec of a blitznet model, got something else ('anchors')"),
        (changed(version=3), "a.onnx: expected a model spec of version 2 or older, got 3; update blitznet"),
    ],
)
def test_read_spec_names_the_file_in_errors(text: str | None, message: str) -> None:
    with pytest.raises(ModelError) as raised:
        read_spec(text, source="a.onnx")
    assert str(raised.value) == message


def test_classes_of_each_task() -> None:
    assert SPEC.predicts("detection") == SPEC.predicts("segmentation") == (True,) * 20
    assert "detection_classes" not in json.loads(SPEC.to_json()), "files without restrictions stay as they were"
    spec = replace(SPEC, detection_classes=("bird", "cat"))
    assert Spec.from_json(spec.to_json()) == spec
    assert spec.predicted_classes("detection") == ("bird", "cat")
    assert all(spec.predicts("segmentation"))
    assert not any(replace(SPEC, tasks=("segmentation",)).predicts("detection"))
    for wrong in (("cat", "bird"), ("unicorn",), ("cat", "cat"), ()):
        with pytest.raises(ModelError, match="expected segmentation_classes as some of the classes in their order"):
            replace(SPEC, segmentation_classes=wrong)


def nested(field: str, **values: Any) -> str:
    """The spec as JSON with other values inside one of its parts."""
    return changed(**{field: {**json.loads(SPEC.to_json())[field], **values}})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        changed(size=[300, 10**9]),
        changed(size=[True, True]),
        changed(classes="abcdefghijklmnopqrst"),
        changed(classes=["a\n", "b"]),
        changed(classes=["x" * 10_000]),
        changed(mean=[1]),
        changed(mean=["a", "b", "c"]),
        changed(std=[1, 0, 1]),
        changed(precision="int4"),
        changed(name=3),
        changed(segmentation_temperature=float("nan")),
        changed(segmentation_temperature="warm"),
        nested("anchors", strides=[0, 16, 32]),
        nested("anchors", strides=[1, 2] * 500_000),
        nested("anchors", strides=[1] * 60, ratios=[1.0] * 60),
        nested("anchors", ratios=[-1, "a", None, 3]),
        nested("anchors", variances=[1]),
        nested("anchors", max_scale=float("inf")),
        nested("network", channels=-1),
        nested("network", channels="a"),
        nested("network", fusion="x"),
        nested("network", extra_levels=10**7),
        nested("postprocess", max_detections="many"),
        nested("postprocess", nms_threshold=2),
        nested("postprocess", score_threshold=float("nan")),
        nested("score_calibration", bias="a"),
        nested("score_calibration", bias=10**400),
        nested("score_calibration", temperature=10**400),
        nested("score_calibration", temperature=True),
        nested("score_calibration", temperature=1e-300),
        changed(segmentation_temperature=1e300),
        changed(mean=[10**400, 0, 0]),
        changed(mean=[1e300, 0, 0]),
        changed(std=[1e-300, 1, 1]),
        changed(name=""),
        changed(name="x" * 10_000),
        nested("anchors", strides=[8]),
        nested("anchors", second_scale=900, max_scale=0.1),
        nested("network", image_prior_weight=1e300),
        nested("postprocess", nms_threshold=-0.5),
        nested("postprocess", score_threshold=10**400),
    ],
    ids=lambda text: text[:40] + "..." + text[-20:],
)
def test_impossible_values_are_one_short_line(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_spec(text, source="a.onnx")
    message = str(caught.value)
    assert message.startswith("a.onnx: ")
    assert "\n" not in message
    assert len(message) < 500


def test_texts_of_a_file_can_be_printed() -> None:
    """A name or provenance in a file neither changes the terminal nor fails to be encoded."""
    spec = Spec.from_json(changed(name="a\x1b[31m\n\ud800", license="MIT\r", provenance="one\ntwo\u202e\udcff"))
    assert spec.name == r"a\x1b[31m\n\ud800"
    assert spec.license == r"MIT\r"
    assert spec.provenance == "one\ntwo\\u202e\\udcff"
    assert Spec.from_json(spec.to_json()) == spec
