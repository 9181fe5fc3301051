"""Sets as they are written on the command line."""

from pathlib import Path

import pytest

from blitznet.core.classes import VOC
from blitznet.core.errors import DataError, UsageError
from blitznet.data.leaks import find_leaks
from blitznet.data.sources import Source, open_dataset, open_sources, parse_source
from support import synthetic_data

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
TRAINING = (
    ("voc:../shared/data/VOCdevkit/VOC2012@train", 1742, 1742),
    ("voc:../shared/data/VOCdevkit/VOC2007@trainval", 891, 15),
    ("coco:../shared/data/coco@train", 445, 445),
    ("coco:../shared/data/coco@boxes", 883, 0),
    ("voc:../shared/data/caltech/aeroplane@train,classes=aeroplane", 146, 0),
    ("voc:../shared/data/caltech/motorbike@train,classes=motorbike", 151, 0),
    ("folder:../shared/data/camvid,classes=car+person,void=bicyclist", 123, 123),
)
EVALUATION = (
    ("voc:../shared/data/VOCdevkit/VOC2012@val", 346, 346),
    ("voc:../shared/data/VOCdevkit/VOC2007@test", 214, 0),
    ("coco:../shared/data/coco@rare", 116, 0),
    ("coco:../shared/data/coco@val", 136, 136),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("voc:a/VOC2012@train", Source("voc", Path("a/VOC2012"), "train")),
        ("folder:a", Source("folder", Path("a"))),
        ("folder:/home/me@work/a", Source("folder", Path("/home/me@work/a"))),
        ("voc:/home/me@work/a@val,weight=2", Source("voc", Path("/home/me@work/a"), "val", weight=2)),
        ("voc:C:\\data\\a@val", Source("voc", Path("C:\\data\\a"), "val")),
        ("voc:a@b,masks=SegmentationClassAug", Source("voc", Path("a"), "b", masks=("SegmentationClassAug",))),
        ("voc:a@b,masks=c+d", Source("voc", Path("a"), "b", masks=("c", "d"))),
        ("voc:a@b,masks=none", Source("voc", Path("a"), "b", masks=())),
        ("voc:a@b", Source("voc", Path("a"), "b", masks=None)),
        ("voc:a@b,masked=0.25", Source("voc", Path("a"), "b", masked=0.25)),
        ("voc:a/VOC2012@Segmentation/val", Source("voc", Path("a/VOC2012"), "Segmentation/val")),
        ("voc:a@SegmentationAug/train,weight=2", Source("voc", Path("a"), "SegmentationAug/train", weight=2)),
        ("voc:/home/me@Main/val@Main/val", Source("voc", Path("/home/me@Main/val"), "Main/val")),
        ("voc:/home/me@work/val", Source("voc", Path("/home/me@work/val"))),
        ("voc:/home/me@Main/data/a", Source("voc", Path("/home/me@Main/data/a"))),
        ("coco:/home/me@Main/val", Source("coco", Path("/home/me@Main/val"))),
        (
            "coco:a@b,classes=traffic light+car,void=dog+cat,weight=0.5",
            Source("coco", Path("a"), "b", classes=("traffic light", "car"), void=("dog", "cat"), weight=0.5),
        ),
    ],
)
def test_the_grammar(text: str, expected: Source) -> None:
    source = parse_source(text)
    assert source.title == source.text == text
    for field in ("format", "root", "split", "classes", "void", "weight", "masks", "masked"):
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
        ("voc:a@b,speed=2", "no option 'speed'; options are classes, void, weight, masks, masked"),
        ("voc:a@b,classes", "option 'classes' wants a value"),
        ("voc:a@b,classes=a++b", "option 'classes' wants a value"),
        ("voc:a@b,weight=2,weight=3", "an option stands there twice"),
        ("voc:a@b,weight=0", "weight=0 is not a number above 0"),
        ("voc:a@b,weight=nan", "weight=nan is not a number above 0"),
        ("voc:a@b,weight=x", "weight=x is not a number above 0"),
        ("coco:a@b,masks=x", "option 'masks' is for voc only"),
        ("coco:a@b,masked=0.5", "option 'masked' is for voc only"),
        ("voc:a@b,masked=2", "masked=2 is not a number of 0..1"),
        ("voc:a@b,masked=few", "masked=few is not a number of 0..1"),
    ],
)
def test_what_cannot_be_read_is_told_with_an_example(text: str, message: str) -> None:
    with pytest.raises(UsageError, match="for example voc:VOCdevkit/VOC2012@train,classes=car") as caught:
        parse_source(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_titles_are_put_together_where_nothing_was_typed() -> None:
    assert Source("voc", Path("a"), "b").title == "voc:a@b"
    assert Source("folder", Path("a")).title == "folder:a"


def test_a_missing_folder_is_told() -> None:
    with pytest.raises(DataError, match="voc:nowhere@train: there is no folder nowhere"):
        open_dataset(parse_source("voc:nowhere@train"))
    with pytest.raises(UsageError, match="expected a format of"):
        open_dataset(Source("pascal", ROOT))


def test_options_reach_the_set(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(3)) + ",classes=square,void=ell"
    dataset = open_sources([text], synthetic_data.NAMES)[0]
    assert (
        dataset[0].annotated_box_classes.tolist() == dataset[0].annotated_mask_classes.tolist() == [False, False, True]
    )
    assert dataset.void == ("ell",)


def test_a_set_with_broken_annotations_is_refused_at_once(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(3))
    (tmp_path / "Annotations" / "toy_0001.xml").write_text("<")
    with pytest.raises(DataError, match=r"toy_0001\.xml: not well-formed XML"):
        open_sources([text], synthetic_data.NAMES)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared photographs are not here")
def test_the_shared_sets_open_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    table = (*TRAINING, *EVALUATION)
    datasets = open_sources([text for text, _, _ in table], VOC)
    for dataset, (text, images, masks) in zip(datasets, table, strict=True):
        samples = [dataset[k] for k in range(len(dataset))]
        assert (dataset.title, len(samples), sum(s.mask is not None for s in samples)) == (text, images, masks)
        assert all(s.image.size() for s in samples)
        boxes = 0 if text.startswith("folder") else 1 if "classes=" in text else 20
        assert {int(s.annotated_box_classes.sum()) for s in samples} == {boxes}
        class_map = next((s.class_map() for s in samples if s.mask), None)
        assert class_map is None or set(class_map.ravel().tolist()) <= {*range(21), 255}
    assert find_leaks(datasets[: len(TRAINING)], datasets[len(TRAINING) :]) == ()
