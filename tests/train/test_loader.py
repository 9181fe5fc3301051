"""Batches: the same whatever the workers, from wherever they begin, and however they are dealt."""

import signal
from dataclasses import fields
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from blitznet.core.errors import BlitzNetError, DataError, MissingExtra, UsageError
from blitznet.core.sample import Sample
from blitznet.data.augment import LIGHT
from blitznet.data.mapping import MappedDataset
from blitznet.data.sources import open_sources
from blitznet.train.batch import Batch
from blitznet.train.loader import Augmented, _leave_interrupts, make_loader
from blitznet.train.sampler import EpochSampler, entries_of
from support import synthetic_data

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning"),
]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Augmented, EpochSampler]:
    datasets = open_sources([synthetic_data.write_voc(tmp_path, synthetic_data.draw(7))], synthetic_data.NAMES)
    entries = entries_of(datasets, 0.0)
    return Augmented(datasets, LIGHT, size=(48, 40), map_size=(6, 5)), EpochSampler(entries, np.ones(len(entries)), 5)


def same(first: Batch, second: Batch) -> bool:
    tensors = ("images", "boxes", "labels", "owner", "crowd", "class_map", "box_classes", "mask_classes")
    return first.ids == second.ids and all(torch.equal(getattr(first, t), getattr(second, t)) for t in tensors)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(made: tuple[Augmented, EpochSampler], workers: int) -> None:
    expected = list(islice(make_loader(*made, batch=3, first=0), 5))
    found = list(islice(make_loader(*made, batch=3, first=0, workers=workers), 5))
    assert all(same(*pair) for pair in zip(expected, found, strict=True))


def test_a_later_beginning_gives_the_same_batches(made: tuple[Augmented, EpochSampler]) -> None:
    expected = list(islice(make_loader(*made, batch=3, first=0), 6))
    for first in (1, 2, 5):
        found = list(islice(make_loader(*made, batch=3, first=first), 6 - first))
        assert all(same(*pair) for pair in zip(expected[first:], found, strict=True))


def test_parts_make_up_the_batch(made: tuple[Augmented, EpochSampler]) -> None:
    whole = list(islice(make_loader(*made, batch=8, first=0), 3))
    dealt = [
        list(islice(make_loader(*made, batch=8, first=0, rank=rank, world=2, accumulate=2), 6)) for rank in range(2)
    ]
    for number, batch in enumerate(whole):
        parts = [dealt[rank][2 * number + turn] for rank in range(2) for turn in range(2)]
        assert all(len(part) == 2 for part in parts)
        ids = [list(zip(part.ids, part.images.flatten(1).sum(1).tolist(), strict=True)) for part in parts]
        assert sorted(chain(*ids)) == sorted(zip(batch.ids, batch.images.flatten(1).sum(1).tolist(), strict=True))
        assert sum(len(part.labels) for part in parts) == len(batch.labels)


def test_a_batch_that_cannot_be_dealt_is_refused(made: tuple[Augmented, EpochSampler]) -> None:
    with pytest.raises(UsageError, match="--batch 6 cannot be dealt to 2 processes x 2 parts evenly"):
        make_loader(*made, batch=6, first=0, world=2, accumulate=2)


class Lacking(MappedDataset):
    """A set whose samples want a package that is not there."""

    def __getitem__(self, index: int) -> Sample:
        raise MissingExtra("reading SBD's .mat files", "sbd")


def failure(examples: Augmented, stream: EpochSampler, workers: int) -> BlitzNetError:
    with pytest.raises(BlitzNetError) as caught:
        list(islice(make_loader(examples, stream, batch=7, first=0, workers=workers), 2))
    return caught.value


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_the_same_one_line_from_a_worker(tmp_path: Path, workers: int) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(7))
    image = tmp_path / "JPEGImages" / "toy_0003.jpg"
    Pillow.open(image.with_suffix(".png")).save(image, quality=95)
    image.with_suffix(".png").unlink()
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    datasets = open_sources([text], synthetic_data.NAMES)
    entries = entries_of(datasets, 0.0)
    examples = Augmented(datasets, LIGHT, size=(48, 40), map_size=(6, 5))
    error = failure(examples, EpochSampler(entries, np.ones(len(entries)), 5), workers)
    assert type(error) is DataError
    assert str(error).startswith(f"{image}: cannot be decoded (")
    assert str(error).endswith("; the file is broken or cut off")
    assert "\n" not in str(error)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_extra_is_itself_from_a_worker(made: tuple[Augmented, EpochSampler], workers: int) -> None:
    examples, stream = made
    base = examples.datasets[0]
    assert isinstance(base, MappedDataset)
    examples.datasets = [Lacking(**{field.name: getattr(base, field.name) for field in fields(base)})]
    error = failure(examples, stream, workers)
    assert type(error) is MissingExtra
    assert str(error) == "reading SBD's .mat files needs `pip install 'blitznet[sbd]'`"


def test_workers_leave_ctrl_c_to_the_run() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        _leave_interrupts(0)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
