"""Mirrored: an engine that looks at each image twice, as it is and left to right, and answers the mean.

What an anchor says of the mirrored image belongs to the anchor of the mirrored place, which has the same shape; so
raw answers are averaged before anything is decided. Twice the network's time.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from blitznet.core.anchors import Grid, feature_map_sizes
from blitznet.core.arrays import Floats, RGBArray
from blitznet.core.errors import UsageError
from blitznet.core.outputs import Outputs
from blitznet.core.spec import AnchorLayout, Spec
from blitznet.runtime.engine import Engine, replicas_of

Rows = NDArray[np.intp]


class FlipTTA:
    """Runs another engine on images and their mirror images."""

    def __init__(self, engine: Engine) -> None:
        """Look twice through `engine`."""
        self.engine = engine

    @property
    def name(self) -> str:
        """The engine's own."""
        return self.engine.name

    @property
    def spec(self) -> Spec:
        """The contract of the model inside."""
        return self.engine.spec

    def run(self, images: RGBArray) -> Outputs:
        """Mean answers to images (B, h, w, 3) uint8 RGB.

        Raises UsageError for a file that has the post-processing inside: finished boxes have no mean.
        """
        plain, turned = self.engine.run(images), self.engine.run(np.ascontiguousarray(images[:, :, ::-1]))
        if not (isinstance(plain, Outputs) and isinstance(turned, Outputs)):
            raise UsageError("this file finishes boxes itself, which cannot be averaged; export it without --nms")
        if plain.segmentation_logits is not None and turned.segmentation_logits is not None:
            class_map: Floats | None = _mean(plain.segmentation_logits, turned.segmentation_logits[..., ::-1])
        else:
            class_map = None
        if plain.logits is None or turned.logits is None or plain.offsets is None or turned.offsets is None:
            return Outputs(plain.offsets, plain.logits, class_map)
        place = mirrored_places(self.spec.anchors, feature_map_sizes(self.spec.anchors, images.shape[1:3]))
        offsets = turned.offsets[:, place]
        offsets[..., 0] *= -1  # to the right of its anchor is to the left of the mirrored one
        return Outputs(_mean(plain.offsets, offsets), _mean(plain.logits, turned.logits[:, place]), class_map)

    def divided(self) -> Sequence["FlipTTA"]:
        """The engine's lanes, each of which looks twice."""
        lanes = replicas_of(self.engine)
        return (self,) if len(lanes) == 1 else tuple(map(FlipTTA, lanes))


def _mean(one: Floats, other: Floats) -> Floats:
    return (one + other) * np.float32(0.5)


@lru_cache(maxsize=16)
def mirrored_places(layout: AnchorLayout, sides: tuple[Grid, ...]) -> Rows:
    """(A,) for each anchor the place of the one that lies where a mirror shows it; order as in `make_anchors`."""
    blocks, first = [], 0
    for height, width in sides:
        place = np.arange(height * width * layout.num_anchors_per_cell).reshape(
            height, width, layout.num_anchors_per_cell
        )
        blocks.append(first + place[:, ::-1].ravel())
        first += place.size
    places = np.concatenate(blocks)
    places.setflags(write=False)
    return places
