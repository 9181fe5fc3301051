"""Results as the dict that torchvision's detection models return; needs torch only."""

import numpy as np
import torch
from torch import Tensor

from blitznet.postprocess.result import Result


def to_torchvision(result: Result, *, masks: bool = False) -> dict[str, Tensor]:
    """A result as torchvision's detection output.

    Args:
        result: N detections.
        masks: Whether to add `masks`, the instance masks (N, 1, H, W) float32 of 0 and 1.

    Returns:
        `boxes` (N, 4) in pixels, `scores` (N,), and `labels` (N,) of class id + 1, because 0 is background there.
    """
    output = {
        "boxes": torch.from_numpy(result.boxes.reshape(-1, 4).copy()),
        "labels": torch.from_numpy(result.labels.astype(np.int64) + 1),
        "scores": torch.from_numpy(result.scores.copy()),
    }
    if masks:
        instance_masks = np.zeros((len(result), 1, *result.size), np.float32)
        if len(result):
            instances = result.instances()
            for index in range(len(result)):
                instance_masks[index, 0] = instances.mask(index)
        output["masks"] = torch.from_numpy(instance_masks)
    return output
