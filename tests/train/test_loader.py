"""Batches do not depend on workers, on the first batch, or on the split into parts."""

import signal
from dataclasses import fields
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from blitznet.core.errors import BlitzNetError, DataError, MissingExtra, UsageError
from blitznet.core.interrupts import INTERRUPTS
from blitznet.core.sample import Sample
from blitznet.data.augment import LIGHT
from blitznet.data.mapping import MappedDataset
from blitznet.data.sources import open_sources
from blitznet.train.batch import Batch
from blitznet.train.loader import AugmentedDataset, _ignore_interrupts, make_loader
from blitznet.train.sampler import EpochSampler, list_entries
from support import synthetic_data
from support.training_runs import LOADER_WARNINGS

pytestmark = LOADER_WARNINGS


@pytest.fixture
def loader_inputs(tmp_path: Path) -> tuple[AugmentedDataset, EpochSampler]:
    datasets = open_sources([synthetic_data.write_voc(tmp_path, synthetic_data.draw(7))], synthetic_data.NAMES)
    entries = list_entries(datasets, 0.0)
    return AugmentedDataset(datasets, LIGHT, size=(48, 40), map_size=(6, 5)), EpochSampler(
        entries, np.ones(len(entries)), 5
    )


def equal(first: Batch, second: Batch) -> bool:
    tensors = ("images", "boxes", "labels", "image_index", "crowd", "class_map", "box_classes", "mask_classes")
    return first.ids == second.ids and all(torch.equal(getattr(first, t), getattr(second, t)) for t in tensors)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_workers(loader_inputs: tuple[AugmentedDataset, EpochSampler], workers: int) -> None:
    expected = list(islice(make_loader(*loader_inputs, batch=3, first=0), 5))
    actual = list(islice(make_loader(*loader_inputs, batch=3, first=0, workers=workers), 5))
    assert all(equal(*pair) for pair in zip(expected, actual, strict=True))


def test_later_first_batch_gives_the_same_batches(loader_inputs: tuple[AugmentedDataset, EpochSampler]) -> None:
    expected = list(islice(make_loader(*loader_inputs, batch=3, first=0), 6))
    for first in (1, 2, 5):
        actual = list(islice(make_loader(*loader_inputs, batch=3, first=first), 6 - first))
        assert all(equal(*pair) for pair in zip(expected[first:], actual, strict=True))


def test_parts_add_up_to_the_batch(loader_inputs: tuple[AugmentedDataset, EpochSampler]) -> None:
    whole = list(islice(make_loader(*loader_inputs, batch=8, first=0), 3))
    split = [
        list(islice(make_loader(*loader_inputs, batch=8, first=0, rank=rank, world_size=2, accumulate=2), 6))
        for rank in range(2)
    ]
    for number, batch in enumerate(whole):
        parts = [split[rank][2 * number + part] for rank in range(2) for part in range(2)]
        assert all(len(part) == 2 for part in parts)
        ids = [list(zip(part.ids, part.images.flatten(1).sum(1).tolist(), strict=True)) for part in parts]
        assert sorted(chain(*ids)) == sorted(zip(batch.ids, batch.images.flatten(1).sum(1).tolist(), strict=True))
        assert sum(len(part.labels) for part in parts) == len(batch.labels)


def test_uneven_split_is_refused(loader_inputs: tuple[AugmentedDataset, EpochSampler]) -> None:
    with pytest.raises(UsageError, match="--batch 6: expected a multiple of 2 processes x 2 parts"):
        make_loader(*loader_inputs, batch=6, first=0, world_size=2, accumulate=2)


class MissingPackageDataset(MappedDataset):
    """A dataset whose samples need a package that is not installed."""

    def __getitem__(self, index: int) -> Sample:
        raise MissingExtra("reading SBD's .mat files", "sbd")


def load_error(samples: AugmentedDataset, sampler: EpochSampler, workers: int) -> BlitzNetError:
    with pytest.raises(BlitzNetError) as caught:
        list(islice(make_loader(samples, sampler, batch=7, first=0, workers=workers), 2))
    return caught.value


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_image_in_a_worker_is_the_same_error(tmp_path: Path, workers: int) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(7))
    image = tmp_path / "JPEGImages" / "toy_0003.jpg"
    Pillow.open(image.with_suffix(".png")).save(image, quality=95)
    image.with_suffix(".png").unlink()
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    datasets = open_sources([text], synthetic_data.NAMES)
    entries = list_entries(datasets, 0.0)
    samples = AugmentedDataset(datasets, LIGHT, size=(48, 40), map_size=(6, 5))
    error = load_error(samples, EpochSampler(entries, np.ones(len(entries)), 5), workers)
    assert type(error) is DataError
    assert str(error).startswith(f"{image}: cannot be decoded (")
    assert str(error).endswith("; the file is broken or truncated")
    assert "\n" not in str(error)


@pytest.mark.parametrize("workers", [0, 1])
def test_missing_extra_in_a_worker_is_the_same_error(
    loader_inputs: tuple[AugmentedDataset, EpochSampler], workers: int
) -> None:
    samples, sampler = loader_inputs
    base = samples.datasets[0]
    assert isinstance(base, MappedDataset)
    samples.datasets = [MissingPackageDataset(**{field.name: getattr(base, field.name) for field in fields(base)})]
    error = load_error(samples, sampler, workers)
    assert type(error) is MissingExtra
    assert str(error) == "reading SBD's .mat files needs `pip install 'blitznet[sbd]'`"


@pytest.mark.parametrize("number", INTERRUPTS)
def test_workers_ignore_interrupts(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in INTERRUPTS}
    try:
        _ignore_interrupts(0)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
