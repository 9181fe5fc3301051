"""The sets of a run: whose classes, which images, how often."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import DataError, UsageError
from blitznet.train.config import TrainConfig
from blitznet.train.datasets import map_sets, open_all, own_classes, repeats
from blitznet.train.sampler import entries_of
from support import synthetic_data


def renamed(root: Path, names: tuple[str, ...]) -> str:
    """A set of masks with other names for the toy's classes."""
    text = synthetic_data.write_folder(root, synthetic_data.draw(2))
    (root / "classes.txt").write_text("\n".join(("background", *names)) + "\n")
    return text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("", ""), ("airplane", "dog", "tv", "cat")),
        ((",void=dog", ""), ("airplane", "tv", "cat", "dog")),
        ((",classes=tv", ",classes=cat+aeroplane"), ("tv", "cat", "aeroplane")),
    ],
)
def test_own_classes_are_the_union_under_the_first_spelling(
    tmp_path: Path, options: tuple[str, str], expected: tuple[str, ...]
) -> None:
    first = renamed(tmp_path / "a", ("airplane", "dog", "tv"))
    second = renamed(tmp_path / "b", ("cat", "aeroplane", "dog"))
    opened = open_all([f"{first}{options[0]}", f"{second}{options[1]}"])
    assert own_classes(opened) == expected


def test_a_set_annotates_only_its_own_classes(tmp_path: Path) -> None:
    texts = [renamed(tmp_path / "a", ("airplane", "dog", "tv")), renamed(tmp_path / "b", ("cat", "aeroplane", "dog"))]
    opened = open_all(texts)
    sets = map_sets(opened, [], own_classes(opened), TrainConfig())
    flags = [dataset[0].annotated_mask_classes.tolist() for dataset in sets.training]
    assert flags == [[True, True, True, False], [True, True, False, True]]
    assert not any(dataset[0].annotated_box_classes.any() for dataset in sets.training)


def test_leaks_are_refused_allowed_or_dropped(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(6)
    training = [
        synthetic_data.write_voc(tmp_path / "a", drawings[:4]),
        synthetic_data.write_coco(tmp_path / "b", drawings[2:]),
    ]
    opened = open_all(training)
    judged = open_all([synthetic_data.write_voc(tmp_path / "c", drawings[3:5], "val")])
    config = TrainConfig()
    with pytest.raises(DataError, match=r"2 evaluation image\(s\) are trained on too"):
        map_sets(opened, judged, synthetic_data.NAMES, config)
    allowed = map_sets(opened, judged, synthetic_data.NAMES, replace(config, allow_leaks=True))
    assert (allowed.left_out, len(allowed.stream.entries)) == (0, 8)
    dropped = map_sets(opened, judged, synthetic_data.NAMES, replace(config, drop_leaks=True))
    # image 3 is in both training sets, image 4 in the second
    assert dropped.left_out == 3
    assert dropped.stream.entries.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 3]]


def test_weights_and_repeats_are_the_streams_shares(tmp_path: Path) -> None:
    texts = [
        synthetic_data.write_voc(tmp_path / "a", synthetic_data.draw(9)),
        synthetic_data.write_voc(tmp_path / "b", synthetic_data.draw(9, seed=4)),
    ]
    opened = open_all([f"{texts[0]},weight=2", texts[1]])
    plain = map_sets(opened, [], synthetic_data.NAMES, TrainConfig())
    np.testing.assert_allclose(plain.stream.shares, [2.0] * 9 + [1.0] * 9)
    often = map_sets(opened, [], synthetic_data.NAMES, TrainConfig(repeat=0.9))
    factors = repeats(often.training, often.stream.entries, 0.9)
    assert factors.max() > 1
    np.testing.assert_allclose(often.stream.shares, plain.stream.shares * factors)


def test_repeats_count_images_with_and_without_a_mask_apart(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(12))
    for k in range(6):
        (tmp_path / "SegmentationClass" / f"toy_{k:04d}.png").unlink()
    sets = map_sets(open_all([text]), [], synthetic_data.NAMES, TrainConfig())
    entries = entries_of(sets.training, 0.0)
    found = repeats(sets.training, entries, 0.8)
    dataset = sets.training[0]
    for rows in (range(6), range(6, 12)):
        for row in rows:
            rarest = 1.0
            for label in {*dataset[row].labels.tolist()}:
                share = sum(label in dataset[other].labels for other in rows) / 6
                rarest = max(rarest, (0.8 / share) ** 0.5)
            assert found[row] == pytest.approx(rarest)


def test_sets_that_cannot_be_learned_from_are_refused(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(2))
    with pytest.raises(UsageError, match="hold no image that may be learned from"):
        map_sets(open_all([text]), [], synthetic_data.NAMES, TrainConfig(holdout=0.999999))
    (tmp_path / "Annotations" / "toy_0001.xml").write_text("<")
    with pytest.raises(DataError, match=r"toy_0001\.xml: not well-formed XML"):
        open_all([text])


def test_painted_maps_of_none_of_the_sets_are_refused(tmp_path: Path) -> None:
    """A set that was moved since it was painted would else be learned without its masks, and nobody told."""
    opened = open_all(
        [
            synthetic_data.write_voc(tmp_path / "a", synthetic_data.draw(2)),
            synthetic_data.write_voc(tmp_path / "b", synthetic_data.draw(2, seed=1)),
        ]
    )
    painted = tmp_path / "painted"
    painted.mkdir()
    (painted / "classes.txt").write_text("\n".join(synthetic_data.NAMES))
    config = TrainConfig(pseudo=painted, allow_leaks=True)
    expected = ", ".join(f"voc-{tmp_path.name}-{name}-train" for name in "ab")
    with pytest.raises(DataError, match=f"none of the training sets, expected one of {expected}$"):
        map_sets(opened, [], synthetic_data.NAMES, config)
    (painted / f"voc-{tmp_path.name}-b-train").mkdir()
    assert len(map_sets(opened, [], synthetic_data.NAMES, config).training) == 2
