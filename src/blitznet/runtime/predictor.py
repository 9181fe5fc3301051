"""Predictor: prepare, run, finish. It cannot tell one engine from another."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from blitznet.core.errors import UsageError
from blitznet.core.result import Result
from blitznet.core.spec import Limits, Spec
from blitznet.runtime.engine import Engine
from blitznet.runtime.finish import finish
from blitznet.runtime.prepare import AnyImage, as_photo, prepare


class Predictor:
    """Sees what is in photos: `predictor(image) -> Result`. Holds no state between calls."""

    def __init__(self, engine: Engine, limits: Limits | None = None) -> None:
        """Look through `engine`; `limits` instead of those of the model's contract."""
        self.engine = engine
        self.limits = limits or engine.spec.limits

    @property
    def spec(self) -> Spec:
        """The contract of the model inside."""
        return self.engine.spec

    def __call__(self, image: AnyImage, score: float | None = None, class_map: bool = True) -> Result:
        """What is in one image.

        image: a path, an (H, W, 3) uint8 RGB array, a Pillow image or a Photo. score: leave out detections
        below it (the limits' own, 0.01, is for scoring; pictures want about 0.5). class_map: whether to
        make one, at the image's full size. Raises DataError if the image cannot be read.
        """
        return self.batch([image], score=score, class_map=class_map)[0]

    def batch(self, images: Sequence[AnyImage], score: float | None = None, class_map: bool = True) -> list[Result]:
        """What is in each of several images, which go through the network together."""
        limits = self.limits if score is None else _raised(self.limits, score)
        if not images:
            return []
        photos = [as_photo(image) for image in images]
        sizes = [photo.size() for photo in photos]
        fed = prepare(photos, self.spec)
        outputs = self.engine.run(fed)
        return [
            finish(outputs, i, self.spec, size=size, fed=fed.shape[1:3], limits=limits, class_map=class_map)
            for i, size in enumerate(sizes)
        ]


def _raised(limits: Limits, score: float) -> Limits:
    """Limits that keep what has at least `score`: the same as leaving out the rest at the end, in less time.

    A box is only ever suppressed or crowded out by better ones, so what lies below `score` has no say.
    """
    if not 0 <= score <= 1:
        raise UsageError(f"score: wanted 0 to 1, came {score}")
    below = float(np.nextafter(np.float32(score), np.float32(-1)))  # limits keep what is above, not at
    return replace(limits, score=max(limits.score, below))
