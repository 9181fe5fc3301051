import json
from dataclasses import replace
from typing import Any

import pytest

from blitznet.core.errors import ModelError
from blitznet.core.models import MODELS, named
from blitznet.core.spec import AnchorLayout, Limits, Spec

SPEC = named("blitznet300-s8")


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(SPEC.to_json()), **fields})


@pytest.mark.parametrize("name", MODELS)
def test_a_contract_comes_back_as_it_was(name: str) -> None:
    spec = replace(named(name), limits=Limits(score=0.3, per_image=7), provenance="ä\n", precision="bfloat16")
    text = spec.to_json()
    assert "\n" not in text
    assert Spec.from_json(text) == spec
    assert hash(Spec.from_json(text)) == hash(spec)


def test_limits_are_the_papers() -> None:
    limits = SPEC.limits
    assert (limits.score, limits.candidates, limits.iou) == (0.01, 400, 0.45)
    assert (limits.per_class, limits.per_image) == (50, 200)


def test_counts() -> None:
    assert SPEC.channels == 21
    assert SPEC.anchors.per_cell == 6
    assert AnchorLayout(strides=(8,), first=0.1, low=0.2, high=0.9, ratios=(2.0, 0.5)).per_cell == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ()}, r"class names must be there and differ, came \[\]"),
        ({"classes": ("cat", "cat")}, r"class names must be there and differ, came \['cat', 'cat'\]"),
        ({"classes": tuple(map(str, range(255)))}, "1 to 254 classes fit a class map, came 255"),
        ({"tasks": ()}, r"tasks must be some of \['detection', 'segmentation'\], came \[\]"),
        ({"tasks": ("depth",)}, r"tasks must be some of .*, came \['depth'\]"),
        ({"size": (300,)}, r"wanted a size of height and width in pixels, came \[300\]"),
        ({"size": (300, 0)}, r"wanted a size of height and width in pixels, came \[300, 0\]"),
        ({"size": (300.0, 300)}, r"wanted a size of height and width in pixels, came \[300\.0, 300\]"),
        ({"classes": (1, 2)}, r"class names must be text, came \[1, 2\]"),
        ({"temperature": 0.0}, r"wanted a temperature above 0, came 0\.0"),
        ({"shift": float("inf")}, "wanted a finite shift, came inf"),
        ({"map_temperature": -1.0}, r"wanted a temperature above 0, came -1\.0"),
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
