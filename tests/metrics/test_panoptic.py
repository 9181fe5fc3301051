import numpy as np
import pytest

from blitznet.metrics.panoptic import PanopticCounts
from blitznet.postprocess.instances import Mask, Panoptic, SegmentInfo

CLASSES = 3


def drawn(random: np.random.Generator, size: tuple[int, int] = (24, 30), most: int = 6) -> Panoptic:
    """Rectangles over each other, the later on top."""
    ids, labels = np.zeros(size, np.uint16), random.integers(0, CLASSES, most + 1)
    for number in range(1, random.integers(1, most + 1) + 1):
        y, x = random.integers(0, size[0] - 4), random.integers(0, size[1] - 4)
        ids[y : y + random.integers(4, 16), x : x + random.integers(4, 16)] = number
    areas = np.bincount(ids.ravel(), minlength=most + 1)
    segments = tuple(SegmentInfo(n, int(labels[n]), 1.0, int(areas[n])) for n in range(1, most + 1) if areas[n])
    return Panoptic(ids, segments)


def shifted(given: Panoptic, by: int) -> Panoptic:
    ids = np.roll(given.segmentation, by, 1)
    areas = np.bincount(ids.ravel(), minlength=20)
    return Panoptic(ids, tuple(s._replace(area=int(areas[s.id])) for s in given.segments_info))


def slow(images: list[tuple[Panoptic, Panoptic, Mask]]) -> list[float]:
    """PQ by class, straight from the definition, segment against segment."""
    values = []
    for label in range(CLASSES):
        overlaps, wrong, missed = [], 0, 0
        for found, truth, void in images:
            guesses = [(found.segmentation == s.id) for s in found.segments_info if s.label == label]
            things = [(truth.segmentation == s.id) & ~void for s in truth.segments_info if s.label == label]
            things = [thing for thing in things if thing.any()]
            taken = set()
            for guess in guesses:
                hit = None
                for number, thing in enumerate(things):
                    union = (guess & ~void) | thing
                    share = (guess & thing).sum() / union.sum() if union.any() else 0
                    if share > 0.5:
                        hit = number
                        overlaps.append(share)
                        taken.add(number)
                if hit is None and (guess & void).sum() * 2 <= guess.sum():
                    wrong += 1
            missed += len(things) - len(taken)
        total = len(overlaps) + wrong / 2 + missed / 2
        values.append(sum(overlaps) / total if total else np.nan)
    return values


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_definition(seed: int) -> None:
    random = np.random.default_rng(seed)
    images, counts = [], PanopticCounts(CLASSES)
    for _ in range(5):
        truth = drawn(random)
        found = shifted(truth, int(random.integers(0, 4))) if random.random() < 0.7 else drawn(random)
        void = random.random(truth.segmentation.shape) < random.choice([0, 0.1, 0.6])
        images.append((found, truth, void))
        counts.add(found, truth, void)
    np.testing.assert_allclose(counts.quality().pq, slow(images))


def test_what_is_right_is_one_and_what_is_not_there_is_no_number() -> None:
    ids = np.zeros((4, 6), np.uint16)
    ids[:2, :3] = 7
    truth = Panoptic(ids, (SegmentInfo(7, 1, None, 6),))
    counts = PanopticCounts(CLASSES)
    assert counts.quality().mean is None
    counts.add(truth, truth, np.zeros((4, 6), np.bool_))
    quality = counts.quality()
    np.testing.assert_array_equal(quality.pq, [np.nan, 1, np.nan])
    assert (quality.mean, quality.sq[1], quality.rq[1]) == (1, 1, 1)


def test_another_class_is_both_missed_and_invented() -> None:
    ids = np.ones((4, 6), np.uint16)
    counts = PanopticCounts(CLASSES)
    counts.add(Panoptic(ids, (SegmentInfo(1, 0, 0.5, 24),)), Panoptic(ids, (SegmentInfo(1, 2, None, 24),)), ids == 0)
    np.testing.assert_array_equal(counts.quality().pq, [0, np.nan, 0])
