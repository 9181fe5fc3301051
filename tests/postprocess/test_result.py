import json
import pickle
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blitznet.core.arrays import ClassMap, Floats
from blitznet.core.errors import BlitzNetError, UsageError
from blitznet.core.image import ImageSource
from blitznet.drawing.annotate import annotate
from blitznet.postprocess.confidence import pixel_confidence
from blitznet.postprocess.result import Detection, Result, Segmentation
from blitznet.postprocess.upsample import upsample_argmax

SIZE = (40, 60)


def result(**fields: Any) -> Result:
    values: dict[str, Any] = {
        "boxes": np.array([[1, 2, 30.126, 40], [0, 0, 9, 9], [5, 5, 6, 6]], np.float32),
        "scores": np.array([0.912345, 0.5, 0.1], np.float32),
        "labels": np.array([1, 0, 1]),
        "class_names": ("cat", "dog"),
        "size": SIZE,
        "segmentation": Segmentation.from_class_map(np.zeros(SIZE, np.uint8)),
    }
    return Result(**{**values, **fields})


def test_to_dict_is_plain_json() -> None:
    values = json.loads(json.dumps(result().filter(min_score=0.5).to_dict()))
    assert values == {
        "width": 60,
        "height": 40,
        "detections": [
            {"class_id": 1, "class_name": "dog", "score": 0.9123, "box": [1.0, 2.0, 30.13, 40.0]},
            {"class_id": 0, "class_name": "cat", "score": 0.5, "box": [0.0, 0.0, 9.0, 9.0]},
        ],
    }


@pytest.mark.parametrize(("score", "count"), [(0, 3), (0.1, 3), (0.11, 2), (0.5, 2), (0.95, 0)])
def test_filter_by_score(score: float, count: int) -> None:
    filtered = result().filter(min_score=score)
    assert len(filtered) == len(filtered.boxes) == len(filtered.labels) == count
    assert filtered.class_map is not None
    assert (filtered.class_names, filtered.size) == (("cat", "dog"), SIZE)


@pytest.mark.parametrize(
    ("classes", "labels"), [(["dog"], [1, 1]), ([0], [0]), (["cat", 1], [1, 0, 1]), ([], []), (None, [1, 0, 1])]
)
def test_filter_by_class(classes: list[str | int] | None, labels: list[int]) -> None:
    assert result().filter(classes=classes).labels.tolist() == labels


def test_filter_by_score_and_class() -> None:
    assert result().filter(min_score=0.5, classes=["dog"]).scores.tolist() == [pytest.approx(0.912345)]


@pytest.mark.parametrize("unknown", ["bird", 2, -1])
def test_filter_refuses_unknown_classes(unknown: str | int) -> None:
    with pytest.raises(UsageError, match=r"^classes: expected a class name or an id below 2, got "):
        result().filter(classes=[unknown])


def test_filter_by_one_class() -> None:
    for dog in ("dog", 1, np.int64(1)):
        assert result().filter(classes=dog).labels.tolist() == [1, 1]  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"got 'Dog'; did you mean 'dog'\?$"):
        result().filter(classes="Dog")


def test_instances_are_masks(tmp_path: Path) -> None:
    instances = result().instances()
    assert len(list(instances)) == len(instances) == 3
    assert all(np.array_equal(mask, instances[index]) for index, mask in enumerate(instances))
    assert repr(instances) == "Instances(3 masks; 60x40)"
    assert repr(result()[:1].instances()) == "Instances(1 mask; 60x40)"
    with pytest.raises(UsageError, match="expected a file to write, got a folder"):
        result(image=ImageSource(np.zeros((*SIZE, 3), np.uint8))).save(tmp_path)


@pytest.mark.parametrize("score", ["0.5", 50, -1, True, float("nan")])
def test_filter_refuses_invalid_scores(score: Any) -> None:
    with pytest.raises(UsageError, match=r"^min_score: expected 0 to 1, got "):
        result().filter(min_score=score)


def test_a_result_is_copied_and_sent_to_processes() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    deferred = Segmentation.from_deferred_logits(lambda: logits, SIZE, 1.5)
    known = Segmentation.from_class_map(np.ones(SIZE, np.uint8))
    for segmentation in (deferred, known):
        whole = result(segmentation=segmentation)
        for restored in (pickle.loads(pickle.dumps(whole)), deepcopy(whole)):
            assert repr(restored) == repr(whole)
            for name in ("class_map", "confidence", "segmentation_logits"):
                expected, actual = getattr(whole, name), getattr(restored, name)
                assert (actual is None) == (expected is None)
                assert expected is None or np.array_equal(actual, expected)


def test_indexing_selects_detections() -> None:
    whole = result()
    assert whole[np.array([True, False, True])].labels.tolist() == [1, 1]
    assert whole[np.array([2, 0])].boxes.tolist() == whole.boxes[[2, 0]].tolist()
    assert whole[1:].scores.tolist() == whole.scores[1:].tolist()
    assert whole[1:].segmentation is whole.segmentation
    assert whole[1] == Detection((0.0, 0.0, 9.0, 9.0), 0.5, 0, "cat")
    with pytest.raises(IndexError):
        whole[3]


def test_iteration_yields_detections() -> None:
    detections = list(result())
    assert [detection.class_name for detection in detections] == ["dog", "cat", "dog"]
    assert [detection.label for detection in detections] == [1, 0, 1]
    assert detections[0].box == pytest.approx((1.0, 2.0, 30.126, 40.0))
    assert detections[0].score == pytest.approx(0.912345)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": np.zeros((2, 4), np.float32)}, r"^Result\.boxes: expected shape \(3, 4\), got \(2, 4\)$"),
        ({"labels": np.zeros(2, np.int64)}, r"^Result\.labels: expected shape \(3\), got \(2,\)$"),
        (
            {"segmentation": Segmentation.from_class_map(np.zeros((60, 40), np.uint8))},
            r"^Result\.segmentation: expected size \(40, 60\), got \(60, 40\)$",
        ),
    ],
)
def test_inconsistent_arrays_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BlitzNetError, match=message):
        result(**fields)


