"""The data doctor finds, counts and names what was broken on purpose."""

import json
from pathlib import Path

import numpy as np
import pytest

from blitznet.core.classes import VOC
from blitznet.data.check import Findings, check
from blitznet.data.sources import parse_source
from support import synthetic_data

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
UNREADABLE = "files that are missing or cannot be read"
NAMES = "cross\nell\nsquare\n"


def kinds(found: Findings) -> dict[str, int]:
    return {finding.kind: finding.count for finding in found.errors}


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    synthetic_data.write_voc(tmp_path, synthetic_data.draw(6))
    (tmp_path / "classes.txt").write_text(NAMES)
    return tmp_path


def annotate(root: Path, number: int, name: str, box: tuple[float, float, float, float]) -> None:
    sides = "".join(f"<{s}>{v}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    text = f"<annotation><object><name>{name}</name><bndbox>{sides}</bndbox></object></annotation>"
    (root / "Annotations" / f"toy_000{number}.xml").write_text(text)


@pytest.mark.parametrize("writer", [synthetic_data.write_voc, synthetic_data.write_coco, synthetic_data.write_yolo])
def test_sound_sets_have_no_errors(writer: object, tmp_path: Path) -> None:
    assert callable(writer)
    steps: list[tuple[int, int]] = []
    found = check(writer(tmp_path, synthetic_data.draw(6)), progress=lambda _, done, all_: steps.append((done, all_)))
    assert found.errors == ()
    assert [(w.kind, w.examples) for w in found.warnings] == [("images without objects", ("toy_0005",))]
    assert (found.totals[0].images, found.totals[0].masks, found.totals[0].classes) == (6, 6, 3)
    assert steps == [(k, 6) for k in range(1, 7)]


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((10, 10, 121.9, 20), "boxes outside of their image"),
        ((-1, 10, 20, 20), "boxes outside of their image"),
        ((10, 10, 9, 20), "empty or inverted boxes"),
        ((10, 30, 20, 20), "empty or inverted boxes"),
        ((0, 0, 121, 97), None),  # one pixel outside is rounding
    ],
)
def test_boxes(box: tuple[float, float, float, float], kind: str | None, voc: Path) -> None:
    annotate(voc, 1, "ell", box)
    found = check(f"voc:{voc}@train")
    assert kinds(found) == ({kind: 1} if kind else {})
    assert all(finding.examples[0].startswith("toy_0001: ell [") for finding in found.errors)


def test_masks(voc: Path) -> None:
    synthetic_data.write_mask(voc / "SegmentationClass" / "toy_0000.png", np.zeros((96, 119), np.uint8))
    synthetic_data.write_mask(voc / "SegmentationClass" / "toy_0001.png", np.full((96, 120), 4, np.uint8))
    (voc / "SegmentationClass" / "toy_0002.png").write_bytes(b"x")
    assert kinds(check(f"voc:{voc}@train")) == {
        "masks of another size": 1,
        "masks with unknown values": 1,
        UNREADABLE: 1,
    }


def test_it_does_not_stop_at_the_first_bad_file(voc: Path) -> None:
    (voc / "JPEGImages" / "toy_0000.png").unlink()
    image = voc / "JPEGImages" / "toy_0001.png"
    image.write_bytes(image.read_bytes()[:2000])
    (voc / "Annotations" / "toy_0002.xml").write_text("<annotation>")
    (voc / "Annotations" / "toy_0003.xml").unlink()
    annotate(voc, 4, "blob", (1, 1, 9, 9))
    found = check(f"voc:{voc}@train")
    assert kinds(found) == {UNREADABLE: 4, "objects of unknown classes": 1}
    text = " ".join(next(f for f in found.errors if f.kind == UNREADABLE).examples)
    assert all(f"toy_000{k}" in text for k in range(4))


def test_examples_are_a_few_and_errors_come_first(tmp_path: Path) -> None:
    text = synthetic_data.write_coco(tmp_path, synthetic_data.draw(9))
    path = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    for item in content["annotations"]:
        item["bbox"] = [5, 5, 0, 0]
    path.write_text(json.dumps(content))
    finding = check(text).found[0]
    assert (finding.kind, finding.severity) == ("empty or inverted boxes", "error")
    assert finding.count == len(content["annotations"]) > len(finding.examples) == 5


def test_sets_that_cannot_be_opened_are_findings(voc: Path) -> None:
    found = check("voc:nowhere@train", "nonsense", f"voc:{voc}@train,void=blob", parse_source(f"voc:{voc}@train"))
    assert [(f.kind, f.count) for f in found.errors] == [("sets that cannot be opened", 1)] * 3
    assert len(found.totals) == 1


def test_warnings_of_names_duplicates_and_leaks(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(4)
    one = synthetic_data.write_folder(tmp_path / "a", drawings)
    two = synthetic_data.write_voc(tmp_path / "b", drawings[:2], "val")
    (tmp_path / "a" / "images" / "copy.png").write_bytes((tmp_path / "a" / "images" / "toy_0000.png").read_bytes())
    (tmp_path / "b" / "classes.txt").write_text(NAMES + "disc\n")
    found = check(one, two, classes=("square", "ell"))
    warnings = {(w.kind, w.title): (w.count, w.examples[0]) for w in found.warnings}
    assert found.errors == ()
    assert warnings["duplicate images", one] == (1, "toy_0000 is copy")
    assert warnings[f"images also in {one}", two] == (2, "toy_0000 is copy")
    assert warnings["images with nothing annotated", one] == (1, "copy")
    assert warnings["classes that do not occur", two][1] == "disc" or warnings["classes that do not occur", two][0] > 1
    assert warnings["names unknown to the model, taken as background", two] == (2, "cross")


def test_an_absent_class_is_told_only_if_it_was_annotated(voc: Path) -> None:
    (voc / "classes.txt").write_text(NAMES + "disc\n")
    assert any(w.kind == "classes that do not occur" for w in check(f"voc:{voc}@train").warnings)
    found = check(f"voc:{voc}@train,classes=square")
    assert not any(w.kind == "classes that do not occur" for w in found.warnings)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared photographs are not here")
def test_the_shared_sets_have_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    data = "../shared/data"
    found = check(
        f"voc:{data}/VOCdevkit/VOC2012@train",
        f"voc:{data}/VOCdevkit/VOC2007@trainval",
        f"coco:{data}/coco@train",
        f"coco:{data}/coco@boxes",
        f"voc:{data}/caltech/aeroplane@train,classes=aeroplane",
        f"voc:{data}/caltech/motorbike@train,classes=motorbike",
        f"folder:{data}/camvid,classes=car+person,void=bicyclist",
        f"voc:{data}/VOCdevkit/VOC2012@val",
        f"voc:{data}/VOCdevkit/VOC2007@test",
        f"coco:{data}/coco@rare",
        f"coco:{data}/coco@val",
        classes=VOC,
    )
    assert found.errors == ()
    assert not any("images also in" in w.kind or w.kind == "duplicate images" for w in found.warnings)
    assert sum(total.images for total in found.totals) == 5193
