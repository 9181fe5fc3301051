"""A Result as the dict that torchvision's detectors answer; torch is all it takes."""

import numpy as np
import torch
from torch import Tensor

from blitznet.postprocess.result import Result


def to_torchvision(result: Result, *, masks: bool = False) -> dict[str, Tensor]:
    """Boxes (N, 4), labels (N,) from 1 as 0 is background there, scores (N,); `masks` adds masks (N, 1, H, W) 0..1."""
    told = {
        "boxes": torch.from_numpy(result.boxes.reshape(-1, 4).copy()),
        "labels": torch.from_numpy(result.labels.astype(np.int64) + 1),
        "scores": torch.from_numpy(result.scores.copy()),
    }
    if masks:
        pixels = np.zeros((len(result), 1, *result.size), np.float32)
        if len(result):
            found = result.instances()
            for index in range(len(result)):
                pixels[index, 0] = found.mask(index)
        told["masks"] = torch.from_numpy(pixels)
    return told
