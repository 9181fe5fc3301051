import numpy as np
import pytest

from blitznet.metrics.panoptic import PanopticCounts
from blitznet.postprocess.instances import Mask, Panoptic, SegmentInfo

CLASSES = 3


def random_panoptic(rng: np.random.Generator, size: tuple[int, int] = (24, 30), most: int = 6) -> Panoptic:
    """Rectangles that overlap, the last on top."""
    ids, labels = np.zeros(size, np.uint16), rng.integers(0, CLASSES, most + 1)
    for number in range(1, rng.integers(1, most + 1) + 1):
        y, x = rng.integers(0, size[0] - 4), rng.integers(0, size[1] - 4)
        ids[y : y + rng.integers(4, 16), x : x + rng.integers(4, 16)] = number
    areas = np.bincount(ids.ravel(), minlength=most + 1)
    segments = tuple(SegmentInfo(n, int(labels[n]), 1.0, int(areas[n])) for n in range(1, most + 1) if areas[n])
    return Panoptic(ids, segments)


def shift(panoptic: Panoptic, columns: int) -> Panoptic:
    ids = np.roll(panoptic.segmentation, columns, 1)
    areas = np.bincount(ids.ravel(), minlength=20)
    return Panoptic(ids, tuple(s._replace(area=int(areas[s.id])) for s in panoptic.segments_info))


def slow_pq(images: list[tuple[Panoptic, Panoptic, Mask]]) -> list[float]:
    """PQ by class from the definition, segment by segment."""
    values = []
    for label in range(CLASSES):
        ious, false_positives, false_negatives = [], 0, 0
        for predicted, truth, void in images:
            segments = [(predicted.segmentation == s.id) for s in predicted.segments_info if s.label == label]
            targets = [(truth.segmentation == s.id) & ~void for s in truth.segments_info if s.label == label]
            targets = [target for target in targets if target.any()]
            matched = set()
            for segment in segments:
                match = None
                for number, target in enumerate(targets):
                    union = (segment & ~void) | target
                    iou = (segment & target).sum() / union.sum() if union.any() else 0
                    if iou > 0.5:
                        match = number
                        ious.append(iou)
                        matched.add(number)
                if match is None and (segment & void).sum() * 2 <= segment.sum():
                    false_positives += 1
            false_negatives += len(targets) - len(matched)
        total = len(ious) + false_positives / 2 + false_negatives / 2
        values.append(sum(ious) / total if total else np.nan)
    return values


@pytest.mark.parametrize("seed", range(6))
def test_pq_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, counts = [], PanopticCounts(CLASSES)
    for _ in range(5):
        truth = random_panoptic(rng)
        predicted = shift(truth, int(rng.integers(0, 4))) if rng.random() < 0.7 else random_panoptic(rng)
        void = rng.random(truth.segmentation.shape) < rng.choice([0, 0.1, 0.6])
        images.append((predicted, truth, void))
        counts.update(predicted, truth, void)
    np.testing.assert_allclose(counts.compute().pq, slow_pq(images))


def test_pq_of_a_perfect_prediction_is_one_and_of_absent_classes_nan() -> None:
    ids = np.zeros((4, 6), np.uint16)
    ids[:2, :3] = 7
    truth = Panoptic(ids, (SegmentInfo(7, 1, None, 6),))
    counts = PanopticCounts(CLASSES)
    assert counts.compute().mean is None
    counts.update(truth, truth, np.zeros((4, 6), np.bool_))
    quality = counts.compute()
    np.testing.assert_array_equal(quality.pq, [np.nan, 1, np.nan])
    assert (quality.mean, quality.sq[1], quality.rq[1]) == (1, 1, 1)


def test_wrong_class_is_a_false_positive_and_a_false_negative() -> None:
    ids = np.ones((4, 6), np.uint16)
    counts = PanopticCounts(CLASSES)
    counts.update(Panoptic(ids, (SegmentInfo(1, 0, 0.5, 24),)), Panoptic(ids, (SegmentInfo(1, 2, None, 24),)), ids == 0)
    np.testing.assert_array_equal(counts.compute().pq, [0, np.nan, 0])
    assert (counts.false_positives.tolist(), counts.false_negatives.tolist()) == ([1, 0, 0], [0, 0, 1])


@pytest.mark.parametrize(("void_pixels", "false_positives"), [(0, 1), (11, 1), (12, 1), (13, 0), (24, 0)])
def test_segment_of_more_than_half_void_pixels_is_ignored(void_pixels: int, false_positives: int) -> None:
    """Exactly half of the 24 pixels is not more than half (Kirillov et al., section 4.1)."""
    ids = np.ones((4, 6), np.uint16)
    void = np.arange(24).reshape(4, 6) < void_pixels
    counts = PanopticCounts(CLASSES)
    counts.update(Panoptic(ids, (SegmentInfo(1, 0, 0.5, 24),)), Panoptic(ids * 0, ()), void)
    assert counts.false_positives.tolist() == [false_positives, 0, 0]


@pytest.mark.parametrize(("columns", "matched"), [(3, 0), (4, 1)])
def test_segments_match_above_half_of_their_union(columns: int, matched: int) -> None:
    """An IoU of exactly 0.5 is no match: two segments could have it with one (Kirillov et al., section 4.1)."""
    truth, ids = np.ones((4, 6), np.uint16), np.zeros((4, 6), np.uint16)
    ids[:, :columns] = 1
    counts = PanopticCounts(CLASSES)
    segment, target = SegmentInfo(1, 0, 0.5, 4 * columns), SegmentInfo(1, 0, None, 24)
    counts.update(Panoptic(ids, (segment,)), Panoptic(truth, (target,)), np.zeros((4, 6), np.bool_))
    outcomes = (counts.true_positives[0], counts.false_positives[0], counts.false_negatives[0])
    assert outcomes == (matched, 1 - matched, 1 - matched)


@pytest.mark.parametrize(("void_pixels", "missed"), [(23, 1), (24, 0)])
def test_a_target_of_void_pixels_alone_is_not_missed(void_pixels: int, missed: int) -> None:
    ids, void = np.ones((4, 6), np.uint16), np.arange(24).reshape(4, 6) < void_pixels
    counts = PanopticCounts(CLASSES)
    counts.update(Panoptic(ids * 0, ()), Panoptic(ids, (SegmentInfo(1, 0, None, 24),)), void)
    assert counts.false_negatives[0] == missed
