"""Datasets as tools export them: recognized without naming the format, and read as they were drawn."""

import json
from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.core.sample import Sample
from blitznet.data.check import check_datasets
from blitznet.data.detect import detect_layout, json_kind, select_splits
from blitznet.data.sources import describe_sources, expand_source, open_dataset, split_sources
from support import synthetic_data
from support.exports import EXPORTS, Export
from support.synthetic_data import NAMES, Drawing

TABLE = pytest.mark.parametrize("export", EXPORTS.values(), ids=list(EXPORTS))


def write(export: Export, root: Path, count: int = 5) -> list[Drawing]:
    drawings = synthetic_data.draw(count, size=(64, 80))
    drawings = [*drawings[-1:], *drawings[:-1]] if export.splits else drawings  # the empty one is for training
    export.write(root, drawings)
    return drawings


def require_equal(sample: Sample, names: tuple[str, ...], drawing: Drawing, export: Export) -> None:
    if export.boxes and sample.annotated_box_classes.any():
        assert [names[label] for label in sample.labels] == [NAMES[label] for label in drawing.labels]
        np.testing.assert_allclose(sample.boxes, drawing.boxes, atol=0.02)
    else:
        assert len(sample.labels) == 0
    class_map = sample.class_map()
    if export.masks and class_map is not None:
        values = np.asarray([0, *(1 + names.index(name) if name in names else 0 for name in NAMES)], np.uint8)
        np.testing.assert_array_equal(class_map, values[drawing.class_map])
    else:
        assert class_map is None
    np.testing.assert_array_equal(sample.image.read(), drawing.image)


@TABLE
def test_exports_are_recognized_and_read_as_drawn(export: Export, tmp_path: Path) -> None:
    root = tmp_path / "set"
    drawings = write(export, root)
    layout = detect_layout(root)
    assert (layout.format, layout.name) == (export.format, export.name)
    sources = expand_source(str(root), "all")
    samples: dict[str, tuple[Sample, tuple[str, ...]]] = {}
    for source in sources:
        dataset = open_dataset(source)
        assert not dataset.errors
        samples |= {Path(i).name: (dataset[k], dataset.class_names) for k, i in enumerate(dataset.ids)}
    assert len(samples) == len(drawings)
    for drawing in drawings:
        require_equal(*samples[drawing.id], drawing, export)
    annotated = sum(len(sample.labels) for sample, _ in samples.values())
    assert annotated == (sum(len(drawing.labels) for drawing in drawings) if export.boxes else 0)


@TABLE
def test_training_and_evaluation_splits_are_selected(export: Export, tmp_path: Path) -> None:
    write(export, tmp_path / "set")
    training, evaluation = split_sources([str(tmp_path / "set")], ())
    assert len(training) == 1
    assert len(evaluation) == export.splits
    if export.splits:
        assert len(open_dataset(training[0])) == 3
        assert len(open_dataset(evaluation[0])) == 2
        assert expand_source(str(tmp_path / "set"), "eval")[0].split == evaluation[0].split
    (line,) = describe_sources([*training, *evaluation])
    assert line.startswith(f"{training[0].layout.root}: {export.name}" if training[0].layout else "-")


def test_data_check_finds_no_error_in_any_export(tmp_path: Path) -> None:
    for name, export in EXPORTS.items():
        write(export, tmp_path / name)
        for source in expand_source(str(tmp_path / name), "all"):
            report = check_datasets(source)
            assert not report.errors, (name, report.errors)


def test_a_folder_in_a_folder_is_recognized(tmp_path: Path) -> None:
    write(EXPORTS["roboflow coco"], tmp_path / "download" / "shapes.v1")
    (tmp_path / "download" / "__MACOSX").mkdir()
    assert detect_layout(tmp_path / "download").root == tmp_path / "download" / "shapes.v1"


def test_several_datasets_are_listed(tmp_path: Path) -> None:
    write(EXPORTS["voc"], tmp_path / "VOC2007")
    write(EXPORTS["voc"], tmp_path / "VOC2012")
    with pytest.raises(UsageError, match=r"expected one dataset, recognized 2: voc:.*VOC2007 .*; voc:.*VOC2012 .*name"):
        detect_layout(tmp_path)


def test_a_dataset_in_one_of_several_folders_is_not_taken_for_all(tmp_path: Path) -> None:
    write(EXPORTS["coco"], tmp_path / "a")
    write(EXPORTS["folder"], tmp_path / "b")
    with pytest.raises(UsageError, match=r"recognized 2: coco:.*a .*; folder:.*b "):
        detect_layout(tmp_path)


def test_several_formats_of_one_folder_are_listed(tmp_path: Path) -> None:
    write(EXPORTS["yolo"], tmp_path)
    write(EXPORTS["cvat"], tmp_path)
    with pytest.raises(UsageError, match=r"recognized 2: yolo:.*; cvat:"):
        detect_layout(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "got an empty folder"),
        (("a.jpg", "b.jpg", "c.txt"), r"got 2 \.jpg, 1 \.txt"),
        (("a.json",), r"got 1 \.json"),
        (("a/x.jpg", "b/y.jpg"), r"got 2 folders \(a, b\)"),
        (("a/x.jpg", "b"), r"got 1 folder, 1 file without suffix \(a\)"),
        (
            ("images/x.jpg", "masks/x.png"),
            r"got 2 folders .*; the masks in masks need .*classes\.txt, the name of a class",
        ),
    ],
)
def test_unknown_folders_are_described(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match=f"expected a dataset of a known format, {message}"):
        detect_layout(tmp_path)


def test_unclear_splits_are_refused(tmp_path: Path) -> None:
    for split in ("a", "b"):
        synthetic_data.write_coco(tmp_path, synthetic_data.draw(1), split)
    layout = detect_layout(tmp_path)
    assert select_splits(layout, "all") == ("a", "b")
    for purpose in ("train", "eval"):
        with pytest.raises(UsageError, match=r"expected a split, got a, b; write coco:.*@SPLIT"):
            select_splits(layout, purpose)


def test_large_json_files_are_recognized_by_their_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.data.detect._MAX_SNIFFED", 10)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    assert json_kind(path) == "coco"
    path.write_text(json.dumps({"shapes": [], "imagePath": "a.jpg"}))
    assert json_kind(path) is None
