import json
from dataclasses import replace
from typing import Any

import pytest

from blitznet.core.errors import ModelError
from blitznet.core.models import MODELS, get_spec
from blitznet.core.spec import AnchorLayout, PostprocessConfig, Spec

SPEC = get_spec("blitznet300-s8")


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(SPEC.to_json()), **fields})


@pytest.mark.parametrize("name", MODELS)
def test_a_contract_comes_back_as_it_was(name: str) -> None:
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


def test_limits_are_the_papers() -> None:
    limits = SPEC.postprocess
    assert (limits.score_threshold, limits.topk_candidates, limits.nms_threshold) == (0.01, 400, 0.45)
    assert (limits.max_per_class, limits.max_detections) == (50, 200)


def test_counts() -> None:
    assert SPEC.num_channels == 21
    assert SPEC.anchors.num_anchors_per_cell == 6
    assert (
        AnchorLayout(
            strides=(8,), min_scale=0.1, second_scale=0.2, max_scale=0.9, ratios=(2.0, 0.5)
        ).num_anchors_per_cell
        == 4
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ()}, r"class names must be there and differ, came \[\]"),
        ({"classes": ("cat", "cat")}, r"class names must be there and differ, came \['cat', 'cat'\]"),
        ({"classes": tuple(map(str, range(255)))}, "1 to 254 classes fit a class map, came 255"),
        ({"tasks": ()}, r"tasks must be some of \['detection', 'segmentation'\], came \[\]"),
        ({"tasks": ("depth",)}, r"tasks must be some of .*, came \['depth'\]"),
        ({"size": (300,)}, r"expected a size of height and width in pixels, got \[300\]"),
        ({"size": (300, 0)}, r"expected a size of height and width in pixels, got \[300, 0\]"),
        ({"size": (300.0, 300)}, r"expected a size of height and width in pixels, got \[300\.0, 300\]"),
        ({"classes": (1, 2)}, r"class names must be text, came \[1, 2\]"),
        ({"temperature": 0.0}, r"expected a temperature above 0, got 0\.0"),
        ({"shift": float("inf")}, "expected a finite shift, got inf"),
        ({"map_temperature": -1.0}, r"expected a temperature above 0, got -1\.0"),
    ],
)
def test_contracts_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"^blitznet300-s8: {message}$"):
        replace(SPEC, **fields)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "1", '"a"', "{}", '{"anchors": []}'),
        changed(anchors=[]),
        changed(classes=5),
        json.dumps({key: value for key, value in json.loads(SPEC.to_json()).items() if key != "mean"}),
    ],
)
def test_text_that_is_no_contract(text: str) -> None:
    with pytest.raises(ModelError, match=r"^this is not a contract of a blitznet model"):
        Spec.from_json(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(colour=1), r"^Spec has no \['colour'\]; the file is of a newer version, update blitznet$"),
        (changed(limits={"score": 0.1, "soft": True}), r"^Limits has no \['soft'\]; .*, update blitznet$"),
        (changed(tasks=["depth"]), r"came \['depth'\]$"),
    ],
)
def test_contracts_of_another_time(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Spec.from_json(text)
