"""A cache of decoded images that all loader processes of a run share, of a fixed largest size.

Images are stored as Pillow decodes them, at full size and at the fractions of it that JPEG draft mode gives. Samples
are therefore the same with and without the cache, bit for bit. An image is added when it is first decoded; when the
cache is full, further images are decoded each time.
"""

import mmap
import multiprocessing
import os
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from blitznet.core.arrays import Size
from blitznet.core.errors import UsageError
from blitznet.core.image import Box, ImageSource, decode_upright, draft_target, is_transposed, resize_part
from blitznet.core.memory import GB, available_memory
from blitznet.core.sample import Dataset, DatasetWrapper, Sample

CacheKind = Literal["none", "ram", "disk"]
FREE_SHARE = 0.5
"""share of the free memory, or of the free disk, that a cache may take"""

_SCALES = (1, 2, 4, 8)
"""fractions of draft mode: one over these"""
_FIELDS = 3
"""of a stored image: position + 1, or 0 if it is absent, or -1 while it is written; width; height"""
_HEADER = 1
"""numbers before the table: the number of used bytes"""


@dataclass(frozen=True, slots=True)
class StoredInfo:
    """What is known of an image file after it was opened once."""

    size: tuple[int, int]
    """(W, H) as stored, before rotation by EXIF"""
    is_jpeg: bool
    transposed: bool
    """whether EXIF swaps width and height"""

    @property
    def upright(self) -> tuple[int, int]:
        """(W, H) of the upright image."""
        return self.size[::-1] if self.transposed else self.size


