"""What datasets annotate, and so what a model can learn."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core.errors import DataError, UsageError
from blitznet.core.sample import Dataset, Sample
from blitznet.data import coverage as module
from blitznet.data.coverage import Coverage, measure_coverage, require_objects
from blitznet.data.sources import open_mapped, open_sources, parse_source
from support import synthetic_data
from support.synthetic_data import NAMES, ArrayMask, Drawing


class Samples:
    """Samples in memory as a dataset."""

    title, class_names = "toy", NAMES

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.ids = tuple(sample.id for sample in samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def only(sample: Sample, *, boxes: Sequence[bool] = (True,) * 3, masks: Sequence[bool] = (True,) * 3) -> Sample:
    """The sample with only these classes annotated; objects and pixels of the others are left out."""
    keep = np.asarray(boxes)[sample.labels]
    mask = sample.class_map()
    assert mask is not None
    table = np.concatenate([[0], np.where(masks, np.arange(1, 4), 0)]).astype(np.uint8)
    return replace(
        sample,
        boxes=sample.boxes[keep],
        labels=sample.labels[keep],
        difficult=sample.difficult[keep],
        crowd=sample.crowd[keep],
        annotated_box_classes=np.asarray(boxes),
        annotated_mask_classes=np.asarray(masks),
        mask=ArrayMask(table[mask]) if any(masks) else None,
    )


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [drawing.sample for drawing in synthetic_data.draw(8)[:-1]]


def learned(*datasets: Dataset) -> tuple[list[bool], list[bool]]:
    coverage = measure_coverage(datasets)
    return coverage.learned("detection").tolist(), coverage.learned("segmentation").tolist()


def test_masks_only_boxes_only_and_a_mixture(samples: list[Sample]) -> None:
    every, none = [True] * 3, [False] * 3
    masks = Samples([only(sample, boxes=none) for sample in samples])
    boxes = Samples([only(sample, masks=none) for sample in samples])
    assert learned(masks) == (none, every)
    assert learned(boxes) == (every, none)
    first = Samples([only(sample, boxes=[True, False, False], masks=none) for sample in samples])
    second = Samples([only(sample, boxes=none, masks=[False, True, True]) for sample in samples])
    assert learned(first, second) == ([True, False, False], [False, True, True])


def test_a_set_that_claims_all_boxes_but_has_none_of_a_class_in_its_masks_does_not_annotate_it(
    samples: list[Sample],
) -> None:
    boxed = Samples(
        [replace(only(sample, boxes=[True, False, True]), annotated_box_classes=np.ones(3, bool)) for sample in samples]
    )
    assert learned(boxed) == ([True, False, True], [True] * 3)
    # a class that occurs nowhere is known to be absent
    absent = Samples(
        [
            replace(
                only(sample, boxes=[True, False, True], masks=[True, False, True]),
                annotated_box_classes=np.ones(3, bool),
                annotated_mask_classes=np.ones(3, bool),
            )
            for sample in samples
        ]
    )
    assert learned(absent) == ([True] * 3, [True] * 3)


def test_counts_are_those_of_the_drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawings = synthetic_data.draw(6)
    texts = [
        writer(tmp_path / writer.__name__, drawings) for writer in (synthetic_data.write_coco, synthetic_data.write_voc)
    ]
    coverage = measure_coverage(open_sources(texts, NAMES))
    expected = np.sum([np.bincount(d.labels, minlength=3) for d in drawings], 0)
    assert [item.objects.tolist() for item in coverage.sets] == [expected.tolist()] * 2
    assert coverage.objects.tolist() == (2 * expected).tolist()
    in_masks = np.sum([[(d.class_map == k + 1).any() for k in range(3)] for d in drawings], 0).tolist()
    assert coverage.sets[1].masks.tolist() == in_masks
    monkeypatch.setattr(module, "MAX_READ_MASKS", 2)
    sampled = measure_coverage(open_sources(texts[1:], NAMES)).sets[0]
    assert not sampled.all_masks_read
    assert (sampled.masks % 3 == 0).all()


def test_only_the_selected_samples_count(samples: list[Sample]) -> None:
    coverage = measure_coverage([Samples(samples)], [[0]])
    assert coverage.objects.sum() == len(samples[0].labels)
    assert coverage.sets[0].num_images == 1


def write_binary_masks(root: Path, drawings: Sequence[Drawing], names: Sequence[str]) -> str:
    text = synthetic_data.write_folder(root, drawings)
    (root / "classes.txt").write_text("\n".join(["background", *names]) + "\n")
    for drawing in drawings:
        values = np.where(drawing.class_map > 0, 255, 0).astype(np.uint8)
        Image.fromarray(values).save(root / "masks" / f"{drawing.id}.png")
    return text


def test_masks_of_0_and_255_are_refused_in_one_line(tmp_path: Path) -> None:
    text = write_binary_masks(tmp_path, synthetic_data.draw(3), ["thing"])
    dataset = open_mapped(parse_source(text), ("thing",))
    with pytest.raises(DataError, match="got only 0 and 255 in all of them; 255 means ignored: write 1 for thing"):
        measure_coverage([dataset])


def test_other_masks_without_a_trained_class_are_not_taken_for_binary_ones(tmp_path: Path) -> None:
    text = synthetic_data.write_folder(tmp_path, synthetic_data.draw(4))
    dataset = open_mapped(parse_source(f"{text},ignore=cross+ell+square"), NAMES)
    assert measure_coverage([dataset]).masks.tolist() == [0, 0, 0]


def test_sets_without_any_object_are_refused(samples: list[Sample]) -> None:
    empty = measure_coverage([Samples([only(samples[0], boxes=[False] * 3, masks=[False] * 3)])])
    with pytest.raises(UsageError, match="expected an object or a mask in one of the training sets, got none in toy"):
        require_objects(empty, ["labels"])
    with pytest.raises(UsageError, match="looked for labels in labels/train"):
        require_objects(empty, ["labels/train"])
    require_objects(measure_coverage([Samples(samples)]), [])
    assert Coverage(NAMES, ()).objects.tolist() == [0, 0, 0]
