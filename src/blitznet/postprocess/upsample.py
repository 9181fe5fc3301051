"""From the class map's logits to a class for every pixel of the image, computed only where classes meet.

The map's places span a grid of cells. Between four places that agree on their best channel, no other channel
can win, so the cell is filled; only the others are computed, and only for the channels that can win in them.
Both leave nothing out: the answer is that of the plain way.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blitznet.core.anchors import Grid
from blitznet.core.arrays import ClassMap, Floats
from blitznet.postprocess.bilinear import source_indices

_AT_ONCE = 1 << 20
"""pixels that are computed at a time, which bounds the memory"""
_SLACK = 1e-5
"""of the largest logit: more than rounding takes"""

Rows = NDArray[np.intp]


def upsample_argmax(logits: Floats, size: Grid) -> ClassMap:
    """The class map (H, W): logits (C, h, w) bilinearly to `size`, then the best channel (reference 7.6).

    Half-pixel centres, as torch's `align_corners=False`. Of equal channels the first wins.
    """
    rows, columns = source_intervals(logits.shape[1], size[0]), source_intervals(logits.shape[2], size[1])
    best = _best(logits)
    painted = best[:, columns.low][rows.low]
    y, x = np.nonzero(_mixed(best) & (rows.length > 0)[:, None] & (columns.length > 0))
    step = max(1, _AT_ONCE // (rows.length.max() * columns.length.max()))
    for start in range(0, len(y), step):
        part = slice(start, start + step)
        _paint_cells(painted, logits, rows.part(y[part]), columns.part(x[part]))
    return painted


class AxisWeights(NamedTuple):
    """A side of the image: where its pixels lie between the map's places."""

    low: Rows
    """(H,) for each pixel: the place of the map before it"""
    share: Floats
    """(H,) and how far it is from there to the next, 0..1"""
    first: Rows
    """(h,) for each place of the map: the first pixel after it"""
    length: Rows
    """(h,) and how many there are before the next place"""

    def part(self, cell: Rows) -> "_Cells":
        """Of some cells."""
        pixel = np.minimum(np.arange(self.length.max()), self.length[cell, None] - 1) + self.first[cell, None]
        return _Cells(cell, np.minimum(cell + 1, len(self.first) - 1), pixel, self.share[pixel])


class _Cells(NamedTuple):
    """A side of n cells: their places on the map and the pixels between them."""

    low: Rows
    """(n,)"""
    high: Rows
    """(n,)"""
    pixel: Rows
    """(n, r), the last repeated where there are fewer"""
    share: Floats
    """(n, r)"""


def source_intervals(inside: int, outside: int) -> AxisWeights:
    """Where `outside` pixels lie between `inside` places, half-pixel centres."""
    low, share = source_indices(inside, outside)
    cuts = np.searchsorted(low, np.arange(inside + 1))
    return AxisWeights(low, share, cuts[:-1], np.diff(cuts))


def _best(logits: Floats) -> ClassMap:
    """The best channel (h, w) of (C, h, w), the first of equals; ten times as fast as argmax over the first axis."""
    label = np.zeros(logits.shape[1:], np.uint8)
    highest = logits[0].copy()
    for channel in range(1, len(logits)):
        np.copyto(label, channel, where=logits[channel] > highest)
        np.maximum(highest, logits[channel], out=highest)
    return label


def _mixed(best: ClassMap) -> NDArray[np.bool_]:
    """Cells (h, w) whose four places do not agree."""
    across, down = np.zeros_like(best, np.bool_), np.zeros_like(best, np.bool_)
    across[:, :-1] = best[:, :-1] != best[:, 1:]
    down[:-1] = best[:-1] != best[1:]
    mixed = across | down
    mixed[:-1] |= across[1:]
    mixed[:, :-1] |= down[:, 1:]
    return mixed


def _paint_cells(painted: ClassMap, logits: Floats, rows: _Cells, columns: _Cells) -> None:
    """Compute every pixel of n cells and write them into the class map (H, W)."""
    corners = logits[:, [rows.low, rows.low, rows.high, rows.high], [columns.low, columns.high] * 2]  # (C, 4, n)
    cell, channel, rank = _contenders(corners)
    label = np.zeros((*rows.pixel.shape, columns.pixel.shape[1]), np.uint8)  # (n, r, c)
    highest = np.full(label.shape, -np.inf, np.float32)
    for turn in range(int(rank.max()) + 1):
        now = np.flatnonzero(rank == turn)
        at, by = cell[now], channel[now]
        value = _blend(corners[by, :, at], rows.share[at], columns.share[at])  # (n', r, c)
        if turn == 0:  # every cell has a first contender
            label[:], highest = by[:, None, None], value
            continue
        before = highest[at]
        label[at] = np.where(value > before, by[:, None, None].astype(np.uint8), label[at])
        highest[at] = np.maximum(before, value)
    painted[rows.pixel[:, :, None], columns.pixel[:, None]] = label


def _contenders(corners: Floats) -> tuple[Rows, Rows, Rows]:
    """Cell, channel and the channel's rank in its cell, for all that may be best somewhere in a cell (C, 4, n).

    One that is everywhere below another's lowest value is not.
    """
    bound = corners.min(1).max(0) - _SLACK * np.abs(corners).max()
    cell, channel = np.nonzero(~(corners.max(1) < bound).T)
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    return cell, channel, np.arange(len(cell)) - np.repeat(first, np.diff(first, append=len(cell)))


def _blend(corners: Floats, rows: Floats, columns: Floats) -> Floats:
    """Values (n, r, c) between four corners (n, 4: above left, above right, below left, below right)."""
    left, right = corners[:, 0::2, None], corners[:, 1::2, None]  # (n, 2, 1)
    above, below = np.split(left + (right - left) * columns[:, None], 2, axis=1)  # (n, 1, c)
    return np.asarray(above + (below - above) * rows[:, :, None])
