"""The outlines of a whole set in flat arrays: what COCO and YOLO paint their class maps from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Floats
from blitznet.data.dataset import JaggedArray, Objects
from blitznet.data.masks import Box, Shape, mask_value


class Outline(NamedTuple):
    """One object's outline as it stands in a file; both empty: it has none."""

    polygons: Sequence[Sequence[float]] = ()
    """each x y x y ..."""
    runs: NDArray[np.int64] | None = None

    @property
    def known(self) -> bool:
        """Whether the file says which pixels are the object's."""
        return bool(self.polygons) or self.runs is not None


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Polygons and run lengths of every object of a set; objects are counted as in `Objects`."""

    polygons: JaggedArray
    polygon_owners: NDArray[np.int64]
    """the object of each polygon, rising"""
    runs: JaggedArray
    run_owners: NDArray[np.int64]

    @property
    def any(self) -> bool:
        """Whether any object of the set has an outline: if none has, the set has no masks."""
        return bool(len(self.polygon_owners) or len(self.run_owners))

    @classmethod
    def pack(cls, outlines: Iterable[Outline]) -> "Outlines":
        """Flat arrays from the outline of every object in turn."""
        polygons, runs = _Packer(), _Packer()
        for owner, outline in enumerate(outlines):
            for polygon in outline.polygons:
                with np.errstate(over="ignore"):  # what is too large becomes inf, and is refused when painted
                    polygons.add(np.asarray(polygon, np.float32), owner)
            if outline.runs is not None:
                runs.add(outline.runs, owner)
        return cls(
            polygons=polygons.ragged(np.float32),
            polygon_owners=np.asarray(polygons.owners, np.int64),
            runs=runs.ragged(np.int64),
            run_owners=np.asarray(runs.owners, np.int64),
        )

    def shapes(self, objects: Objects, span: slice, scale: Floats) -> tuple[Shape, ...] | None:
        """What to paint for the objects in `span`, scaled by (4,); None if there are some and none has an outline."""
        if not self.any:
            return None
        shapes = tuple(self._shape(objects, owner, scale) for owner in range(span.start, span.stop))
        known = not shapes or any(shape.polygons or shape.runs is not None for shape in shapes)
        return shapes if known else None

    def _shape(self, objects: Objects, owner: int, scale: Floats) -> Shape:
        first, last = np.searchsorted(self.polygon_owners, [owner, owner + 1])
        run = int(np.searchsorted(self.run_owners, owner))
        has_run = run < len(self.run_owners) and self.run_owners[run] == owner
        polygons = (cast("Floats", self.polygons.row(k)) for k in range(first, last))
        x1, y1, x2, y2 = (float(side) for side in objects.boxes[owner] * scale)
        box: Box = (x1, y1, x2, y2)
        return Shape(
            value=IGNORE_INDEX if objects.crowd[owner] else mask_value(int(objects.labels[owner])),
            box=box,
            polygons=tuple((p.reshape(-1, 2) * scale[:2]).reshape(-1) for p in polygons),
            runs=cast("NDArray[np.int64]", self.runs.row(run)) if has_run else None,
        )


@dataclass(slots=True)
class _Packer:
    rows: list[NDArray[np.generic]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    def add(self, row: NDArray[np.generic], owner: int) -> None:
        self.rows.append(row)
        self.owners.append(owner)

    def ragged(self, dtype: type[np.generic]) -> JaggedArray:
        starts = np.cumsum([0, *map(len, self.rows)], dtype=np.int64)
        values = np.concatenate(self.rows).astype(dtype) if self.rows else np.zeros(0, dtype)
        return JaggedArray(values, starts)
