"""Which images and objects are combined, and that a sample depends on its seed only."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blitznet.core.sample import Dataset, Sample, Subset
from blitznet.data.augment import LIGHT, PLAIN, augment
from blitznet.data.mapping import map_classes
from blitznet.data.mixing import MixPolicy, MixPool, make_mix_pool, mix, without_predictions
from blitznet.data.pseudo import PseudoMaskDataset
from blitznet.data.sources import open_dataset, open_sources, parse_source
from blitznet.data.train_sample import TrainSample
from support import synthetic_data

SIZE, MAP = (64, 64), (16, 16)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """A VOC set, a COCO set of other images, and one that annotates only crosses."""
    root = tmp_path_factory.mktemp("sets")
    voc = synthetic_data.write_voc(root / "voc", synthetic_data.draw(8, size=(192, 240)))
    coco = synthetic_data.write_coco(root / "coco", synthetic_data.draw(6, size=(192, 240), seed=1))
    crosses = synthetic_data.write_voc(root / "crosses", synthetic_data.draw(5, size=(192, 240), seed=2))
    return list(open_sources([voc, coco, f"{crosses},annotated=cross"], synthetic_data.NAMES))


@pytest.fixture(scope="module")
def pool(datasets: list[Dataset]) -> MixPool:
    entries = all_entries(datasets)
    return make_mix_pool(datasets, entries, np.ones(len(entries)))


def all_entries(datasets: list[Dataset]) -> np.ndarray:
    rows = [(number, index) for number, dataset in enumerate(datasets) for index in range(len(dataset))]
    return np.asarray(rows, np.int64)


def make(datasets: list[Dataset], pool: MixPool, seed: int, policy: MixPolicy, image: tuple[int, int]) -> TrainSample:
    rng = np.random.default_rng((0, 1, seed))
    return mix(datasets, *image, rng, LIGHT, pool=pool, mix_policy=policy, size=SIZE, map_size=MAP)


@pytest.mark.parametrize("policy", [MixPolicy(1.0, 0.0), MixPolicy(0.0, 1.0), MixPolicy(0.5, 0.5)])
def test_a_sample_depends_on_its_seed_only(datasets: list[Dataset], pool: MixPool, policy: MixPolicy) -> None:
    for seed in range(6):
        first, again = (make(datasets, pool, seed, policy, (0, seed)) for _ in range(2))
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(first.boxes, again.boxes)
        np.testing.assert_array_equal(first.class_map, again.class_map)


def test_without_mixing_samples_are_those_of_the_policy(datasets: list[Dataset], pool: MixPool) -> None:
    for seed in range(4):
        mixed = make(datasets, pool, seed, MixPolicy(), (0, seed))
        plain = augment(datasets[0][seed], np.random.default_rng((0, 1, seed)), LIGHT, size=SIZE, map_size=MAP)
        np.testing.assert_array_equal(mixed.image, plain.image)
        np.testing.assert_array_equal(mixed.class_map, plain.class_map)


def test_mosaics_combine_images_with_the_same_annotated_classes(datasets: list[Dataset], pool: MixPool) -> None:
    rng = np.random.default_rng(0)
    for dataset, expected in ((0, {0, 1}), (1, {0, 1}), (2, {2})):
        partners = [pool.draw_partners(datasets[dataset][0], rng) for _ in range(60)]
        assert {number for drawn in partners for number, _ in drawn} == expected
        assert all(len(drawn) == 3 for drawn in partners)
    mixed = make(datasets, pool, 0, MixPolicy(mosaic=1.0), (2, 0))
    assert mixed.annotated_box_classes.tolist() == [True, False, False]
    assert mixed.id.count("+") == 3


def test_partners_are_drawn_as_often_as_in_training(datasets: list[Dataset]) -> None:
    entries = all_entries(datasets[:1])
    frequencies = np.array([0, 1, 1, 2, 0, 0, 0, 4.0])
    pool = make_mix_pool(datasets[:1], entries, frequencies)
    rng = np.random.default_rng(0)
    counts = Counter(index for _ in range(1000) for _, index in pool.draw_partners(datasets[0][0], rng))
    np.testing.assert_allclose([counts[index] / 3000 for index in range(8)], frequencies / 8, atol=0.03)


def test_rare_classes_are_pasted_as_often_as_frequent_ones_per_image(datasets: list[Dataset]) -> None:
    entries = all_entries(datasets[:2])
    pool = make_mix_pool(datasets[:2], entries, np.ones(len(entries)))
    samples = [datasets[dataset][index] for dataset, index in entries.tolist()]
    images = np.array([sum(label in sample.labels for sample in samples) for label in range(3)])
    rng = np.random.default_rng(0)
    drawn = [
        int(datasets[dataset][index].labels[number])
        for _ in range(1500)
        for dataset, index, number in pool.draw_objects(rng)
    ]
    share = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(share, (1 / images) / (1 / images).sum(), atol=0.03)


def test_pasted_objects_are_added(datasets: list[Dataset], pool: MixPool) -> None:
    empty = len(datasets[0]) - 1
    rng = np.random.default_rng(0)
    counts: Counter[int] = Counter()
    for _ in range(40):
        mixed = mix(
            datasets, 0, empty, rng, PLAIN, pool=pool, mix_policy=MixPolicy(0, 1.0), size=(96, 120), map_size=(48, 60)
        )
        counts[len(mixed.labels)] += 1
        assert set(np.unique(mixed.class_map)) == {0, *(mixed.labels + 1).tolist()}
    assert set(counts) == {1, 2, 3}


def test_objects_are_those_of_training_images_only(datasets: list[Dataset]) -> None:
    entries = all_entries(datasets)[2:5]
    pool = make_mix_pool(datasets, entries, np.ones(3))
    assert {tuple(row[:2]) for rows in pool.objects for row in rows.tolist()} <= set(map(tuple, entries.tolist()))


def test_no_objects_and_no_group_change_nothing(datasets: list[Dataset]) -> None:
    without = Subset(datasets[0], [len(datasets[0]) - 1])
    pool = make_mix_pool([without], np.array([[0, 0]]), np.ones(1))
    assert pool.objects == ()
    sample: Sample = datasets[2][0]
    assert pool.draw_partners(sample, np.random.default_rng(0)) == []
    mixed = make([without], pool, 0, MixPolicy(0.0, 1.0), (0, 0))
    assert len(mixed.labels) == 0


def test_pixels_of_a_teacher_are_never_pasted(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(4, size=(192, 240))
    text = synthetic_data.write_voc(tmp_path / "voc", drawings)
    source = parse_source(f"{text},masks=none")
    boxes_only = map_classes(open_dataset(source), synthetic_data.NAMES)
    pseudo = PseudoMaskDataset(boxes_only, tmp_path / "pseudo", np.arange(256).astype(np.uint8), np.ones(3, bool), 4)
    for drawing in drawings:
        synthetic_data.write_mask(tmp_path / "pseudo" / f"{drawing.id}.png", drawing.class_map)
    assert pseudo[0].mask is not None
    entries = all_entries([pseudo])
    assert make_mix_pool([pseudo], entries, np.ones(4)).objects == ()
    assert without_predictions(Subset(pseudo, [1]))[0].mask is None
    annotated = replace(pseudo, dataset=map_classes(open_dataset(parse_source(text)), synthetic_data.NAMES))
    assert make_mix_pool([annotated], entries, np.ones(4)).objects
