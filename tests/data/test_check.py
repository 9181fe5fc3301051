"""Dataset checks find, count and locate errors."""

import json
from pathlib import Path

import numpy as np
import pytest

from blitznet.core.classes import VOC
from blitznet.data.check import CheckReport, check_datasets
from blitznet.data.sources import parse_source
from support import synthetic_data

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
UNREADABLE = "missing or unreadable files"
NAMES = "cross\nell\nsquare\n"


def error_counts(report: CheckReport) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.errors}


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    synthetic_data.write_voc(tmp_path, synthetic_data.draw(6))
    (tmp_path / "classes.txt").write_text(NAMES)
    return tmp_path


def annotate(root: Path, number: int, name: str, box: tuple[float, float, float, float]) -> None:
    coordinates = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    text = f"<annotation><object><name>{name}</name><bndbox>{coordinates}</bndbox></object></annotation>"
    (root / "Annotations" / f"toy_000{number}.xml").write_text(text)


@pytest.mark.parametrize("writer", [synthetic_data.write_voc, synthetic_data.write_coco, synthetic_data.write_yolo])
def test_valid_datasets_have_no_errors(writer: object, tmp_path: Path) -> None:
    assert callable(writer)
    steps: list[tuple[int, int]] = []
    report = check_datasets(
        writer(tmp_path, synthetic_data.draw(6)), progress=lambda label, done, total: steps.append((done, total))
    )
    assert report.errors == ()
    warnings = {finding.kind: finding.examples for finding in report.warnings}
    warnings.pop("outlines that are only a box", None)  # the squares
    suffix = " annotations, taken as images without objects" if writer is synthetic_data.write_coco else " objects"
    assert warnings == {f"images without{suffix}": ("toy_0005",)}
    assert (report.totals[0].images, report.totals[0].masks, report.totals[0].classes) == (6, 6, 3)
    assert steps == [(k, 6) for k in range(1, 7)]


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((10, 10, 121.9, 20), "boxes outside their image"),
        ((-1, 10, 20, 20), "boxes outside their image"),
        ((10, 10, 9, 20), "empty or inverted boxes"),
        ((10, 30, 20, 20), "empty or inverted boxes"),
        ((0, 0, 121, 97), None),  # one pixel outside is within the tolerance
    ],
)
def test_broken_boxes(box: tuple[float, float, float, float], kind: str | None, voc: Path) -> None:
    annotate(voc, 1, "ell", box)
    report = check_datasets(f"voc:{voc}@train")
    assert error_counts(report) == ({kind: 1} if kind else {})
    assert all(finding.examples[0].startswith("toy_0001: ell [") for finding in report.errors)


def test_broken_masks(voc: Path) -> None:
    synthetic_data.write_mask(voc / "SegmentationClass" / "toy_0000.png", np.zeros((96, 119), np.uint8))
    synthetic_data.write_mask(voc / "SegmentationClass" / "toy_0001.png", np.full((96, 120), 4, np.uint8))
    (voc / "SegmentationClass" / "toy_0002.png").write_bytes(b"x")
    assert error_counts(check_datasets(f"voc:{voc}@train")) == {
        "masks whose size differs from their image": 1,
        "masks with unknown values": 1,
        UNREADABLE: 1,
    }


def test_the_check_continues_after_broken_files(voc: Path) -> None:
    (voc / "JPEGImages" / "toy_0000.png").unlink()
    image = voc / "JPEGImages" / "toy_0001.png"
    image.write_bytes(image.read_bytes()[:2000])
    (voc / "Annotations" / "toy_0002.xml").write_text("<annotation>")
    (voc / "Annotations" / "toy_0003.xml").unlink()  # its mask is still an annotation
    annotate(voc, 4, "blob", (1, 1, 9, 9))
    report = check_datasets(f"voc:{voc}@train")
    assert error_counts(report) == {UNREADABLE: 3, "objects of unknown classes": 1}
    text = " ".join(next(f for f in report.errors if f.kind == UNREADABLE).examples)
    assert all(f"toy_000{k}" in text for k in range(3))


