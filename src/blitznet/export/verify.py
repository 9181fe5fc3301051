"""Proof that a written file answers as the network does; a file that does not is not left behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from blitznet.core.errors import ModelError
from blitznet.core.photo import Photo
from blitznet.core.result import Outputs, Result
from blitznet.core.spec import Spec
from blitznet.nets.engine import TorchEngine
from blitznet.runtime.engine import Engine
from blitznet.runtime.finish import finish
from blitznet.runtime.onnx import OUTPUTS, OnnxEngine
from blitznet.runtime.prepare import prepare

RAW = 1e-4
"""largest difference of raw answers, in standard deviations of the answer"""
PIXELS, SCORE = 0.5, 1e-3
"""largest differences of detections"""
CLEAR = 0.1
"""detections are compared from this score on: among thousands of faint ones, equal scores change places"""


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest differences between two engines over some photos."""

    raw: dict[str, float]
    """each answer's name: largest difference / standard deviation"""
    pixels: float
    """of a side of a detection's box, in pixels of the photo"""
    score: float
    """of a detection's score"""

    def worst(self) -> str | None:
        """What is beyond its bound, and by how much; None if nothing is."""
        bounds = [(f"{name} differ by {value:.2g} of their deviation", value / RAW) for name, value in self.raw.items()]
        bounds.append((f"boxes differ by {self.pixels:.2g} pixels", self.pixels / PIXELS))
        bounds.append((f"scores differ by {self.score:.2g}", self.score / SCORE))
        words, excess = max(bounds, key=lambda bound: bound[1])
        return words if excess >= 1 else None


def verify(path: Path, net: nn.Module, spec: Spec, photos: Sequence[Photo]) -> Parity:
    """Compare the file with the network it was made from, over `photos`; the largest differences.

    Raw answers must agree within 1e-4 of their deviation, boxes within 0.5 pixels, scores within 1e-3.
    Raises ModelError naming the largest difference where they do not, and deletes the file.
    """
    try:
        written = OnnxEngine(path)
        if written.spec != spec:
            raise ModelError(f"{path}: the contract in the file is not the network's; the file was deleted")
        parity = compare(TorchEngine(net, spec), written, photos)
        worst = parity.worst()
        if worst is not None:
            raise ModelError(f"{path}: does not answer as the network does, {worst}; the file was deleted")
    except ModelError:
        path.unlink(missing_ok=True)
        raise
    return parity


def compare(one: Engine, other: Engine, photos: Sequence[Photo]) -> Parity:
    """Largest differences between two engines of one contract, photo by photo."""
    raw = dict.fromkeys(OUTPUTS, 0.0)
    pixels = score = 0.0
    for photo in photos:
        images, size = prepare([photo], one.spec), photo.size()
        a, b = one.run(images), other.run(images)
        for name in OUTPUTS:
            raw[name] = max(raw[name], _raw_difference(a, b, name))
        results = [finish(outputs, 0, one.spec, size=size, class_map=False) for outputs in (a, b)]
        by_pixels, by_score = _result_difference(*results)
        pixels, score = max(pixels, by_pixels), max(score, by_score)
    return Parity(raw=raw, pixels=pixels, score=score)


def _raw_difference(a: Outputs, b: Outputs, name: str) -> float:
    one, other = getattr(a, name), getattr(b, name)
    if one is None and other is None:
        return 0.0
    if one is None or other is None or one.shape != other.shape:
        return np.inf
    apart = float(np.abs(one - other).max()) / max(float(one.std()), 1e-12)
    return apart if np.isfinite(apart) else np.inf  # not a number is as far as can be


def _result_difference(a: Result, b: Result) -> tuple[float, float]:
    """Largest difference in pixels and in score, each clear detection against the other's most like it."""
    pixels, score = 0.0, 0.0
    for one, other in ((a, b), (b, a)):
        for box, sure, label in zip(one.boxes, one.scores, one.labels, strict=True):
            if sure < CLEAR:
                break  # scores fall
            same = other.labels == label
            if not same.any():
                return np.inf, np.inf
            apart, less = np.abs(other.boxes[same] - box).max(1), np.abs(other.scores[same] - sure)  # (n,)
            nearest = np.maximum(apart / PIXELS, less / SCORE).argmin()
            pixels, score = max(pixels, float(apart[nearest])), max(score, float(less[nearest]))
    return pixels, score
