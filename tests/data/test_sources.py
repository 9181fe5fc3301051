"""Dataset strings."""

from pathlib import Path

import pytest

from blitznet.core.classes import VOC
from blitznet.core.errors import DataError, UsageError
from blitznet.data.leaks import find_leaks
from blitznet.data.sources import DatasetSource, open_dataset, open_sources, parse_source
from support import synthetic_data

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
TRAINING = (
    ("voc:../shared/data/VOCdevkit/VOC2012@train", 2094, 2094),
    ("voc:../shared/data/VOCdevkit/VOC2007@trainval", 4554, 15),
    ("coco:../shared/data/coco@train", 445, 445),
    ("coco:../shared/data/coco@boxes", 883, 0),
    ("voc:../shared/data/caltech/aeroplane@train,annotated=aeroplane", 146, 0),
    ("voc:../shared/data/caltech/motorbike@train,annotated=motorbike", 151, 0),
    ("folder:../shared/data/camvid,annotated=car+person,ignore=bicyclist", 123, 123),
)
EVALUATION = (
    ("voc:../shared/data/VOCdevkit/VOC2012@val", 478, 478),
    ("voc:../shared/data/VOCdevkit/VOC2007@test", 508, 0),
    ("coco:../shared/data/coco@rare", 116, 0),
    ("coco:../shared/data/coco@val", 136, 136),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("voc:a/VOC2012@train", DatasetSource("voc", Path("a/VOC2012"), "train")),
        ("folder:a", DatasetSource("folder", Path("a"))),
        ("folder:/home/me@work/a", DatasetSource("folder", Path("/home/me@work/a"))),
        (
            "voc:/home/me@work/a@val,sample_weight=2",
            DatasetSource("voc", Path("/home/me@work/a"), "val", sample_weight=2),
        ),
        ("voc:C:\\data\\a@val", DatasetSource("voc", Path("C:\\data\\a"), "val")),
        ("voc:a@b,masks=SegmentationClassAug", DatasetSource("voc", Path("a"), "b", masks=("SegmentationClassAug",))),
        ("voc:a@b,masks=c+d", DatasetSource("voc", Path("a"), "b", masks=("c", "d"))),
        ("voc:a@b,masks=none", DatasetSource("voc", Path("a"), "b", masks=())),
        ("voc:a@b", DatasetSource("voc", Path("a"), "b", masks=None)),
        ("voc:a@b,mask_fraction=0.25", DatasetSource("voc", Path("a"), "b", mask_fraction=0.25)),
        ("voc:a/VOC2012@Segmentation/val", DatasetSource("voc", Path("a/VOC2012"), "Segmentation/val")),
        (
            "voc:a@SegmentationAug/train,sample_weight=2",
            DatasetSource("voc", Path("a"), "SegmentationAug/train", sample_weight=2),
        ),
        ("voc:/home/me@Main/val@Main/val", DatasetSource("voc", Path("/home/me@Main/val"), "Main/val")),
        ("voc:/home/me@work/val", DatasetSource("voc", Path("/home/me@work/val"))),
        ("voc:/home/me@Main/data/a", DatasetSource("voc", Path("/home/me@Main/data/a"))),
        ("coco:/home/me@Main/val", DatasetSource("coco", Path("/home/me@Main/val"))),
        (
            "coco:a@b,annotated=traffic light+car,ignore=dog+cat,sample_weight=0.5",
            DatasetSource(
                "coco", Path("a"), "b", annotated=("traffic light", "car"), ignore=("dog", "cat"), sample_weight=0.5
            ),
        ),
    ],
)
def test_parse_source(text: str, expected: DatasetSource) -> None:
    source = parse_source(text)
    assert source.title == source.text == text
    for field in ("format", "root", "split", "annotated", "ignore", "sample_weight", "masks", "mask_fraction"):
        assert getattr(source, field) == getattr(expected, field), field


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/VOC2012@train", "expected FORMAT:ROOT@SPLIT with FORMAT one of voc, sbd, coco, yolo, folder"),
        ("pascal:a@train", "expected FORMAT:ROOT@SPLIT"),
        ("voc:", "expected a folder"),
        ("voc:@train", "expected a folder"),
        ("voc:a@", "a split's name after @"),
        ("voc:a@Main/", "a split's name after @"),
        (
            "voc:a@b,speed=2",
            "expected an option of annotated, ignore, sample_weight, masks, mask_fraction, unlabelled, missing, part, "
            "got 'speed'",
        ),
        ("voc:a@b,annotated", "annotated: expected a value, got ''"),
        ("voc:a@b,annotated=a++b", "annotated: expected a value, got 'a++b'"),
        ("voc:a@b,sample_weight=2,sample_weight=3", "expected each option once, got one twice"),
        ("voc:a@b,sample_weight=0", "sample_weight: expected a number above 0, got 0"),
        ("voc:a@b,sample_weight=nan", "sample_weight: expected a number above 0, got nan"),
        ("voc:a@b,sample_weight=x", "sample_weight: expected a number above 0, got x"),
        ("coco:a@b,masks=x", "masks: expected none, or format voc, got x"),
        ("coco:a@b,mask_fraction=0.5", "mask_fraction: expected format voc, got coco"),
        ("voc:a@b,mask_fraction=2", "mask_fraction: expected a number from 0 to 1, got 2"),
        ("voc:a@b,mask_fraction=few", "mask_fraction: expected a number from 0 to 1, got few"),
    ],
)
def test_errors_contain_an_example(text: str, message: str) -> None:
    with pytest.raises(UsageError, match="for example voc:VOCdevkit/VOC2012@train,annotated=car") as caught:
        parse_source(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["with,comma", "a b", "a@b", "a@b,c+d", "a=b"])