class ImageCache:
    """Decoded images in memory that processes share: a table of positions, then pixels.

    Positions are written after the pixels, and both under a lock, so a reader never sees half an image. The memory
    belongs to a file without a name, which vanishes with the last process.
    """

    def __init__(self, kind: Literal["ram", "disk"], num_images: int, limit: int, folder: Path) -> None:
        """Args: where pixels are; how many images there are at most; bytes of pixels; folder of the file of `disk`."""
        self.num_images, self.limit = num_images, limit
        self._lock = multiprocessing.Lock()
        self._width = len(_SCALES) * _FIELDS + _FIELDS
        self._start = 8 * (_HEADER + num_images * self._width)
        self._descriptor, self._path = _open_file(kind, folder)
        weakref.finalize(self, _close, self._descriptor, self._path)
        os.truncate(self._descriptor, self._start + limit)
        self._map()

    def __getstate__(self) -> dict[str, Any]:
        """For processes that are not forked: they open the file by its path."""
        state = self.__dict__.copy()
        for name in ("_descriptor", "_memory", "_numbers", "_pixels"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._descriptor = os.open(self._path, os.O_RDWR)
        weakref.finalize(self, os.close, self._descriptor)
        self._map()

    def _map(self) -> None:
        self._memory = mmap.mmap(self._descriptor, self._start + self.limit)
        self._numbers = np.frombuffer(self._memory, np.int64, self._start // 8)
        self._pixels = np.frombuffer(self._memory, np.uint8, self.limit, self._start)

    @property
    def used(self) -> int:
        """Bytes of pixels that are stored."""
        return int(self._numbers[0])

    def info(self, key: int) -> StoredInfo | None:
        """What is known of an image; None before it was first stored."""
        row = self._row(key)
        with self._lock:
            width, height, flags = (int(value) for value in row[:_FIELDS])
        return StoredInfo((width, height), bool(flags & 1), bool(flags & 2)) if width else None

    def read(self, key: int, scale: int) -> Image.Image | None:
        """The stored upright image at one over `scale` of its size, as a copy; None if it is not stored."""
        fields = self._fields(key, scale)
        with self._lock:
            position, width, height = (int(value) for value in fields)
        if position < 1:
            return None
        pixels = self._pixels[position - 1 : position - 1 + 3 * width * height]
        return Image.frombytes("RGB", (width, height), pixels.tobytes())

    def write(self, key: int, scale: int, image: Image.Image, info: StoredInfo) -> None:
        """Store an upright RGB image if there is room and no other process stores it."""
        length = 3 * image.width * image.height
        fields = self._fields(key, scale)
        with self._lock:
            first = int(self._numbers[0])
            self._row(key)[:_FIELDS] = (*info.size, info.is_jpeg + 2 * info.transposed)
            if fields[0] or first + length > self.limit or not self._reserve(first, length):
                return
            fields[0], self._numbers[0] = -1, first + length
        self._pixels[first : first + length] = np.asarray(image).reshape(-1)
        with self._lock:
            fields[:] = (first + 1, image.width, image.height)

    def _reserve(self, first: int, length: int) -> bool:
        """Claim the space from the system; writing to a full disk through memory would end the process."""
        if not hasattr(os, "posix_fallocate"):
            return True
        try:
            os.posix_fallocate(self._descriptor, self._start + first, length)
        except OSError:
            return False
        return True

    def _row(self, key: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
        first = _HEADER + key * self._width
        return self._numbers[first : first + self._width]

    def _fields(self, key: int, scale: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
        first = _FIELDS * (1 + _SCALES.index(scale))
        return self._row(key)[first : first + _FIELDS]


@dataclass(frozen=True, eq=False)
class CachedImage(ImageSource):
    """An image file whose decoded pixels are cached."""

    cache: ImageCache
    key: int
    """number of the image in the cache"""

    def size(self) -> Size:
        """(H, W) of the upright image."""
        info = self.cache.info(self.key)
        return super().size() if info is None else info.upright[::-1]

    def resize_pil(self, size: Size, *, box: Box | None = None, full: bool = False) -> Image.Image:
        """`resize`, as a Pillow image; decoded only if the cache does not have it."""
        info = self.cache.info(self.key)
        if info is not None:
            cached = self.cache.read(self.key, _draft_scale(info, size, box, full=full))
            if cached is not None:
                return resize_part(cached, info.upright, size, box)
        with self._opened() as image:
            info = StoredInfo(image.size, isinstance(image, JpegImageFile), is_transposed(image))
            upright, original = decode_upright(image, size, box, draft=not full)
            self.cache.write(self.key, _draft_scale(info, size, box, full=full), upright, info)
            return resize_part(upright, original, size, box)


def _draft_scale(info: StoredInfo, size: Size, box: Box | None, *, full: bool) -> int:
    """Pillow's choice in draft mode: a whole JPEG is decoded at one over this number."""
    if full or not info.is_jpeg:
        return 1
    target = draft_target(size, box, info.upright, transposed=info.transposed)
    ratio = min(info.size[0] // target[0], info.size[1] // target[1])
    return max(scale for scale in _SCALES if scale == 1 or scale <= ratio)


@dataclass(frozen=True, slots=True, eq=False)
class CachedDataset(DatasetWrapper):
    """A dataset whose images are read through a cache."""

    dataset: Dataset
    cache: ImageCache
    first: int
    """number of the dataset's first image in the cache"""

    def __getitem__(self, index: int, /) -> Sample:
        sample = self.dataset[index]
        if not isinstance(sample.image.source, (str, Path)):
            return sample  # decoded already
        return replace(sample, image=CachedImage(sample.image.source, self.cache, self.first + index))


def cache_images(
    datasets: Sequence[Dataset], kind: CacheKind, limit: int, *, folder: Path
) -> Sequence[Dataset | CachedDataset]:
    """The datasets with one cache for all their images.

    Args:
        datasets: Training sets.
        kind: ram: shared memory; disk: a file; none: no cache.
        limit: Bytes that the pixels may take, as `cache_limit` returns it.
        folder: Folder of the file.

    Raises:
        UsageError: The file cannot be written.
    """
    if kind == "none":
        return datasets
    starts = np.cumsum([0, *(len(dataset) for dataset in datasets)]).tolist()
    cache = ImageCache(kind, starts[-1], limit, folder)
    return [CachedDataset(dataset, cache, first) for dataset, first in zip(datasets, starts, strict=False)]


def cache_limit(kind: CacheKind, limit: float, *, folder: Path, num_processes: int = 1) -> int:
    """Bytes that the cache of one process may take: the stated limit, but at most half of what is free.

    Args:
        kind: ram, disk or none.
        limit: Stated limit in GB, for all processes of the run together.
        folder: Folder of the file of `disk`.
        num_processes: Processes of the run on this machine, each with a cache of its own.
    """
    if kind == "none":
        return 0
    if kind == "ram":
        free = available_memory()
    else:
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        status = os.statvfs(existing) if hasattr(os, "statvfs") else None
        free = None if status is None else status.f_bavail * status.f_frsize
    bounds = [limit * GB] + ([] if free is None else [free * FREE_SHARE])
    return int(min(bounds) / num_processes)


def _open_file(kind: Literal["ram", "disk"], folder: Path) -> tuple[int, str]:
    """A new file, and a path by which other processes open it while this process runs.

    The file has no name where /proc can open it by its number, so nothing is left behind if the process is killed.
    """
    if kind == "ram" and hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("blitznet-cache")
        return descriptor, _proc_path(descriptor)
    try:
        if kind == "disk":
            folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="cache-", dir=folder if kind == "disk" else None)
    except OSError as error:
        raise UsageError(f"--cache {kind}: expected a folder for its file, got {folder} ({error.strerror})") from error
    if Path(_proc_path(descriptor)).exists():
        Path(name).unlink()
        return descriptor, _proc_path(descriptor)
    return descriptor, name


def _proc_path(descriptor: int) -> str:
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _close(descriptor: int, name: str) -> None:
    """Close a file, and delete it if it has a name."""
    os.close(descriptor)
    if not name.startswith("/proc/"):
        Path(name).unlink(missing_ok=True)
