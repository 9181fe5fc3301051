from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask

from blitznet.bulk.images import NamedImage
from blitznet.bulk.predict import as_text, predict_rows
from blitznet.bulk.settings import BulkSettings
from blitznet.core.rle import decode_rle
from blitznet.runtime.stream import max_in_flight
from support.bulk import fake_predictor, read_rows, run_fake, write_images
from support.fake_engines import SPEC
from support.images import encode_random_image


def test_rows_equal_the_results_of_the_predictor(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "images", 5)
    run_fake(tmp_path / "out", tmp_path / "images", settings=BulkSettings(min_score=0.2))
    rows = read_rows(tmp_path / "out")
    assert [row["id"] for row in rows] == paths
    predictor = fake_predictor()
    for row in rows:
        result = predictor(row["id"], min_score=0.2)
        assert len(result) > 0
        assert (row["height"], row["width"]) == result.size
        assert np.array_equal(np.asarray(row["boxes"], np.float32), result.boxes)
        assert np.array_equal(np.asarray(row["scores"], np.float32), result.scores)
        assert row["labels"] == result.labels.tolist()
        assert row["class_names"] == [SPEC.classes[label] for label in result.labels]
        size, runs = [row["height"], row["width"]], row["class_map"]
        class_map = decode_rle({"size": size, "order": "row-major", "counts": runs["counts"], "values": runs["values"]})
        assert np.array_equal(class_map, result.class_map)
        assert row["masks"] is row["error"] is None


def test_coco_masks_decode_to_the_class_map(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 2)
    run_fake(tmp_path / "out", tmp_path / "images", settings=BulkSettings(masks="coco"))
    for row in read_rows(tmp_path / "out"):
        class_map = fake_predictor()(row["id"]).class_map
        assert class_map is not None
        assert row["class_map"] is None
        assert [mask["label"] + 1 for mask in row["masks"]] == sorted(set(np.unique(class_map)) - {0})
        for mask in row["masks"]:
            code = {"size": [row["height"], row["width"]], "counts": mask["counts"]}
            assert np.array_equal(coco_mask.decode(code).astype(bool), class_map == mask["label"] + 1)


def test_masks_can_be_left_out(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 1)
    run_fake(tmp_path / "out", tmp_path / "images", settings=BulkSettings(masks="none"))
    [row] = read_rows(tmp_path / "out")
    assert row["class_map"] is row["masks"] is None
    assert row["boxes"]


def test_images_that_cannot_be_read_are_rows_with_their_error() -> None:
    images = [
        NamedImage("a", encode_random_image(1)),
        NamedImage("store/b", b"", "store/b: cannot be read"),
        NamedImage("c.tar/c.jpg", b"nonsense"),
        NamedImage("d", b""),
        NamedImage("e", Path("gone.jpg")),
        NamedImage("f", encode_random_image(2)),
    ]
    rows = list(predict_rows(iter(images), fake_predictor(), BulkSettings()))
    assert [row.id for row in rows] == ["a", "store/b", "c.tar/c.jpg", "d", "e", "f"]
    assert [row.error is None for row in rows] == [True, False, False, False, False, True]
    assert rows[1].error == "store/b: cannot be read"
    assert str(rows[2].error).startswith("c.tar/c.jpg: not an image of a known format")
    assert rows[3].error == "d: expected an image, got an empty file"
    assert rows[4].error == "gone.jpg: expected a file, got a path that does not exist"
    for row in rows[1:5]:
        values = (row.size, row.boxes, row.labels, row.scores, row.class_names, row.runs)
        assert all(value is None for value in values)


@pytest.mark.parametrize(
    ("name", "text"), [("ä.jpg", "ä.jpg"), (b"\xff.jpg".decode("utf-8", "surrogateescape"), "\\xff.jpg")]
)
def test_ids_are_text(name: str, text: str) -> None:
    assert as_text(name) == text


def test_few_images_are_in_memory() -> None:
    taken: list[int] = []

    def images() -> Iterator[NamedImage]:
        for number in range(500):
            taken.append(number)
            yield NamedImage(str(number), encode_random_image(0))

    rows = predict_rows(images(), fake_predictor(), BulkSettings(masks="none"))
    for number, _ in enumerate(islice(rows, 100)):
        assert len(taken) <= number + 1 + max_in_flight(1)
    rows.close()
