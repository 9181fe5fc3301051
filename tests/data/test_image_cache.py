"""The cache changes no pixel, keeps its limit, and is shared by processes."""

import multiprocessing
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blitznet.core.errors import UsageError
from blitznet.core.image import Box, ImageSource
from blitznet.data import image_cache
from blitznet.data.augment import LIGHT
from blitznet.data.image_cache import CachedImage, CacheKind, ImageCache, cache_images, cache_limit
from blitznet.data.sources import open_sources
from blitznet.train.loader import AugmentedDataset, make_loader
from blitznet.train.sampler import EpochSampler, list_entries
from support import synthetic_data

MB = 10**6
KINDS: tuple[CacheKind, ...] = ("ram", "disk")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A large JPEG, one that EXIF rotates, a gray one, and a PNG with transparency."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).resize((643, 481), Image.Resampling.BICUBIC)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    smooth.save(folder / "a.jpg")
    smooth.save(folder / "b.jpg", exif=rotated)
    smooth.convert("L").save(folder / "c.jpg")
    smooth.resize((90, 70)).convert("RGBA").save(folder / "d.png")
    return sorted(folder.iterdir())


def read_pixels(source: ImageSource, size: tuple[int, int], box: Box | None) -> bytes:
    return source.resize_pil(size, box=box).tobytes()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_every_part_in_every_size_is_equal(images: list[Path], data: st.DataObject) -> None:
    """The first read stores the pixels, the second takes them from the cache."""
    path = data.draw(st.sampled_from(images))
    cache = ImageCache("ram", 1, 4 * MB, Path())
    for _ in range(2):
        plain = ImageSource(str(path))
        height, width = plain.size()
        x1, x2 = sorted(data.draw(st.tuples(*[st.floats(0, width)] * 2)))
        y1, y2 = sorted(data.draw(st.tuples(*[st.floats(0, height)] * 2)))
        box = data.draw(st.sampled_from([None, (x1, y1, min(x2 + 2, width), min(y2 + 2, height))]))
        if box is not None and (box[2] - box[0] < 1 or box[3] - box[1] < 1):
            box = None
        size = data.draw(st.tuples(st.integers(1, 400), st.integers(1, 400)))
        for _ in range(2):
            cached = CachedImage(str(path), cache, 0)
            assert read_pixels(cached, size, box) == read_pixels(plain, size, box)
            assert cached.size() == (height, width)


@pytest.mark.parametrize("target", [(1, 1), (60, 80), (61, 81), (120, 160), (200, 300), (481, 643), (900, 900)])
def test_fraction_is_that_of_pillow(images: list[Path], target: tuple[int, int]) -> None:
    for path in images:
        with Image.open(path) as image:
            original = image.size
            info = image_cache.StoredInfo(original, path.suffix == ".jpg", path.stem == "b")
            size = target[::-1] if info.transposed else target
            image.draft(None, (target[1], target[0]))
            scale = image_cache._draft_scale(info, size, None, full=False)
            assert image.size == tuple(-(-length // scale) for length in original)


def test_stored_images_are_not_decoded_again(images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ImageCache("ram", 1, 4 * MB, Path())
    source = CachedImage(str(images[0]), cache, 0)
    expected = read_pixels(source, (300, 300), None)
    assert cache.used == 643 * 481 * 3
    monkeypatch.setattr(image_cache, "decode_upright", None)
    assert read_pixels(source, (300, 300), None) == expected


def test_a_full_cache_stays_within_its_limit(images: list[Path]) -> None:
    cache = ImageCache("ram", len(images), 643 * 481 * 3 + 100, Path())
    for _ in range(2):
        for key, path in enumerate(images):
            expected = read_pixels(ImageSource(str(path)), (300, 300), None)
            assert read_pixels(CachedImage(str(path), cache, key), (300, 300), None) == expected
    assert cache.used == 643 * 481 * 3


def test_a_full_disk_only_turns_storing_off(images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    cache = ImageCache("ram", 1, 4 * MB, Path())
    source = CachedImage(str(images[0]), cache, 0)
    assert read_pixels(source, (300, 300), None) == read_pixels(source, (300, 300), None)
    assert cache.used == 0


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_in_the_folder(images: list[Path], tmp_path: Path, kind: CacheKind) -> None:
    assert kind != "none"
    cache = ImageCache(kind, 1, MB, tmp_path / "run")
    read_pixels(CachedImage(str(images[3]), cache, 0), (30, 30), None)
    assert cache.used > 0
    assert not list(tmp_path.rglob("cache-*"))


def test_other_processes_open_the_same_memory(images: list[Path]) -> None:
    cache = ImageCache("ram", 1, 4 * MB, Path())
    copy = ImageCache.__new__(ImageCache)
    copy.__setstate__(cache.__getstate__())
    read_pixels(CachedImage(str(images[0]), cache, 0), (300, 300), None)
    assert copy.used == cache.used
    stored, original = copy.read(0, 1), cache.read(0, 1)
    assert stored is not None
    assert original is not None
    assert stored.tobytes() == original.tobytes()


@pytest.fixture
def toy_voc(tmp_path: Path) -> str:
    return synthetic_data.write_voc(tmp_path / "voc", synthetic_data.draw(7))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_equal_with_several_workers(toy_voc: str, tmp_path: Path, kind: CacheKind) -> None:
    datasets = open_sources([toy_voc], synthetic_data.NAMES)
    entries = list_entries(datasets, 0.0)
    sampler = EpochSampler(entries, np.ones(len(entries)), 5)
    expected = make_loader(AugmentedDataset(datasets, LIGHT, size=(48, 40), map_size=(6, 5)), sampler, batch=3, first=0)
    cached = cache_images(datasets, kind, MB, folder=tmp_path)
    samples = AugmentedDataset(cached, LIGHT, size=(48, 40), map_size=(6, 5))
    actual = make_loader(samples, sampler, batch=3, first=0, workers=2)
    for first, second in islice(zip(expected, actual, strict=True), 8):
        assert first.ids == second.ids
        assert bool((first.images == second.images).all())


def test_without_a_cache_the_datasets_are_unchanged(toy_voc: str, tmp_path: Path) -> None:
    datasets = open_sources([toy_voc], synthetic_data.NAMES)
    assert cache_images(datasets, "none", 0, folder=tmp_path) is datasets


def test_limit_is_half_of_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "available_memory", lambda: 6 * 10**9)
    assert cache_limit("ram", 2.0, folder=tmp_path) == 2 * 10**9
    assert cache_limit("ram", 8.0, folder=tmp_path) == 3 * 10**9
    assert cache_limit("ram", 8.0, folder=tmp_path, num_processes=3) == 10**9
    assert cache_limit("none", 8.0, folder=tmp_path) == 0
    assert 0 < cache_limit("disk", 1e9, folder=tmp_path / "new") < 10**18


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--cache disk: expected a folder for its file, got"):
        ImageCache("disk", 1, MB, tmp_path / "file" / "run")


def test_concurrent_writers_store_whole_images(images: list[Path]) -> None:
    cache = ImageCache("ram", len(images), 4 * MB, Path())
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_read_all, args=(cache, images)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert cache.read(0, 1) is not None


def _read_all(cache: ImageCache, images: list[Path]) -> None:
    for _ in range(5):
        for key, path in enumerate(images):
            expected = read_pixels(ImageSource(str(path)), (300, 300), None)
            if read_pixels(CachedImage(str(path), cache, key), (300, 300), None) != expected:
                raise SystemExit(3)
