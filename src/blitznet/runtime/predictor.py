"""Predictor: prepare, run, finish. It cannot tell one engine from another."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from functools import partial
from operator import length_hint

import numpy as np

from blitznet.core.errors import UsageError
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.postprocess.postprocess import postprocess
from blitznet.postprocess.result import Result
from blitznet.runtime.engine import Engine, replicas_of
from blitznet.runtime.memory import keep_freed_memory
from blitznet.runtime.preprocess import ImageInput, ModelInput, preprocess
from blitznet.runtime.stream import StreamResult, run_stream

_MANY = 64
"""images that are worth a second compilation of the network"""


class Predictor:
    """Sees what is in images: `predictor(image) -> Result`. Holds no state between calls."""

    def __init__(self, engine: Engine, limits: PostprocessConfig | None = None) -> None:
        """Look through `engine`; `limits` instead of those of the model's contract."""
        keep_freed_memory()
        self.engine = engine
        self.limits = limits or engine.spec.postprocess

    @property
    def spec(self) -> Spec:
        """The contract of the model inside."""
        return self.engine.spec

    def __call__(self, image: ImageInput, min_score: float | None = None, class_map: bool = True) -> Result:
        """What is in one image.

        image: a path, a file's bytes, an (H, W, 3) uint8 RGB array, a Pillow image or a Image. score: leave out
        detections below it (the limits' own is next to nothing, for scoring; pictures want about 0.5). class_map:
        whether to make one, at the image's full size. Raises DataError if the image cannot be read.
        """
        return self.batch([image], min_score=min_score, class_map=class_map)[0]

    def batch(
        self, images: Sequence[ImageInput], min_score: float | None = None, class_map: bool = True
    ) -> list[Result]:
        """What is in each of several images, which go through the network together."""
        limits = self._limits(min_score)
        return self._infer([self.preprocess(image) for image in images], limits, class_map)

    def preprocess(self, image: ImageInput) -> ModelInput:
        """One image as the network is fed it. Raises DataError if it cannot be read."""
        return preprocess(image, self.spec)

    def infer(
        self,
        inputs: Sequence[ModelInput],
        *,
        min_score: float | None = None,
        class_map: bool = True,
        engine: Engine | None = None,
    ) -> list[Result]:
        """What is in images that `feed` made, which go through the network together.

        engine: one of `lanes_of(self.engine)`, for who runs several at once.
        """
        return self._infer(inputs, self._limits(min_score), class_map, engine=engine)

    def stream(
        self,
        source: Iterable[ImageInput],
        *,
        batch: int = 1,
        min_score: float | None = None,
        class_map: bool = True,
        throughput: bool | None = None,
    ) -> Generator[StreamResult, None, None]:
        """What is in each image of a source, in its order; the next are decoded and looked at meanwhile.

        The source is read in a thread of its own, a few images ahead: `runtime/stream.py` says how many. An image
        that cannot be read is told in its place; an error of the source itself comes after what was read before.
        batch: images that go through the network together. throughput: whether the processors look at one batch
        each instead of at one together, which gives more images a second and each of them later; if not given, for
        sources that do not say that they are short. Closing the generator ends its threads; the engine is its own
        until then.
        """
        if batch < 1:
            raise UsageError(f"batch: expected 1 or more, got {batch}")
        if throughput is None:
            throughput = length_hint(source, _MANY) >= _MANY
        engines = replicas_of(self.engine) if throughput else (self.engine,)
        limits = self._limits(min_score)
        looks = [partial(self._infer, limits=limits, class_map=class_map, engine=engine) for engine in engines]
        return run_stream(source, self.preprocess, looks, batch=batch)

    def _infer(
        self, fed: Sequence[ModelInput], limits: PostprocessConfig, class_map: bool, *, engine: Engine | None = None
    ) -> list[Result]:
        if not fed:
            return []
        images = np.stack([one.pixels for one in fed])  # (B, h, w, 3)
        given = (engine or self.engine).run(images)
        finished = partial(
            postprocess, given, spec=self.spec, input_size=images.shape[1:3], config=limits, class_map=class_map
        )
        return [finished(i, size=one.original_size, image=one.image) for i, one in enumerate(fed)]

    def _limits(self, score: float | None) -> PostprocessConfig:
        return self.limits if score is None else _raised(self.limits, score)


def _raised(limits: PostprocessConfig, score: float) -> PostprocessConfig:
    """Limits that keep what has at least `score`: the same as leaving out the rest at the end, in less time.

    A box is only ever suppressed or crowded out by better ones, so what lies below `score` has no say.
    """
    if not 0 <= score <= 1:
        raise UsageError(f"score: expected 0 to 1, got {score}")
    below = float(np.nextafter(np.float32(score), np.float32(-1)))  # limits keep what is above, not at
    return replace(limits, score_threshold=max(limits.score_threshold, below))
