"""The published SSDLite network, and an image for comparisons with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from blitznet.core.classes import VOC, canonical

SHARED = Path(__file__).parents[2].parent / "shared"
ORIGINAL = SHARED / "peers" / "ssdlite_mnv2_coco_300.onnx"
"""the published network as ONNX, in a folder beside the repository"""
UNUSED_IDS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""of SSDLite's 91 class ids: background, and those that COCO does not use"""


def synthetic_image() -> Tensor:
    """An image of stripes, a disc and a ramp: (1, 3, 300, 300) in -1..1."""
    rows, columns = np.mgrid[:300, :300] / 299
    disc = ((rows - 0.45) ** 2 + (columns - 0.6) ** 2 < 0.06) * 1.0
    stripes = np.sin(columns * 40 + rows * 9) * 0.5 + 0.5
    return torch.from_numpy(np.stack([disc, stripes, rows])[None].astype(np.float32) * 2 - 1)


def require_original() -> Path:
    """The published network; skips the test if it is not there."""
    if not ORIGINAL.is_file():
        pytest.skip(f"needs the published network {ORIGINAL.name} of the shared folder")
    return ORIGINAL


def voc_ids() -> list[int]:
    """SSDLite's class id of each VOC class."""
    names = (SHARED / "peers" / "coco.names").read_text().split("\n")
    ids = (class_id for class_id in range(91) if class_id not in UNUSED_IDS)
    by_name = dict(zip(map(canonical, names), ids, strict=False))
    return [by_name[canonical(name)] for name in VOC]
