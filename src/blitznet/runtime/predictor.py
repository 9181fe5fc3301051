"""Predictor: preprocess, run the engine, postprocess."""

from abc import ABC, abstractmethod
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

_LONG_SOURCE = 64
"""number of images from which loading replicas of the network pays off"""


class BasePredictor(ABC):
    """Predicts images, batches and streams with `preprocess` and `infer`; keeps no state between calls."""

    def __init__(self, engine: Engine, config: PostprocessConfig | None = None) -> None:
        """Predict with an engine; `config` replaces the spec's thresholds."""
        keep_freed_memory()
        self.engine = engine
        self.config = config or engine.spec.postprocess

    @property
    def spec(self) -> Spec:
        """The model's metadata."""
        return self.engine.spec

    @abstractmethod
    def preprocess(self, image: ImageInput) -> ModelInput:
        """The network's input for an image. Raises DataError if it cannot be read."""

    @abstractmethod
    def infer(
        self,
        inputs: Sequence[ModelInput],
        *,
        min_score: float | None = None,
        class_map: bool = True,
        engine: Engine | None = None,
    ) -> list[Result]:
        """Predict preprocessed images.

        Args:
            inputs: From `preprocess`.
            min_score: Minimum score of detections, 0..1. Default: the config's.
            class_map: Whether results have a segmentation.
            engine: Engine to run, such as one of `replicas_of(self.engine)`. Default: the predictor's own.
        """

    def __call__(self, image: ImageInput, min_score: float | None = None, class_map: bool = True) -> Result:
        """Predict one image.

        Args:
            image: A path, the bytes of a file, an (H, W, 3) uint8 RGB array, a Pillow image or an ImageSource.
            min_score: Minimum score of detections, 0..1. Default: the config's, which is close to 0 as evaluation
                needs it; 0.5 is a good value for display.
            class_map: Whether the result has a segmentation, if the model has a segmentation head.

        Returns:
            Boxes in pixels of the image and a lazy segmentation of its size.

        Raises:
            DataError: The image cannot be read.
        """
        return self.batch([image], min_score=min_score, class_map=class_map)[0]

    def batch(
        self, images: Sequence[ImageInput], min_score: float | None = None, class_map: bool = True
    ) -> list[Result]:
        """Predict several images in one batch; arguments as for a call."""
        self.config_for(min_score)  # an invalid score is an error before images are read
        return self.infer([self.preprocess(image) for image in images], min_score=min_score, class_map=class_map)

    def stream(
        self,
        source: Iterable[ImageInput],
        *,
        batch: int = 1,
        min_score: float | None = None,
        class_map: bool = True,
        throughput: bool | None = None,
    ) -> Generator[StreamResult, None, None]:
        """Predict a stream of images, in order, decoding and running ahead in threads.

        The source is read in a thread, a bounded number of images ahead (`runtime/stream.py`). An image that cannot
        be read gives a StreamResult with its error; an error of the source is raised after the images before it.
        Close the generator to end its threads. Do not use the engine elsewhere until then.

        Args:
            source: Images. One in memory must not be changed after it was yielded.
            batch: Images that go through the network together.
            min_score: Minimum score of detections, 0..1. Default: the config's.
            class_map: Whether results have a segmentation.
            throughput: Whether to run a replica of the engine on each thread: more images per second, higher latency.
                Default: only for sources of 64 images or more, or of unknown length.

        Raises:
            UsageError: batch or min_score is out of range.
        """
        if batch < 1:
            raise UsageError(f"batch: expected 1 or more, got {batch}")
        self.config_for(min_score)
        if throughput is None:
            throughput = length_hint(source, _LONG_SOURCE) >= _LONG_SOURCE
        engines = replicas_of(self.engine) if throughput else (self.engine,)
        workers = [partial(self.infer, min_score=min_score, class_map=class_map, engine=engine) for engine in engines]
        return run_stream(source, self.preprocess, workers, batch=batch)

    def config_for(self, min_score: float | None) -> PostprocessConfig:
        """The config with a higher score threshold, which equals filtering the result by `min_score` but is faster.

        NMS and top-k remove a box only because of higher scores, so boxes below `min_score` have no influence.

        Raises:
            UsageError: min_score is not within 0..1.
        """
        if min_score is None:
            return self.config
        if not 0 <= min_score <= 1:
            raise UsageError(f"min_score: expected 0 to 1, got {min_score}")
        below = float(np.nextafter(np.float32(min_score), np.float32(-1)))  # scores equal to the threshold are dropped
        return replace(self.config, score_threshold=max(self.config.score_threshold, below))


class Predictor(BasePredictor):
    """Predicts images with one run of the network: `predictor(image) -> Result`."""

    def preprocess(self, image: ImageInput) -> ModelInput:
        """The image at the network's input size. Raises DataError if it cannot be read."""
        return preprocess(image, self.spec)

    def infer(
        self,
        inputs: Sequence[ModelInput],
        *,
        min_score: float | None = None,
        class_map: bool = True,
        engine: Engine | None = None,
    ) -> list[Result]:
        """Predict preprocessed images in one batch; arguments as for `BasePredictor.infer`."""
        config = self.config_for(min_score)
        if not inputs:
            return []
        images = np.stack([model_input.pixels for model_input in inputs])  # (B, h, w, 3)
        outputs = (engine or self.engine).run(images)
        return [
            postprocess(
                outputs,
                index,
                self.spec,
                size=model_input.original_size,
                input_size=images.shape[1:3],
                config=config,
                class_map=class_map,
                image=model_input.image,
            )
            for index, model_input in enumerate(inputs)
        ]
