"""Result: the boxes and the segmentation of one image, as returned by `Predictor`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property, partial
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blitznet.core.arrays import Boxes, ClassMap, Flags, Floats, Labels, Scores, require_shape
from blitznet.core.errors import BlitzNetError, UsageError
from blitznet.core.files import atomic_path, translate_write_errors
from blitznet.core.image import ImageSource
from blitznet.drawing.annotate import JPEG_QUALITY, annotate_pil
from blitznet.postprocess.confidence import pixel_confidence
from blitznet.postprocess.instances import (
    Instances,
    Panoptic,
    extract_instances,
    margins_from_class_map,
    margins_from_logits,
    merge_panoptic,
)
from blitznet.postprocess.upsample import upsample_argmax

_MAX_SIDES = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}
"""suffix of an image file -> maximum length of a side in pixels"""
_MAX_SHOWN, _MAX_NAME = 5, 30
"""detections, and characters of a class name, that the text of a result shows"""


class _Computed:
    """A function without arguments whose array is computed once. A pickle of it contains the array."""

    def __init__(self, compute: Callable[[], NDArray[Any]]) -> None:
        self._compute = compute
        self._array: NDArray[Any] | None = None

    @classmethod
    def known(cls, array: NDArray[Any]) -> "_Computed":
        """The function that returns an array."""
        computed = cls(partial(np.asarray, array))
        computed._array = array
        return computed

    def __call__(self) -> NDArray[Any]:
        if self._array is None:
            self._array = self._compute()
        return self._array

    def __reduce__(self) -> tuple[Any, ...]:
        return _Computed.known, (self(),)


def _class_map_of(logits: Callable[[], Floats], size: tuple[int, int]) -> ClassMap:
    return upsample_argmax(logits(), size)


def _confidence_of(logits: Callable[[], Floats], size: tuple[int, int], temperature: float) -> Floats:
    return pixel_confidence(logits(), size, temperature)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of every pixel of one image, and its confidence and logits where they are known.

    Each is computed on first access and cached: upsampling to a large image takes longer than the network.
    """

    size: tuple[int, int]
    """(H, W) of the image"""
    compute_class_map: Callable[[], ClassMap]
    """returns `class_map`"""
    compute_confidence: Callable[[], Floats] | None = None
    """returns `confidence`; None if it is unknown"""
    compute_logits: Callable[[], Floats] | None = None
    """returns `logits`; None if they are unknown"""

    @classmethod
    def from_class_map(cls, class_map: ClassMap) -> "Segmentation":
        """Segmentation with a known class map (H, W), without confidence and logits."""
        require_shape(class_map, (None, None), name="class map")
        return cls((class_map.shape[0], class_map.shape[1]), _Computed.known(class_map))

    @classmethod
    def from_logits(cls, logits: Floats, size: tuple[int, int], temperature: float = 1.0) -> "Segmentation":
        """Segmentation of logits (C, h, w), background first, for an image of `size` (H, W)."""
        return cls.from_deferred_logits(lambda: logits, size, temperature)

    @classmethod
    def from_deferred_logits(
        cls, compute_logits: Callable[[], Floats], size: tuple[int, int], temperature: float = 1.0
    ) -> "Segmentation":
        """`from_logits` of logits that are computed on first use."""
        logits = _Computed(compute_logits)
        return cls(
            size,
            compute_class_map=partial(_class_map_of, logits, size),
            compute_confidence=partial(_confidence_of, logits, size, temperature),
            compute_logits=logits,
        )

    def __repr__(self) -> str:
        logits = "" if self.compute_logits is None else ", with logits"
        return f"Segmentation({self.size[1]}x{self.size[0]}{logits})"

    @cached_property
    def class_map(self) -> ClassMap:
        """(H, W) uint8: 0 for background, label + 1 for a class."""
        class_map = self.compute_class_map()
        require_shape(class_map, self.size, name="class map")
        return class_map

    @cached_property
    def confidence(self) -> Floats | None:
        """(H, W) probability 0..1 of each pixel's class, the maximum of the softmax; None if logits are unknown."""
        return None if self.compute_confidence is None else self.compute_confidence()

    @cached_property
    def logits(self) -> Floats | None:
        """(C, h, w) segmentation logits, background first; None for a model with NMS inside or a stored class map."""
        return None if self.compute_logits is None else self.compute_logits()


