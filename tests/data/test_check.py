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
    assert [(finding.kind, finding.examples) for finding in report.warnings] == [
        ("images without objects", ("toy_0005",))
    ]
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
    (voc / "Annotations" / "toy_0003.xml").unlink()
    annotate(voc, 4, "blob", (1, 1, 9, 9))
    report = check_datasets(f"voc:{voc}@train")
    assert error_counts(report) == {UNREADABLE: 4, "objects of unknown classes": 1}
    text = " ".join(next(f for f in report.errors if f.kind == UNREADABLE).examples)
    assert all(f"toy_000{k}" in text for k in range(4))


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
