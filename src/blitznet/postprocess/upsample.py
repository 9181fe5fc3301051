"""Bilinear upsampling and argmax of segmentation logits, computed only where classes meet.

The pixels of the small map are the corners of a grid of cells. Where the four corners of a cell have the same best
class, no other class can win inside, so the cell is filled. Other cells are computed, and only for the classes that
can win in them. The result equals that of upsampling all logits.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import ClassMap, Floats, Size
from blitznet.postprocess.bilinear import Indices, source_indices

_CHUNK_PIXELS = 1 << 20
"""maximum number of pixels computed at once, which limits the memory"""
_TOLERANCE = 1e-5
"""slack of comparisons, as a fraction of the largest logit: more than rounding errors"""


def upsample_argmax(logits: Floats, size: Size) -> ClassMap:
    """Upsample logits bilinearly and take the best class of each pixel.

    Args:
        logits: (C, h, w) segmentation logits, background first.
        size: (H, W) of the image.

    Returns:
        (H, W) uint8 channel indices, as torch's `interpolate(mode="bilinear")` and `argmax` give; the first of equals.
    """
    rows, columns = _AxisCells.of(logits.shape[1], size[0]), _AxisCells.of(logits.shape[2], size[1])
    best = _argmax(logits)
    class_map = best[:, columns.low][rows.low]
    y, x = np.nonzero(_mixed_cells(best) & (rows.length > 0)[:, None] & (columns.length > 0))
    step = max(1, _CHUNK_PIXELS // (rows.length.max() * columns.length.max()))
    for start in range(0, len(y), step):
        chunk = slice(start, start + step)
        _compute_cells(class_map, logits, rows.select(y[chunk]), columns.select(x[chunk]))
    return class_map


class _SelectedCells(NamedTuple):
    """One axis of n selected cells: their corners, and the output pixels between them."""

    low: Indices
    """(n,) source pixel before"""
    high: Indices
    """(n,) source pixel after"""
    pixel: Indices
    """(n, r) output pixels; the last is repeated in cells with fewer than r"""
    weight: Floats
    """(n, r) weight of the high corner"""


class _AxisCells(NamedTuple):
    """One axis: the cells between h source pixels, and the H output pixels in each."""

    low: Indices
    """(H,) cell of each output pixel, which is the source pixel before it"""
    weight: Floats
    """(H,) weight of the source pixel after it, 0..1"""
    first: Indices
    """(h,) first output pixel of each cell"""
    length: Indices
    """(h,) number of output pixels in each cell"""

    @classmethod
    def of(cls, source_size: int, output_size: int) -> "_AxisCells":
        """The cells of `source_size` pixels resized to `output_size`."""
        low, _, weight = source_indices(source_size, output_size)
        bounds = np.searchsorted(low, np.arange(source_size + 1))
        return cls(low, weight, bounds[:-1], np.diff(bounds))

    def select(self, cells: Indices) -> _SelectedCells:
        """Corners and pixels of the cells (n,) with these indices."""
        pixel = np.minimum(np.arange(self.length.max()), self.length[cells, None] - 1) + self.first[cells, None]
        return _SelectedCells(cells, np.minimum(cells + 1, len(self.first) - 1), pixel, self.weight[pixel])


def _argmax(logits: Floats) -> ClassMap:
    """Argmax over the first axis of (C, h, w), the first of equals; ten times as fast as numpy's."""
    best = np.zeros(logits.shape[1:], np.uint8)
    highest = logits[0].copy()
    for channel in range(1, len(logits)):
        np.copyto(best, channel, where=logits[channel] > highest)
        np.maximum(highest, logits[channel], out=highest)
    return best


def _mixed_cells(best: ClassMap) -> NDArray[np.bool_]:
    """Cells (h, w) whose four corners differ in their best class."""
    across, down = np.zeros_like(best, np.bool_), np.zeros_like(best, np.bool_)
    across[:, :-1] = best[:, :-1] != best[:, 1:]
    down[:-1] = best[:-1] != best[1:]
    mixed = across | down
    mixed[:-1] |= across[1:]
    mixed[:, :-1] |= down[:, 1:]
    return mixed


def _compute_cells(class_map: ClassMap, logits: Floats, rows: _SelectedCells, columns: _SelectedCells) -> None:
    """Compute every pixel of n cells and write them into the class map (H, W)."""
    corners = logits[:, [rows.low, rows.low, rows.high, rows.high], [columns.low, columns.high] * 2]  # (C, 4, n)
    cell, channel, rank = _possible_channels(corners)
    best = np.zeros((*rows.pixel.shape, columns.pixel.shape[1]), np.uint8)  # (n, r, c)
    highest = np.full(best.shape, -np.inf, np.float32)
    for current_rank in range(int(rank.max()) + 1):
        selected = np.flatnonzero(rank == current_rank)
        cells, channels = cell[selected], channel[selected]
        values = _interpolate(corners[channels, :, cells], rows.weight[cells], columns.weight[cells])  # (n', r, c)
        if current_rank == 0:  # every cell has at least one channel
            best[:], highest = channels[:, None, None], values
            continue
        previous = highest[cells]
        best[cells] = np.where(values > previous, channels[:, None, None].astype(np.uint8), best[cells])
        highest[cells] = np.maximum(previous, values)
    class_map[rows.pixel[:, :, None], columns.pixel[:, None]] = best


def _possible_channels(corners: Floats) -> tuple[Indices, Indices, Indices]:
    """Cell, channel and its rank in the cell, of all channels that may win in a cell, from corners (C, 4, n).

    A channel cannot win if all its corners are below the lowest corner of another.
    """
    bound = corners.min(1).max(0) - _TOLERANCE * np.abs(corners).max()
    cell, channel = np.nonzero(~(corners.max(1) < bound).T)
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    return cell, channel, np.arange(len(cell)) - np.repeat(first, np.diff(first, append=len(cell)))


def _interpolate(corners: Floats, row_weights: Floats, column_weights: Floats) -> Floats:
    """Values (n, r, c) between corners (n, 4): above left, above right, below left, below right."""
    left, right = corners[:, 0::2, None], corners[:, 1::2, None]  # (n, 2, 1)
    above, below = np.split(left + (right - left) * column_weights[:, None], 2, axis=1)  # (n, 1, c)
    return np.asarray(above + (below - above) * row_weights[:, :, None])
