"""Run-length encoding of label maps, row by row from the top (COCO's own codes go column by column)."""

from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray


class RunLengths(TypedDict):
    """The JSON form of a run-length encoded map."""

    size: list[int]
    """[height, width]"""
    order: Literal["row-major"]
    counts: list[int]
    """length of each run"""
    values: list[int]
    """value of each run"""


def run_lengths(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The value and the length (R,) of each run of equal values in an array, read row by row."""
    flat = values.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1]) if len(flat) else np.zeros(0, np.int64)
    return flat[starts], np.diff(starts, append=len(flat)).astype(np.int64)


def encode_rle(label_map: NDArray[Any]) -> RunLengths:
    """The run lengths of a map (H, W) of integers."""
    values, counts = run_lengths(label_map)
    return {
        "size": list(label_map.shape),
        "order": "row-major",
        "counts": counts.tolist(),
        "values": values.tolist(),
    }


def decode_rle(rle: RunLengths) -> NDArray[Any]:
    """The map (H, W) of run lengths."""
    return np.repeat(np.asarray(rle["values"]), rle["counts"]).reshape(rle["size"])
