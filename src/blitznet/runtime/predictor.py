"""Predictor: preprocess, run the engine, postprocess."""

import glob
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import TypeGuard, overload

import numpy as np

from blitznet.core.errors import UsageError
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.postprocess.postprocess import postprocess
from blitznet.postprocess.result import Result, require_min_score
from blitznet.runtime.engine import Engine, replicas_of
from blitznet.runtime.image_paths import find_images
from blitznet.runtime.memory import keep_freed_memory
from blitznet.runtime.preprocess import ImageInput, ModelInput, preprocess
from blitznet.runtime.stream import StreamResult, run_stream

_MAX_BATCH = 16
"""maximum number of images in one run of the network"""
_IMAGE_AXES = 3
"""axes of the array of one image"""
_LONG_SOURCE = 64
"""number of images from which loading replicas of the network pays off"""


class BasePredictor(ABC):
    """Predicts images, batches and streams with `preprocess` and `infer`; keeps no state between calls."""

    def __init__(
        self, engine: Engine, config: PostprocessConfig | None = None, *, min_score: float | None = None
    ) -> None:
        """Predict with an engine.

        Args:
            engine: Inference engine.
            config: Replaces the spec's thresholds. Default: the spec's.
            min_score: Minimum score of detections in calls without one, 0..1. Default: the config's, close to 0.

        Raises:
            UsageError: min_score is not within 0..1.
        """
        keep_freed_memory()
        self.engine = engine
        self.config = config or engine.spec.postprocess
        self.min_score = None if min_score is None else require_min_score(min_score)

    def __repr__(self) -> str:
        spec = self.spec
        height, width = spec.size
        return (
            f"{type(self).__name__}({len(spec.classes)} classes; {' and '.join(spec.tasks)}; input {width}x{height}; "
            f"engine {self.engine.name})"
        )

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

    @overload
    def __call__(self, image: ImageInput, min_score: float | None = None, class_map: bool = True) -> Result: ...
    @overload
    def __call__(
        self, image: list[ImageInput] | tuple[ImageInput, ...], min_score: float | None = None, class_map: bool = True
    ) -> list[Result]: ...
    def __call__(
        self,
        image: ImageInput | list[ImageInput] | tuple[ImageInput, ...],
        min_score: float | None = None,
        class_map: bool = True,
    ) -> Result | list[Result]:
        """Predict one image, or each image of a list.

        Args:
            image: A path, the bytes of a file, an (H, W, 3) uint8 RGB array, a Pillow image or an ImageSource; or a
                list of them, a folder or a glob. Type checkers take any path for an image; `batch` returns a list.
            min_score: Minimum score of detections, 0..1. Default: the predictor's, 0.5 after `load`; 0 keeps all.
            class_map: Whether the result has a segmentation, if the model has a segmentation head.

        Returns:
            Boxes in pixels of the image and a lazy segmentation of its size; for several images a list of results.

        Raises:
            DataError: An image cannot be read.
        """
        if isinstance(image, list | tuple) or _is_folder_or_glob(image):
            return self.batch(image, min_score=min_score, class_map=class_map)
        self.config_for(min_score)  # an invalid score is an error before the image is read
        return self.infer([self.preprocess(image)], min_score=min_score, class_map=class_map)[0]

    def all_detections(self, image: ImageInput, class_map: bool = True) -> Result:
        """Predict one image with the config's threshold, close to 0, as evaluation needs it."""
        return self(image, min_score=0, class_map=class_map)

    def batch(
        self, images: Iterable[ImageInput] | str | Path, min_score: float | None = None, class_map: bool = True
    ) -> list[Result]:
        """Predict several images, up to 16 in one run of the network.

        Args:
            images: Images; or a folder, a glob or an image file.
            min_score: Minimum score of detections, 0..1. Default: the predictor's.
            class_map: Whether results have a segmentation.

        Raises:
            DataError: An image cannot be read; `stream` continues after such an image.
            UsageError: min_score is out of range, or `images` is one image.
        """
        self.config_for(min_score)
        sources = iter(_require_images(images, "batch"))
        results: list[Result] = []
        while group := [self.preprocess(image) for image in islice(sources, _MAX_BATCH)]:
            results += self.infer(group, min_score=min_score, class_map=class_map)
        return results

    def stream(
        self,
        source: Iterable[ImageInput] | str | Path,
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
            source: Images; or a folder, a glob or an image file. An image in memory must not be changed after it was
                yielded.
            batch: Images that go through the network together.
            min_score: Minimum score of detections, 0..1. Default: the predictor's.
            class_map: Whether results have a segmentation.
            throughput: Whether to run a replica of the engine on each thread: more images per second, higher latency.
                Default: only for sources of 64 images or more, or of unknown length.

        Raises:
            UsageError: batch or min_score is out of range, or `source` is one image.
        """
        if batch < 1:
            raise UsageError(f"batch: expected 1 or more, got {batch}")
        self.config_for(min_score)
        source = _require_images(source, "stream")
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
        min_score = self.min_score if min_score is None else require_min_score(min_score)
        if min_score is None:
            return self.config
        below = float(np.nextafter(np.float32(min_score), np.float32(-1)))  # scores equal to the threshold are dropped
        return replace(self.config, score_threshold=max(self.config.score_threshold, below))


def _is_folder_or_glob(image: ImageInput) -> TypeGuard[str | Path]:
    """Whether a path stands for several images."""
    if not isinstance(image, str | Path):
        return False
    with suppress(OSError, ValueError):  # such as a name that is too long: an error when it is read
        path = Path(image)
        return path.is_dir() or (glob.has_magic(str(image)) and not path.exists())
    return False


def _require_images(images: Iterable[ImageInput] | str | Path, method: str) -> Iterable[ImageInput]:
    """Several images, those of a folder or of a glob. Raises UsageError that names the method for one image."""
    if isinstance(images, str | Path):
        return find_images([images])
    is_image = isinstance(images, bytes | bytearray | memoryview) or (
        isinstance(images, np.ndarray) and images.ndim <= _IMAGE_AXES
    )
    if is_image or not isinstance(images, Iterable) or hasattr(images, "read"):
        raise UsageError(
            f"{method}: expected several images, a folder or a glob, got {type(images).__name__}; "
            "put one image into a list, or call the predictor with it"
        )
    return images


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
