"""Outlines of a whole dataset in flat arrays, from which the COCO and YOLO readers rasterize class maps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Floats
from blitznet.data.dataset import AnnotationArrays, JaggedArray
from blitznet.data.masks import BoxTuple, MaskObject, mask_value


class Outline(NamedTuple):
    """The outline of one object as its file stores it; empty if the file has none."""

    polygons: Sequence[Sequence[float]] = ()
    """each x y x y ..."""
    runs: NDArray[np.int64] | None = None
    """run lengths in column-major order, background first"""


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Polygons and run lengths of all objects of a dataset; objects are numbered as in `AnnotationArrays`."""

    polygons: JaggedArray
    polygon_objects: NDArray[np.int64]
    """object of each polygon, ascending"""
    runs: JaggedArray
    run_objects: NDArray[np.int64]
    """object of each row of `runs`, ascending"""

    @property
    def has_outlines(self) -> bool:
        """Whether any object has an outline; without one the dataset has no masks."""
        return bool(len(self.polygon_objects) or len(self.run_objects))

    @classmethod
    def pack(cls, outlines: Iterable[Outline]) -> "Outlines":
        """Pack the outlines of all objects, in order, into flat arrays."""
        polygons, runs = _Packer(), _Packer()
        for index, outline in enumerate(outlines):
            for polygon in outline.polygons:
                # not float32: COCO's rule rounds coordinates to fifths, and 12.3 as float32 rounds to another one
                polygons.add(np.asarray(polygon, np.float64), index)
            if outline.runs is not None:
                runs.add(outline.runs, index)
        return cls(
            polygons=polygons.jagged_array(np.float64),
            polygon_objects=np.asarray(polygons.objects, np.int64),
            runs=runs.jagged_array(np.int64),
            run_objects=np.asarray(runs.objects, np.int64),
        )

    def mask_objects(self, annotations: AnnotationArrays, rows: slice, scale: Floats) -> tuple[MaskObject, ...] | None:
        """The objects in `rows` to rasterize, scaled by (4,); None if there are objects but none has an outline."""
        if not self.has_outlines:
            return None
        objects = tuple(self._mask_object(annotations, index, scale) for index in range(rows.start, rows.stop))
        outlined = not objects or any(item.polygons or item.runs is not None for item in objects)
        return objects if outlined else None

    def _mask_object(self, annotations: AnnotationArrays, index: int, scale: Floats) -> MaskObject:
        first, last = np.searchsorted(self.polygon_objects, [index, index + 1])
        run = int(np.searchsorted(self.run_objects, index))
        has_run = run < len(self.run_objects) and self.run_objects[run] == index
        polygons = (cast("NDArray[np.float64]", self.polygons[k]) for k in range(first, last))
        x1, y1, x2, y2 = (float(coordinate) for coordinate in annotations.boxes[index] * scale)
        box: BoxTuple = (x1, y1, x2, y2)
        return MaskObject(
            value=IGNORE_INDEX if annotations.crowd[index] else mask_value(int(annotations.labels[index])),
            box=box,
            polygons=tuple((p.reshape(-1, 2) * scale[:2].astype(np.float64)).reshape(-1) for p in polygons),
            runs=cast("NDArray[np.int64]", self.runs[run]) if has_run else None,
        )


@dataclass(slots=True)
class _Packer:
    """Collects rows of a JaggedArray, and the object of each."""

    rows: list[NDArray[np.generic]] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)

    def add(self, row: NDArray[np.generic], index: int) -> None:
        self.rows.append(row)
        self.objects.append(index)

    def jagged_array(self, dtype: type[np.generic]) -> JaggedArray:
        offsets = np.cumsum([0, *map(len, self.rows)], dtype=np.int64)
        values = np.concatenate(self.rows).astype(dtype) if self.rows else np.zeros(0, dtype)
        return JaggedArray(values, offsets)
