"""The datasets of a run: classes, leaks, frequencies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import DataError, UsageError
from blitznet.train.config import TrainConfig
from blitznet.train.datasets import annotated_classes, entry_repeat_factors, open_all, prepare_data, resolve_epochs
from blitznet.train.sampler import EpochSampler, list_entries
from support import synthetic_data


def renamed(root: Path, names: tuple[str, ...]) -> str:
    """A set of masks with other names for the synthetic classes."""
    text = synthetic_data.write_folder(root, synthetic_data.draw(2))
    (root / "classes.txt").write_text("\n".join(("background", *names)) + "\n")
    return text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("", ""), ("airplane", "dog", "tv", "cat")),
        ((",ignore=dog", ""), ("airplane", "tv", "cat", "dog")),
        ((",annotated=tv", ",annotated=cat+aeroplane"), ("tv", "cat", "aeroplane")),
    ],
)
def test_annotated_classes_are_the_union_in_the_first_spelling(
    tmp_path: Path, options: tuple[str, str], expected: tuple[str, ...]
) -> None:
    first = renamed(tmp_path / "a", ("airplane", "dog", "tv"))
    second = renamed(tmp_path / "b", ("cat", "aeroplane", "dog"))
    opened = open_all([f"{first}{options[0]}", f"{second}{options[1]}"])
    assert annotated_classes(opened) == expected


def test_set_annotates_only_its_annotated_classes(tmp_path: Path) -> None:
    texts = [renamed(tmp_path / "a", ("airplane", "dog", "tv")), renamed(tmp_path / "b", ("cat", "aeroplane", "dog"))]
    opened = open_all(texts)
    data = prepare_data(opened, [], annotated_classes(opened), TrainConfig())
    flags = [dataset[0].annotated_mask_classes.tolist() for dataset in data.training]
    assert flags == [[True, True, True, False], [True, True, False, True]]
    assert not any(dataset[0].annotated_box_classes.any() for dataset in data.training)


def test_leaks_are_refused_allowed_or_dropped(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(6)
    training = [
        synthetic_data.write_voc(tmp_path / "a", drawings[:4]),
        synthetic_data.write_coco(tmp_path / "b", drawings[2:]),
    ]
    opened = open_all(training)
    evaluation = open_all([synthetic_data.write_voc(tmp_path / "c", drawings[3:5], "val")])
    config = TrainConfig()
    with pytest.raises(DataError, match=r"2 evaluation image\(s\) are also in the training set"):
        prepare_data(opened, evaluation, synthetic_data.NAMES, config)
    allowed = prepare_data(opened, evaluation, synthetic_data.NAMES, replace(config, allow_leaks=True))
    assert (allowed.num_leaks, len(allowed.sampler.entries)) == (0, 8)
    dropped = prepare_data(opened, evaluation, synthetic_data.NAMES, replace(config, drop_leaks=True))
    # image 3 is in both training sets, image 4 in the second
    assert dropped.num_leaks == 3
    assert dropped.sampler.entries.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 3]]


def test_frequencies_are_weights_times_repeat_factors(tmp_path: Path) -> None:
    texts = [
        synthetic_data.write_voc(tmp_path / "a", synthetic_data.draw(9)),
        synthetic_data.write_voc(tmp_path / "b", synthetic_data.draw(9, seed=4)),
    ]
    opened = open_all([f"{texts[0]},sample_weight=2", texts[1]])
    plain = prepare_data(opened, [], synthetic_data.NAMES, TrainConfig())
    np.testing.assert_allclose(plain.sampler.frequencies, [2.0] * 9 + [1.0] * 9)
    repeated = prepare_data(opened, [], synthetic_data.NAMES, TrainConfig(repeat_threshold=0.9))
    factors = entry_repeat_factors(repeated.training, repeated.sampler.entries, 0.9)
    assert factors.max() > 1
    np.testing.assert_allclose(repeated.sampler.frequencies, plain.sampler.frequencies * factors)


@pytest.mark.parametrize(
    ("changes", "frequencies", "steps"),
    [
        ({}, [1.0] * 7, 2000),
        ({"epochs": 1}, [1.0] * 7, 2),
        ({"epochs": 4}, [1.0] * 7, 7),
        ({"epochs": 5, "batch": 1}, [0.1] * 6, 3),
        ({"epochs": 1, "batch": 100}, [1.0] * 7, 1),
        ({"epochs": 2}, [2.0, 0.5, 3.5], 3),
    ],
)
def test_steps_of_epochs(changes: dict[str, Any], frequencies: list[float], steps: int) -> None:
    config = replace(TrainConfig(batch=4), **changes)
    sampler = EpochSampler(np.zeros((len(frequencies), 2), np.int64), np.array(frequencies), 0)
    assert resolve_epochs(config, sampler) == replace(config, steps=steps)


def test_repeat_factors_count_images_with_and_without_mask_separately(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(12))
    for k in range(6):
        (tmp_path / "SegmentationClass" / f"toy_{k:04d}.png").unlink()
    data = prepare_data(open_all([text]), [], synthetic_data.NAMES, TrainConfig())
    entries = list_entries(data.training, 0.0)
    factors = entry_repeat_factors(data.training, entries, 0.8)
    dataset = data.training[0]
    for rows in (range(6), range(6, 12)):
        for row in rows:
            rarest = 1.0
            for label in {*dataset[row].labels.tolist()}:
                fraction = sum(label in dataset[index].labels for index in rows) / 6
                rarest = max(rarest, (0.8 / fraction) ** 0.5)
            assert factors[row] == pytest.approx(rarest)


def test_unusable_sets_are_refused(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(2))
    with pytest.raises(UsageError, match="expected at least one image to train on"):
        prepare_data(open_all([text]), [], synthetic_data.NAMES, TrainConfig(holdout=0.999999))
    (tmp_path / "Annotations" / "toy_0001.xml").write_text("<")
    with pytest.raises(DataError, match=r"toy_0001\.xml: not well-formed XML"):
        open_all([text])


def test_pseudo_masks_of_other_sets_are_refused(tmp_path: Path) -> None:
    opened = open_all(
        [
            synthetic_data.write_voc(tmp_path / "a", synthetic_data.draw(2)),
            synthetic_data.write_voc(tmp_path / "b", synthetic_data.draw(2, seed=1)),
        ]
    )
    folder = tmp_path / "pseudo-masks"
    folder.mkdir()
    (folder / "classes.txt").write_text("\n".join(synthetic_data.NAMES))
    config = TrainConfig(pseudo_masks=folder, allow_leaks=True)
    expected = ", ".join(f"voc-{tmp_path.name}-{name}-train" for name in "ab")
    with pytest.raises(DataError, match=f"expected at least one of the folders {expected}, got none"):
        prepare_data(opened, [], synthetic_data.NAMES, config)
    (folder / f"voc-{tmp_path.name}-b-train").mkdir()
    assert len(prepare_data(opened, [], synthetic_data.NAMES, config).training) == 2
