"""Images against what their annotations state: existence, size, EXIF orientation."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core.errors import DataError
from blitznet.data.check import check_datasets
from blitznet.data.dataset import is_same_aspect
from blitznet.data.image_check import find_image_problems, require_images, size_notices
from blitznet.data.sources import open_dataset, parse_source
from support import synthetic_data

BOX = (16, 12, 56, 44)
"""x1 y1 x2 y2 in the pixels of the annotation"""


def write_voc(root: Path, image: Image.Image, declared: tuple[int, int], *, exif: int | None = None) -> str:
    """One image whose annotation states (width, height)."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    tags = image.getexif()
    if exif:
        tags[0x0112] = exif
    image.save(root / "JPEGImages" / "p0.jpg", exif=tags)
    x1, y1, x2, y2 = BOX
    box = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    size = f"<size><width>{declared[0]}</width><height>{declared[1]}</height></size>"
    text = f"<annotation>{size}<object><name>thing</name><bndbox>{box}</bndbox></object></annotation>"
    (root / "Annotations" / "p0.xml").write_text(text)
    (root / "ImageSets" / "Main" / "train.txt").write_text("p0\n")
    return f"voc:{root}@train"


def gray(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.full((height, width, 3), 90, np.uint8))


def test_boxes_of_an_image_that_was_resized_after_annotation_are_scaled_and_reported(tmp_path: Path) -> None:
    text = write_voc(tmp_path, gray(192, 128), (96, 64))
    dataset = open_dataset(parse_source(text))
    assert dataset[0].boxes.tolist() == [[32, 24, 112, 88]]
    report = check_datasets(text)
    assert [finding.kind for finding in report.errors] == ["images resized after annotation, their boxes are scaled"]
    assert report.errors[0].examples == ("p0: 192x128, annotated at 96x64",)
    problems = find_image_problems(dataset, [0])
    require_images(problems, text, 1)
    assert size_notices(problems, text) == [
        f"{text}: 1 images were resized after annotation; their boxes are scaled, the first is p0: 192x128, "
        "annotated at 96x64"
    ]


def test_an_image_that_its_exif_orientation_turns_and_its_annotation_does_not_is_an_error(tmp_path: Path) -> None:
    text = write_voc(tmp_path, gray(96, 64), (96, 64), exif=6)
    report = check_datasets(text)
    assert [finding.kind for finding in report.errors] == [
        "images turned by their EXIF orientation, but not in their annotation"
    ]
    with pytest.raises(DataError, match="p0: 64x96, annotated at 96x64: the EXIF orientation turns the image"):
        require_images(find_image_problems(open_dataset(parse_source(text)), [0]), text, 1)


@pytest.mark.parametrize(
    ("declared", "exif"),
    [((96, 64), None), ((64, 96), 6), ((0, 0), None), ((40, 30), None)],
    ids=["same size", "upright annotation", "no size stated", "stated size smaller than the box"],
)
def test_sizes_that_do_not_contradict_the_image(declared: tuple[int, int], exif: int | None, tmp_path: Path) -> None:
    text = write_voc(tmp_path, gray(96, 64), declared, exif=exif)
    assert check_datasets(text).errors == ()
    assert open_dataset(parse_source(text))[0].boxes.tolist() == [list(BOX)]


def test_another_aspect_ratio_is_an_error_and_not_scaled(tmp_path: Path) -> None:
    text = write_voc(tmp_path, gray(96, 80), (96, 64))
    assert [finding.kind for finding in check_datasets(text).errors] == [
        "images of another size than their annotation states"
    ]
    assert open_dataset(parse_source(text))[0].boxes.tolist() == [list(BOX)]


def test_missing_and_broken_images_are_counted_by_their_headers(tmp_path: Path) -> None:
    text = write_voc(tmp_path, gray(96, 64), (96, 64))
    dataset = open_dataset(parse_source(text))
    path = tmp_path / "JPEGImages" / "p0.jpg"
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"p0\.jpg: not an image of a known format"):
        require_images(find_image_problems(dataset, [0]), text, 1)
    path.unlink()
    with pytest.raises(DataError, match=r"got 1 paths that do not exist, the first is .*p0\.jpg; .* missing=skip"):
        require_images(find_image_problems(dataset, [0]), text, 1)


def test_same_aspect() -> None:
    assert is_same_aspect((64, 96), (128, 192))
    assert is_same_aspect((333, 500), (200, 300))  # rounded
    assert not is_same_aspect((64, 96), (96, 64))
    assert not is_same_aspect((64, 96), (80, 96))


def test_masks_of_another_size_are_refused_before_training(tmp_path: Path) -> None:
    """Training would end when their turn comes."""
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(3))
    path = tmp_path / "SegmentationClass" / "toy_0001.png"
    Image.open(path).resize((60, 48), Image.Resampling.NEAREST).save(path)
    problems = find_image_problems(open_dataset(parse_source(text)), range(3))
    with pytest.raises(
        DataError, match=r"toy_0001: expected a mask of the image's 120x96 pixels, got 60x48; make them"
    ):
        require_images(problems, text, 3)
    path.write_bytes(b"no image")
    problems = find_image_problems(open_dataset(parse_source(text)), range(3))
    with pytest.raises(DataError, match=r"toy_0001\.png: expected a PNG mask"):
        require_images(problems, text, 3)
    require_images(find_image_problems(open_dataset(parse_source(f"{text},masks=none")), range(3)), text, 3)


def test_outlines_that_cannot_be_drawn_are_refused_before_training(tmp_path: Path) -> None:
    text = synthetic_data.write_coco(tmp_path, synthetic_data.draw(2))
    path = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[0, 0, 9000, 0, 9000, 9000]]
    path.write_text(json.dumps(content))
    problems = find_image_problems(open_dataset(parse_source(text)), range(2))
    with pytest.raises(DataError, match="toy_0000: expected polygons inside the image of 120x96, got one far outside"):
        require_images(problems, text, 2)


def test_boxes_that_cannot_be_used_are_counted_and_refused_if_none_is_left(tmp_path: Path) -> None:
    text = synthetic_data.write_yolo(tmp_path, synthetic_data.draw(2), outlines=False)
    (tmp_path / "labels" / "train" / "toy_0000.txt").write_text("0 0.5 0.5 0.2 0.2\n1 60 48 20 20\n1 0.5 0.5 0 0.2\n")
    dataset = open_dataset(parse_source(text))
    problems = find_image_problems(dataset, [0])
    require_images(problems, text, 1)
    assert size_notices(problems, text) == [
        f"{text}: 2 of 3 boxes are empty or outside of their image and are left out; the first is toy_0000: ell "
        "[6000.0, 3648.0, 8400.0, 5568.0] in 120x96"
    ]
    (tmp_path / "labels" / "train" / "toy_0000.txt").write_text("1 60 48 20 20\n")
    with pytest.raises(DataError, match=r"got 1 that are empty or outside, .*; are pixels and fractions confused\?"):
        require_images(find_image_problems(open_dataset(parse_source(text)), [0]), text, 1)