class Detection(NamedTuple):
    """One detected object."""

    box: tuple[float, float, float, float]
    """x1 y1 x2 y2, pixels"""
    score: float
    """0..1"""
    label: int
    """class id, 0..K-1"""
    class_name: str


@dataclass(frozen=True, eq=False)
class Result:
    """The detected objects and the segmentation of one image.

    `len(result)` is the number of detections, iteration yields each as a `Detection`, `result[mask]` and
    `result.filter(min_score=0.5)` select some. The arrays have torchvision's names.
    """

    boxes: Boxes
    """(N, 4) x1 y1 x2 y2, pixels of the upright image"""
    scores: Scores
    """(N,) 0..1, in descending order"""
    labels: Labels
    """(N,) class ids, indices into `class_names`"""
    class_names: tuple[str, ...]
    """K class names, without background"""
    size: tuple[int, int]
    """(H, W) of the upright image"""
    segmentation: Segmentation | None = None
    """class of every pixel; None if the model has no segmentation head or none was requested"""
    image: ImageSource | None = None
    """the input image, for `save` and `show`; decoded when needed"""

    def __post_init__(self) -> None:
        count = len(self.scores)
        require_shape(self.boxes, (count, 4), name="Result.boxes")
        require_shape(self.labels, (count,), name="Result.labels")
        if self.segmentation is not None and self.segmentation.size != self.size:
            raise BlitzNetError(f"Result.segmentation: expected size {self.size}, got {self.segmentation.size}")

    def __repr__(self) -> str:
        shown = [f"{item.class_name[:_MAX_NAME]} {item.score:.2f}" for item in self[:_MAX_SHOWN]]
        more = [f"{len(self) - _MAX_SHOWN} more"] if len(self) > _MAX_SHOWN else []
        detections = f"{len(self)} detection{'' if len(self) == 1 else 's'}"
        if shown:
            detections += ": " + ", ".join([*shown, *more])
        class_map = "" if self.segmentation is None else "; class map"
        return f"Result({detections}; {self.size[1]}x{self.size[0]}{class_map})"

    @property
    def class_map(self) -> ClassMap | None:
        """(H, W) uint8: 0 for background, label + 1 for a class; None without a segmentation."""
        return None if self.segmentation is None else self.segmentation.class_map

    @property
    def confidence(self) -> Floats | None:
        """(H, W) probability 0..1 of each pixel's class; None without a segmentation or its logits."""
        return None if self.segmentation is None else self.segmentation.confidence

    @property
    def segmentation_logits(self) -> Floats | None:
        """(C, h, w) segmentation logits, background first; None without a segmentation or its logits."""
        return None if self.segmentation is None else self.segmentation.logits

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: slice | Flags | NDArray[np.intp]) -> "Result": ...
    def __getitem__(self, index: int | slice | Flags | NDArray[np.intp]) -> "Detection | Result":
        """A Detection for an integer; for a slice, mask (N,) or index array a Result with the same segmentation."""
        if isinstance(index, int | np.integer):
            x1, y1, x2, y2 = self.boxes[index].tolist()
            label = int(self.labels[index])
            return Detection((x1, y1, x2, y2), float(self.scores[index]), label, self.class_names[label])
        return replace(self, boxes=self.boxes[index], scores=self.scores[index], labels=self.labels[index])

    def filter(
        self, *, min_score: float | None = None, classes: str | int | Sequence[str | int] | None = None
    ) -> "Result":
        """Select detections; the segmentation stays as it is.

        Args:
            min_score: Keep scores of at least this, 0..1. Default: all.
            classes: Keep this class or these classes, each a name or a class id. Default: all.

        Raises:
            UsageError: A class is not one of the model's, or min_score is not within 0..1.
        """
        mask = np.ones(len(self), np.bool_)
        if min_score is not None:
            mask &= self.scores >= np.float32(require_min_score(min_score))
        if classes is not None:
            items = [classes] if isinstance(classes, str | int | np.integer) else classes
            mask &= np.isin(self.labels, [self._class_id(item) for item in items])
        return self[mask]

    def instances(self) -> Instances:
        """The pixels of each detection.

        Low-scoring boxes take pixels from others: call `filter(min_score=0.3)` first.

        Raises:
            UsageError: The result has no segmentation.
        """
        segmentation = self._required_segmentation()
        if segmentation.logits is not None:
            margins = margins_from_logits(segmentation.logits)
        else:
            margins = margins_from_class_map(segmentation.class_map)
        return extract_instances(self.boxes, self.scores, self.labels, margins, self.size)

    def panoptic(self) -> Panoptic:
        """One segment for every pixel: a detection, or a class of the class map without one.

        Call `filter(min_score=0.3)` first, as for `instances`.

        Raises:
            UsageError: The result has no segmentation.
        """
        return merge_panoptic(self.instances(), self._required_segmentation().class_map)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: width, height, and detections of class_id, class_name, score and box."""
        detections = [
            {
                "class_id": detection.label,
                "class_name": detection.class_name,
                "score": round(detection.score, 4),
                "box": [round(coordinate, 2) for coordinate in detection.box],
            }
            for detection in self
        ]
        return {"width": self.size[1], "height": self.size[0], "detections": detections}

    def save(self, path: str | Path) -> None:
        """Write the image with class map, boxes and labels drawn on it; the suffix sets the format.

        Raises:
            UsageError: The result has no image, or the file cannot be written.
            DataError: The image can no longer be read.
        """
        if Path(path).is_dir():
            raise UsageError(f"{path}: expected a file to write, got a folder")
        limit = _MAX_SIDES.get(Path(path).suffix.lower())
        if limit is not None and max(self.size) > limit:
            size = f"{self.size[1]}x{self.size[0]}"
            raise UsageError(
                f"{path}: expected at most {limit:,} pixels a side in this format, got {size}; PNG takes more"
            )
        annotated = self._annotated()
        with atomic_path(Path(path), durable=False) as temporary, translate_write_errors(Path(path)):
            try:
                annotated.save(temporary, quality=JPEG_QUALITY)
            except ValueError as error:
                raise UsageError(
                    f"{path}: expected the suffix of an image format, such as .jpg or .png, got '{Path(path).suffix}'"
                ) from error

    def show(self) -> None:
        """Open the annotated image in the system's viewer. Raises UsageError if the result has no image."""
        self._annotated().show()

    def _annotated(self) -> Image.Image:
        if self.image is None:
            raise UsageError("result: expected an image to draw on, got none; call `annotate(image, result)`")
        annotated = self.image.read_pil()
        annotate_pil(annotated, self)
        return annotated

    def _required_segmentation(self) -> Segmentation:
        if self.segmentation is None:
            raise UsageError(
                "result: expected a segmentation to compute instances from, got none; "
                "use a model with a segmentation head and leave class_map on"
            )
        return self.segmentation

    def _class_id(self, item: str | int) -> int:
        if isinstance(item, str) and item in self.class_names:
            return self.class_names.index(item)
        if not isinstance(item, str) and 0 <= item < len(self.class_names):
            return item
        near = get_close_matches(str(item).lower(), self.class_names, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"classes: expected a class name or an id below {len(self.class_names)}, got {item!r}{hint}")


def require_min_score(min_score: Any) -> float:
    """A minimum score. Raises UsageError unless it is a number from 0 to 1."""
    is_number = not isinstance(min_score, bool) and isinstance(min_score, Real)
    if is_number and 0 <= float(min_score) <= 1:
        return float(min_score)
    raise UsageError(f"min_score: expected 0 to 1, got {min_score!r}")
