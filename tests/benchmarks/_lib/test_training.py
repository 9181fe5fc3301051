from benchmarks._lib.training import ChangedSubset, halves, without_boxes, without_mask
from blitznet.core.sample import Dataset, Sample
from support import synthetic_data


class Synthetic:
    """A dataset of synthetic images."""

    title, class_names = "synthetic", synthetic_data.NAMES

    def __init__(self) -> None:
        self.samples = [drawing.sample for drawing in synthetic_data.draw(20)]
        self.ids = [sample.id for sample in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int, /) -> Sample:
        return self.samples[index]


def test_halves_are_disjoint_and_complete() -> None:
    dataset: Dataset = Synthetic()
    first, second = halves(dataset)
    assert sorted([*first, *second]) == list(range(20))
    assert 5 <= len(first) <= 15


def test_changed_subset() -> None:
    dataset: Dataset = Synthetic()
    boxes, masks = ChangedSubset(dataset, (3, 1), without_mask), ChangedSubset(dataset, (3, 1), without_boxes)
    assert list(boxes.ids) == [dataset.ids[3], dataset.ids[1]]
    assert boxes[0].class_map() is None
    assert not boxes[0].annotated_mask_classes.any()
    assert boxes[0].annotated_box_classes.all()
    assert len(boxes[1].boxes) == len(dataset[1].boxes)
    assert masks[1].class_map() is not None
    assert not len(masks[1].boxes)
    assert not masks[1].annotated_box_classes.any()