def test_examples_are_limited_and_errors_are_first(tmp_path: Path) -> None:
    text = synthetic_data.write_coco(tmp_path, synthetic_data.draw(9))
    path = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    for item in content["annotations"]:
        item["bbox"] = [5, 5, 0, 0]
    path.write_text(json.dumps(content))
    finding = check_datasets(text).findings[0]
    assert (finding.kind, finding.severity) == ("empty or inverted boxes", "error")
    assert finding.count == len(content["annotations"]) > len(finding.examples) == 5


def test_datasets_that_cannot_be_opened_are_errors(voc: Path) -> None:
    report = check_datasets(
        "voc:nowhere@train", "nonsense", f"voc:{voc}@train,ignore=blob", parse_source(f"voc:{voc}@train")
    )
    assert [(f.kind, f.count) for f in report.errors] == [("datasets that cannot be opened", 1)] * 3
    assert len(report.totals) == 1


def test_warnings_of_class_names_duplicates_and_leaks(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(4)
    first = synthetic_data.write_folder(tmp_path / "a", drawings)
    second = synthetic_data.write_voc(tmp_path / "b", drawings[:2], "val")
    (tmp_path / "a" / "images" / "copy.png").write_bytes((tmp_path / "a" / "images" / "toy_0000.png").read_bytes())
    (tmp_path / "b" / "classes.txt").write_text(NAMES + "disc\n")
    report = check_datasets(first, second, class_names=("square", "ell"))
    warnings = {(w.kind, w.title): (w.count, w.examples[0]) for w in report.warnings}
    assert report.errors == ()
    assert warnings["duplicate images", first] == (1, "toy_0000 is copy")
    assert warnings[f"images also in {first}", second] == (2, "toy_0000 is copy")
    assert warnings["images without annotations", first] == (1, "copy")
    assert (
        warnings["classes without objects", second][1] == "disc" or warnings["classes without objects", second][0] > 1
    )
    assert warnings["classes unknown to the model, used as background", second] == (2, "cross")


def test_classes_without_objects_are_reported_only_if_annotated(voc: Path) -> None:
    (voc / "classes.txt").write_text(NAMES + "disc\n")
    assert any(w.kind == "classes without objects" for w in check_datasets(f"voc:{voc}@train").warnings)
    report = check_datasets(f"voc:{voc}@train,annotated=square")
    assert not any(w.kind == "classes without objects" for w in report.warnings)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared photographs are not here")
def test_the_shared_datasets_have_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    data = "../shared/data"
    report = check_datasets(
        f"voc:{data}/VOCdevkit/VOC2012@train",
        f"voc:{data}/VOCdevkit/VOC2007@trainval",
        f"coco:{data}/coco@train",
        f"coco:{data}/coco@boxes",
        f"voc:{data}/caltech/aeroplane@train,annotated=aeroplane",
        f"voc:{data}/caltech/motorbike@train,annotated=motorbike",
        f"folder:{data}/camvid,annotated=car+person,ignore=bicyclist",
        f"voc:{data}/VOCdevkit/VOC2012@val",
        f"voc:{data}/VOCdevkit/VOC2007@test",
        f"coco:{data}/coco@rare",
        f"coco:{data}/coco@val",
        class_names=VOC,
    )
    assert report.errors == ()
    assert not any("images also in" in w.kind or w.kind == "duplicate images" for w in report.warnings)
    assert sum(total.images for total in report.totals) == 9634


def test_the_classes_are_listed_with_their_numbers(voc: Path) -> None:
    (voc / "classes.txt").write_text(NAMES + "disc\n")
    drawings = synthetic_data.draw(6)
    per_class = {row.name: row for row in check_datasets(f"voc:{voc}@train").totals[0].per_class}
    for label, name in enumerate(synthetic_data.NAMES):
        counts = [int((d.labels == label).sum()) for d in drawings]
        row = per_class[name]
        assert (row.objects, row.images) == (sum(counts), sum(count > 0 for count in counts))
        assert row.masks == sum((d.class_map == label + 1).any() for d in drawings)
    assert (per_class["disc"].objects, per_class["disc"].images) == (0, 0)


def test_masks_of_0_and_255_are_one_error(tmp_path: Path) -> None:
    text = synthetic_data.write_folder(tmp_path, synthetic_data.draw(3))
    (tmp_path / "classes.txt").write_text("background\nthing\n")
    for drawing in synthetic_data.draw(3):
        values = np.where(drawing.class_map > 0, 255, 0).astype(np.uint8)
        synthetic_data.write_mask(tmp_path / "masks" / f"{drawing.id}.png", values)
    report = check_datasets(text)
    assert error_counts(report) == {"masks without any class": 1}
    assert "got only 0 and 255 in all of them; 255 means ignored: write 1 for thing" in report.errors[0].examples[0]


def test_images_without_a_label_are_not_empty_images(tmp_path: Path) -> None:
    yolo = synthetic_data.write_yolo(tmp_path / "yolo", synthetic_data.draw(4))
    (tmp_path / "yolo" / "labels" / "train" / "toy_0000.txt").unlink()
    voc = synthetic_data.write_voc(tmp_path / "voc", synthetic_data.draw(4))
    (tmp_path / "voc" / "Annotations" / "toy_0000.xml").unlink()
    (tmp_path / "voc" / "SegmentationClass" / "toy_0000.png").unlink()
    coco = synthetic_data.write_coco(tmp_path / "coco", synthetic_data.draw(4))
    for text in (yolo, voc, f"{coco},unlabelled=skip"):
        kinds = {finding.kind: finding.count for finding in check_datasets(text).warnings}
        assert kinds["images without annotations"] == 1, text
    for text in (f"{yolo},unlabelled=empty", f"{voc},unlabelled=empty", coco):
        kinds = {finding.kind: finding.count for finding in check_datasets(text).warnings}
        assert kinds["images without annotations, taken as images without objects"] == 1, text


def test_outlines_boxes_and_fractions_are_compared(tmp_path: Path) -> None:
    images = [{"id": k, "file_name": f"p{k}.png", "width": 40, "height": 40} for k in range(3)]
    triangle = [[4, 4, 24, 4, 4, 24]]
    boxes = [([5, 5, 10, 10], [[5, 5, 15, 5, 15, 15, 5, 15]]), ([4, 4, 10, 10], triangle), ([0.1, 0.2, 0.4, 0.5], [])]
    annotations = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": box, "segmentation": outline}
        for k, (box, outline) in enumerate(boxes)
    ]
    for k in range(3):
        synthetic_data.write_image(tmp_path / "train" / f"p{k}.png", synthetic_data.draw(1, size=(40, 40), seed=k)[0])
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "pen"}]}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    report = check_datasets(f"coco:{tmp_path}@train")
    assert report.errors == ()
    assert {finding.kind: (finding.count, finding.examples[0][:2]) for finding in report.warnings} == {
        "outlines that are only a box": (1, "p0"),
        "boxes that are not around their outline": (1, "p1"),
        "boxes that are fractions of the image": (1, "p2"),
    }
    without_masks = check_datasets(f"coco:{tmp_path}@train,masks=none")
    assert without_masks.totals[0].masks == 0
    assert [finding.kind for finding in without_masks.warnings] == ["boxes that are fractions of the image"]