def test_a_path_that_exists_may_contain_separators(name: str, tmp_path: Path) -> None:
    root = tmp_path / name
    synthetic_data.write_voc(root, synthetic_data.draw(1))
    source = parse_source(f"voc:{root}@train,annotated=square+ell,sample_weight=2")
    assert (source.root, source.split, source.annotated) == (root, "train", ("square", "ell"))
    assert parse_source(f"voc:{root}").root == root
    detected = parse_source(f"{root},sample_weight=2")
    assert (detected.format, detected.root, detected.split, detected.sample_weight) == ("voc", root, "train", 2)
    assert parse_source(f"{root}@train").title == f"voc:{root}@train"


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    synthetic_data.write_voc(tmp_path / "set", synthetic_data.draw(1))
    for text in ("voc:~/set@train", "~/set", "VOC:~/set@train"):
        assert parse_source(text).root == tmp_path / "set"


@pytest.mark.parametrize("value", ["train", "test+0.2", "val+2", "val+x"])
def test_parts_have_a_name_and_a_fraction(value: str) -> None:
    with pytest.raises(UsageError, match=r"part: expected train\+0\.2 or val\+0\.2"):
        parse_source(f"voc:a@b,part={value}")


def test_title_without_text_is_format_root_and_split() -> None:
    assert DatasetSource("voc", Path("a"), "b").title == "voc:a@b"
    assert DatasetSource("folder", Path("a")).title == "folder:a"


def test_missing_folders_are_refused() -> None:
    with pytest.raises(DataError, match="voc:nowhere@train: expected the folder nowhere"):
        open_dataset(parse_source("voc:nowhere@train"))
    with pytest.raises(UsageError, match="format: expected one of"):
        open_dataset(DatasetSource("pascal", ROOT))


def test_options_are_applied_to_the_dataset(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(3)) + ",annotated=square,ignore=ell"
    dataset = open_sources([text], synthetic_data.NAMES)[0]
    assert (
        dataset[0].annotated_box_classes.tolist() == dataset[0].annotated_mask_classes.tolist() == [False, False, True]
    )
    assert dataset.ignored == ("ell",)


def test_broken_annotations_are_refused_at_opening(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(3))
    (tmp_path / "Annotations" / "toy_0001.xml").write_text("<")
    with pytest.raises(DataError, match=r"toy_0001\.xml: not well-formed XML"):
        open_sources([text], synthetic_data.NAMES)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared photographs are not here")
def test_the_shared_datasets_open_completely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    table = (*TRAINING, *EVALUATION)
    datasets = open_sources([text for text, _, _ in table], VOC)
    for dataset, (text, images, masks) in zip(datasets, table, strict=True):
        samples = [dataset[k] for k in range(len(dataset))]
        assert (dataset.title, len(samples), sum(s.mask is not None for s in samples)) == (text, images, masks)
        assert all(s.image.size() for s in samples)
        boxes = 0 if text.startswith("folder") else 1 if "annotated=" in text else 20
        assert {int(s.annotated_box_classes.sum()) for s in samples} == {boxes}
        class_map = next((s.class_map() for s in samples if s.mask), None)
        assert class_map is None or set(class_map.ravel().tolist()) <= {*range(21), 255}
    assert find_leaks(datasets[: len(TRAINING)], datasets[len(TRAINING) :]) == ()


def test_options_after_the_split_of_a_folder_that_exists(tmp_path: Path) -> None:
    for name in ("plain", "with,comma"):
        (tmp_path / name).mkdir()
        source = parse_source(f"voc:{tmp_path / name}@train,sample_weight=2,annotated=car")
        assert (source.root, source.split) == (tmp_path / name, "train")
        assert (source.sample_weight, source.annotated) == (2.0, ("car",))
