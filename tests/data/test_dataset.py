"""All readers return the same samples for the same synthetic images; datasets can be pickled."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.data.dataset import Annotation, AnnotationArrays, IndexedDataset, read_class_list, read_text
from blitznet.data.sources import open_dataset, open_sources, parse_source
from support import synthetic_data

WRITERS: dict[str, Callable[[Path, list[synthetic_data.Drawing]], str]] = {
    "voc": synthetic_data.write_voc,
    "coco": synthetic_data.write_coco,
    "yolo": synthetic_data.write_yolo,
    "folder": synthetic_data.write_folder,
}


@pytest.mark.parametrize("dataset_format", WRITERS)
@pytest.mark.parametrize("mapped", [False, True])
def test_every_reader_returns_the_drawn_samples(dataset_format: str, mapped: bool, tmp_path: Path) -> None:
    drawings = synthetic_data.draw(8)
    text = WRITERS[dataset_format](tmp_path, drawings)
    dataset = open_sources([text], synthetic_data.NAMES)[0] if mapped else open_dataset(parse_source(text))
    assert (dataset.title, dataset.class_names, tuple(dataset.ids)) == (
        text,
        synthetic_data.NAMES,
        tuple(d.id for d in drawings),
    )
    for drawing, sample in zip(drawings, (dataset[k] for k in range(len(dataset))), strict=True):
        expected = drawing.sample
        assert sample.id == expected.id
        np.testing.assert_array_equal(sample.image.read(), drawing.image)
        np.testing.assert_array_equal(sample.class_map(), drawing.class_map)
        assert sample.annotated_mask_classes.all()
        if dataset_format == "folder":
            assert not sample.annotated_box_classes.any()
            assert len(sample.labels) == 0
            continue
        np.testing.assert_allclose(sample.boxes, expected.boxes, atol=1e-4)
        np.testing.assert_array_equal(sample.labels, expected.labels)
        assert sample.annotated_box_classes.all()
        assert not sample.difficult.any()
        assert not sample.crowd.any()
        assert [str(a.dtype) for a in (sample.boxes, sample.labels)] == ["float32", "int64"]


@pytest.mark.parametrize("dataset_format", WRITERS)
def test_datasets_can_be_pickled(dataset_format: str, tmp_path: Path) -> None:
    dataset = open_sources([WRITERS[dataset_format](tmp_path, synthetic_data.draw(3))], synthetic_data.NAMES)[0]
    copy = pickle.loads(pickle.dumps(dataset))
    for k in range(3):
        np.testing.assert_array_equal(copy[k].class_map(), dataset[k].class_map())
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(copy[k])).boxes, dataset[k].boxes)


def test_negative_indices_and_the_end(tmp_path: Path) -> None:
    dataset = open_dataset(parse_source(synthetic_data.write_voc(tmp_path, synthetic_data.draw(3))))
    assert dataset[-1].id == "toy_0002"
    with pytest.raises(IndexError):
        dataset[3]


def test_annotations_are_packed_in_flat_arrays() -> None:
    packed = AnnotationArrays.pack(
        [
            [Annotation((0, 1, 2, 3), 4)],
            [],
            [Annotation((1, 1, 2, 2), 0, True), Annotation((0, 0, 9, 9), 1, False, True)],
        ]
    )
    assert packed.offsets.tolist() == [0, 1, 1, 3]
    assert packed.labels[packed.image_slice(2)].tolist() == [0, 1]
    assert packed.difficult.tolist() == [False, True, False]
    assert packed.crowd.tolist() == [False, False, True]
    assert packed.boxes[packed.image_slice(1)].shape == (0, 4)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    text = synthetic_data.write_yolo(tmp_path, synthetic_data.draw(2))
    twin = tmp_path / "images" / "train" / "toy_0000.webp"
    twin.touch()
    with pytest.raises(DataError) as caught:
        open_dataset(parse_source(text))
    assert str(caught.value) == (
        f"{twin.with_suffix('.png')}: expected one image of this name, got also toy_0000.webp; names without suffix "
        "identify samples, so rename or remove one"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"a\nb\na\n", "expected unique class names"),
        (b"\xff\xfe\x00", "expected UTF-8"),
    ],
)
def test_bad_class_lists_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_class_list(tmp_path / "classes.txt")


def test_large_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="expected at most 10 bytes"):
        read_text(tmp_path / "long", limit=10)
    with pytest.raises(DataError, match="expected a file, got a path that does not exist"):
        read_text(tmp_path / "none", limit=10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", "a"),
        ("train/a b.c", "train/a b.c"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/./passwd", "etc/passwd"),
        ("a/../..//b", "a/b"),
        ("..", "_"),
        ("", "_"),
        ("a\0b\n", "a\\x00b\\n"),
    ],
)
def test_ids_stay_below_their_folder(name: str, expected: str, tmp_path: Path) -> None:
    dataset = IndexedDataset("t", ("cat",), (name,), ("a.png",), None, {})
    assert dataset.ids == (expected,)
    assert (tmp_path / f"{dataset.ids[0]}.txt").resolve().is_relative_to(tmp_path)


@pytest.mark.parametrize("names", [("a\n",), ("",), ("x" * 201,), ("cat", "cat")])
def test_class_names_are_printable_and_unique(names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"expected (unique )?class names"):
        IndexedDataset("t", names, (), (), None, {})