def test_labels_without_an_image_and_similar_names_are_warnings(tmp_path: Path) -> None:
    text = synthetic_data.write_yolo(tmp_path, synthetic_data.draw(3))
    yaml = tmp_path / "data.yaml"
    yaml.write_text(yaml.read_text().replace("cross", "raccoon").replace("ell", "Raccoon").replace("square", "racoon"))
    (tmp_path / "labels" / "train" / "gone.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    labels = tmp_path / "labels" / "train" / "toy_0000.txt"
    labels.write_text("".join(f"{k} 0.5 0.5 0.2 0.2\n" for k in range(3)))
    warnings = {finding.kind: finding for finding in check_datasets(text).warnings}
    assert warnings["label files without an image"].examples[0].endswith("gone.txt")
    assert warnings["class names that may be one class"].count == 3


def test_objects_listed_twice_and_joined_images_are_warnings(tmp_path: Path) -> None:
    text = synthetic_data.write_coco(tmp_path, synthetic_data.draw(2))
    path = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["images"].append({**content["images"][0], "id": 9})
    content["annotations"].append({**content["annotations"][0], "id": 99, "image_id": 9})
    path.write_text(json.dumps(content))
    warnings = {finding.kind: finding.count for finding in check_datasets(text).warnings}
    assert warnings["images listed several times, joined"] == 1
    assert warnings["objects listed twice"] == 1
