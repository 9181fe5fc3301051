"""FlipTTA: horizontal-flip test-time augmentation.

The network runs on the image and on its mirror image, and the raw outputs are averaged before NMS. The outputs of an
anchor in the mirror image belong to the anchor of the same shape in the mirrored cell. It takes twice the time.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from blitznet.core.anchors import feature_map_sizes
from blitznet.core.arrays import Floats, RGBArray, Size
from blitznet.core.errors import UsageError
from blitznet.core.outputs import Outputs
from blitznet.core.spec import AnchorLayout, Spec
from blitznet.runtime.engine import Engine, replicas_of


class FlipTTA:
    """An engine that runs another on each image and its mirror image, and averages the outputs."""

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine."""
        self.engine = engine

    @property
    def name(self) -> str:
        """The wrapped engine's name."""
        return self.engine.name

    @property
    def spec(self) -> Spec:
        """The model's metadata."""
        return self.engine.spec

    def run(self, images: RGBArray) -> Outputs:
        """Averaged outputs for images (B, h, w, 3) uint8 RGB.

        Raises:
            UsageError: The model has NMS inside; its boxes cannot be averaged.
        """
        plain, flipped = self.engine.run(images), self.engine.run(np.ascontiguousarray(images[:, :, ::-1]))
        if not (isinstance(plain, Outputs) and isinstance(flipped, Outputs)):
            raise UsageError("tta: expected a model with raw outputs, got one with NMS inside; export it without --nms")
        if plain.segmentation_logits is not None and flipped.segmentation_logits is not None:
            segmentation_logits: Floats | None = _mean(
                plain.segmentation_logits, flipped.segmentation_logits[..., ::-1]
            )
        else:
            segmentation_logits = None
        if plain.logits is None or flipped.logits is None or plain.offsets is None or flipped.offsets is None:
            return Outputs(plain.offsets, plain.logits, segmentation_logits)
        indices = mirrored_anchor_indices(self.spec.anchors, feature_map_sizes(self.spec.anchors, images.shape[1:3]))
        offsets = flipped.offsets[:, indices]
        offsets[..., 0] *= -1  # the x offset changes its sign in a mirror
        return Outputs(
            _mean(plain.offsets, offsets), _mean(plain.logits, flipped.logits[:, indices]), segmentation_logits
        )

    def replicate(self) -> Sequence["FlipTTA"]:
        """The replicas of the wrapped engine, each wrapped."""
        replicas = replicas_of(self.engine)
        return (self,) if len(replicas) == 1 else tuple(map(FlipTTA, replicas))


def _mean(a: Floats, b: Floats) -> Floats:
    return (a + b) * np.float32(0.5)


@lru_cache(maxsize=16)
def mirrored_anchor_indices(layout: AnchorLayout, map_sizes: tuple[Size, ...]) -> NDArray[np.intp]:
    """Index (A,) of the anchor in the horizontally mirrored cell, for anchors in the order of `generate_anchors`."""
    blocks, first = [], 0
    for height, width in map_sizes:
        index = np.arange(height * width * layout.num_anchors_per_cell).reshape(
            height, width, layout.num_anchors_per_cell
        )
        blocks.append(first + index[:, ::-1].ravel())
        first += index.size
    indices = np.concatenate(blocks)
    indices.setflags(write=False)
    return indices