def test_result_without_segmentation() -> None:
    boxes_only = result(segmentation=None)
    assert boxes_only.class_map is None
    assert boxes_only.confidence is None
    assert boxes_only.segmentation_logits is None


def test_segmentation_is_computed_once_and_on_first_access() -> None:
    calls = list[str]()

    def compute_class_map() -> ClassMap:
        calls.append("class_map")
        return np.ones(SIZE, np.uint8)

    def compute_confidence() -> Floats:
        calls.append("confidence")
        return np.ones(SIZE, np.float32)

    whole = result(segmentation=Segmentation(SIZE, compute_class_map, compute_confidence))
    assert not calls
    filtered = whole.filter(min_score=0.5)
    assert filtered.class_map is not None
    assert filtered.class_map is whole.class_map
    assert whole.confidence is not None
    assert whole.confidence is filtered.confidence
    assert calls == ["class_map", "confidence"]


def test_segmentation_of_a_wrong_shape_is_refused() -> None:
    wrong = Segmentation(SIZE, lambda: np.ones((60, 40), np.uint8))
    with pytest.raises(BlitzNetError, match=r"^class map: expected shape \(40, 60\), got \(60, 40\)$"):
        _ = wrong.class_map
    with pytest.raises(BlitzNetError, match=r"^class map: expected shape \(any, any\)"):
        Segmentation.from_class_map(np.ones(3, np.uint8))


def test_segmentation_of_a_class_map_has_no_confidence_and_no_logits() -> None:
    segmentation = Segmentation.from_class_map(np.ones(SIZE, np.uint8))
    assert segmentation.size == SIZE
    assert segmentation.confidence is None
    assert segmentation.logits is None


def test_segmentation_of_logits_upsamples_them() -> None:
    logits = np.random.default_rng(0).normal(0, 2, (3, 5, 7)).astype(np.float32)
    calls = list[int]()

    def compute_logits() -> Floats:
        calls.append(1)
        return logits

    for segmentation in (
        Segmentation.from_logits(logits, SIZE, 2.0),
        Segmentation.from_deferred_logits(compute_logits, SIZE, 2.0),
    ):
        np.testing.assert_array_equal(segmentation.class_map, upsample_argmax(logits, SIZE))
        np.testing.assert_array_equal(segmentation.confidence, pixel_confidence(logits, SIZE, 2.0))
        assert segmentation.logits is logits
    assert calls == [1]


def test_save_draws_on_the_image(tmp_path: Path) -> None:
    pixels = np.full((*SIZE, 3), 90, np.uint8)
    with_image = result(image=ImageSource(pixels))
    with_image.save(tmp_path / "annotated.png")
    with Image.open(tmp_path / "annotated.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), annotate(pixels, with_image))
    with_image.filter(min_score=0.9).save(str(tmp_path / "annotated.jpg"))
    assert (tmp_path / "annotated.jpg").stat().st_size


def test_save_needs_an_image_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^result: expected an image to draw on, got none"):
        result().save(tmp_path / "annotated.png")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"annotated\.png: cannot be written"):
        result(image=ImageSource(np.zeros((*SIZE, 3), np.uint8))).save(tmp_path / "file" / "annotated.png")
    with pytest.raises(UsageError, match=r"annotated\.xyz: expected the suffix of an image format"):
        result(image=ImageSource(np.zeros((*SIZE, 3), np.uint8))).save(tmp_path / "annotated.xyz")


@pytest.mark.parametrize(("suffix", "limit"), [(".jpg", 65_500), (".JPEG", 65_500), (".webp", 16_383)])
def test_an_image_that_is_too_long_for_its_format_is_an_error(suffix: str, limit: int, tmp_path: Path) -> None:
    long = replace(
        result(), size=(1, limit + 1), segmentation=None, image=ImageSource(Image.new("RGB", (limit + 1, 1)))
    )
    with pytest.raises(
        UsageError, match=rf"expected at most {limit:,} pixels a side in this format, got {limit + 1}x1;"
    ):
        long.save(tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_show_opens_the_annotated_image(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = list[tuple[int, int]]()
    monkeypatch.setattr(Image.Image, "show", lambda image: shown.append(image.size))
    replace(result(), image=ImageSource(np.zeros((*SIZE, 3), np.uint8))).show()
    assert shown == [(60, 40)]


def test_results_print_one_line() -> None:
    result = Result(
        boxes=np.zeros((7, 4), np.float32),
        scores=np.linspace(1, 0.4, 7).astype(np.float32),
        labels=np.zeros(7, np.int64),
        class_names=("cat" * 40,),
        size=(300, 451),
        segmentation=Segmentation.from_logits(np.zeros((2, 30, 40), np.float32), (300, 451)),
    )
    for text in (repr(result), repr(result.segmentation), repr(result.instances()), repr(result.panoptic())):
        assert "\n" not in text
        assert len(text) < 300
    assert repr(result[:0]) == "Result(0 detections; 451x300; class map)"
    assert (
        repr(replace(result[:1], class_names=("cat",), segmentation=None)) == "Result(1 detection: cat 1.00; 451x300)"
    )
    assert repr(result).endswith(", 2 more; 451x300; class map)")
