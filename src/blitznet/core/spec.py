"""Spec: a model's metadata, stored as JSON in every model file.

It contains what inference needs (classes, input size, normalization, anchors, post-processing) and the architecture of
the network (`Network`). Files of version 1 are read and upgraded.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import ModelError, escape_unprintable
from blitznet.core.field_types import field_error, require_field_types, require_range

VERSION = 2
"""version of the spec that is written; older versions are read"""
METADATA_KEY = "blitznet"
"""key of the spec in a file's metadata"""

Task = Literal["detection", "segmentation"]
Fusion = Literal["resskip", "resskip-plain", "hourglass", "refine"]
Resize = Literal["bilinear", "nearest", "legacy"]
Family = Literal["blitznet", "ssd", "lite", "lite-fpn", "ssd-lite"]
Precision = Literal["float32", "bfloat16", "int8"]

ALL_TASKS: tuple[Task, ...] = ("detection", "segmentation")

MAX_INPUT_SIZE = 16384
"""largest height and width of a network's input, pixels"""
_MAX_REASON = 400
"""characters of an error about a spec"""
_MIN_LEVELS, _MAX_LEVELS, _MAX_CHANNELS, _MAX_DETECTIONS, _MAX_ANCHORS, _MAX_NAME = 2, 64, 65536, 10**6, 2 * 10**7, 200
_SMALLEST, _LARGEST = 1e-6, 1e6
"""limits of a spec, far above those of any network; a file that exceeds them is damaged or hostile"""
_TEXTS = {"name": "", "license": "", "provenance": "\n"}
"""fields of free text -> characters in it that are not escaped although they cannot be printed"""


@dataclass(frozen=True, slots=True)
class AnchorLayout:
    """Positions and sizes of the anchors, as fractions of the image (paper 3.2, SSD 2.2).

    There is one feature map for each stride, finest first, then one of 1x1: `len(strides) + 1` maps.
    """

    strides: tuple[int, ...]
    min_scale: float
    """edge of the small square anchors on the finest map"""
    second_scale: float
    """edge of the small square anchors on the second map; scales increase linearly from there"""
    max_scale: float
    """edge of the small square anchors on the coarsest map"""
    ratios: tuple[float, ...] = (2.0, 1 / 2, 3.0, 1 / 3)
    """width / height of the other anchors"""
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    """scales of the encoded offsets: center x, center y, width, height"""

    def __post_init__(self) -> None:
        require_field_types(self)
        require_range(self, "strides", 1, MAX_INPUT_SIZE)
        for name in ("min_scale", "second_scale", "max_scale", "ratios", "variances"):
            require_range(self, name, 1e-6, 1e3)
        if not _MIN_LEVELS <= len(self.strides) <= _MAX_LEVELS or len(self.ratios) > _MAX_LEVELS:
            raise field_error(
                "strides, ratios",
                f"{_MIN_LEVELS} to {_MAX_LEVELS} strides and at most {_MAX_LEVELS} ratios",
                (len(self.strides), len(self.ratios)),
            )
        if self.second_scale > self.max_scale:  # the next larger scale could be negative
            raise field_error("max_scale", f"{self.second_scale:g} or more, the second_scale", self.max_scale)

    def num_anchors(self, size: tuple[int, int]) -> int:
        """A: number of anchors for an input of (height, width) pixels."""
        cells = sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in self.strides)
        return (cells + 1) * self.num_anchors_per_cell

    @property
    def num_anchors_per_cell(self) -> int:
        """P: the square, one anchor for each ratio, and the larger square."""
        return len(self.ratios) + 2


@dataclass(frozen=True, slots=True)
class Network:
    """The architecture of the network.

    `family` selects the blocks: `blitznet` for the paper's bottlenecks, `ssd` for its baseline without an upscale
    stream, `lite` for depthwise-separable blocks, `ssd-lite` for the baseline of those, `lite-fpn` for a light feature
    pyramid.
    """

    family: Family
    encoder: str
    extra_levels: int
    """blocks of the downscale stream after the encoder"""
    channels: int = 512
    """channels of every map of the upscale stream"""
    hidden_channels: int = 128
    """channels inside a fusion block"""
    segmentation_channels: int = 64
    """channels of each map before the maps are concatenated in the segmentation head"""
    segmentation_stride: int = 8
    """stride of the segmentation logits, pixels of the input"""
    lateral_channels: int | None = None
    """channels of lateral connections from the encoder's two coarsest maps to the segmentation head; None for none"""
    ssd_head: bool = False
    """a second SSD class head on the downscale stream; its logits are added to those of the upscale stream"""
    ssd_box_head: bool = False
    """the second SSD head also predicts box offsets, which are added to those of the upscale stream"""
    detection_prior: bool = False
    """class logits of the boxes are added to the segmentation logits"""
    image_prior_weight: float = 1.0
    """inference weight of the image-level class log-prior that the detection prior adds to the segmentation logits"""
    context_blocks: int = 1
    """residual blocks at stride 16 in the segmentation head of family `lite-fpn`"""
    fusion: Fusion = "resskip"
    """kind of fusion block in the upscale stream (paper 3.3, Table 8)"""
    fusion_resize: Resize = "bilinear"
    """resizing of maps in fusion blocks"""
    segmentation_resize: Resize = "bilinear"
    """resizing of maps in the segmentation head"""

    def __post_init__(self) -> None:
        require_field_types(self)
        require_range(self, "extra_levels", 0, _MAX_LEVELS)
        require_range(self, "context_blocks", 0, _MAX_LEVELS)
        require_range(self, "image_prior_weight", -_LARGEST, _LARGEST)
        for name in ("channels", "hidden_channels", "segmentation_channels", "segmentation_stride"):
            require_range(self, name, 1, _MAX_CHANNELS)
        if self.lateral_channels is not None:
            require_range(self, "lateral_channels", 1, _MAX_CHANNELS)


@dataclass(frozen=True, slots=True)
class PostprocessConfig:
    """Thresholds of decoding and NMS (paper 3.5)."""

    score_threshold: float = 0.01
    """calibrated score that a detection must exceed"""
    topk_candidates: int = 400
    """number of anchors of each class, those with the highest scores, that enter NMS"""
    nms_threshold: float = 0.45
    """IoU above which the box with the lower score is removed"""
    max_per_class: int = 50
    """maximum number of detections of each class"""
    max_detections: int = 200
    """maximum number of detections of an image"""

    def __post_init__(self) -> None:
        require_field_types(self)
        require_range(self, "score_threshold", -1, 1)
        require_range(self, "nms_threshold", 0, 1)
        for name in ("topk_candidates", "max_per_class", "max_detections"):
            require_range(self, name, 0, _MAX_DETECTIONS)


@dataclass(frozen=True, slots=True)
class Spec:
    """A model's metadata: inputs, outputs, architecture, post-processing and origin."""

    name: str
    classes: tuple[str, ...]
    """K class names, without background"""
    size: tuple[int, int]
    """(height, width) of the network's input, pixels"""
    anchors: AnchorLayout
    network: Network
    mean: tuple[float, float, float]
    """RGB mean, subtracted after division by 255"""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """RGB standard deviation, a divisor after the mean is subtracted"""
    tasks: tuple[Task, ...] = ALL_TASKS
    detection_classes: tuple[str, ...] | None = None
    """classes that boxes are predicted of, in the order of `classes`; None for all of them"""
    segmentation_classes: tuple[str, ...] | None = None
    """classes that the class map contains, in the order of `classes`; None for all of them"""
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    score_calibration: PlattScaling = field(default_factory=PlattScaling)
    """applied to box scores after the softmax"""
    segmentation_temperature: float = 1.0
    """segmentation logits are divided by it before the softmax"""
    precision: Precision = "float32"
    """numeric precision to run the network in"""
    license: str = "Apache-2.0"
    provenance: str = ""
    """initial weights, training data and teachers, in one sentence"""
    version: int = VERSION

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(isinstance(value, int) and value > 0 for value in self.size):
            raise ModelError(f"{self.name}: expected a size of (height, width) in pixels, got {list(self.size)}")
        if not all(isinstance(name, str) for name in self.classes):
            raise ModelError(f"{self.name}: expected class names as strings, got {list(self.classes)}")
        if len(set(self.classes)) != len(self.classes) or not self.classes:
            raise ModelError(
                f"{self.name}: expected at least one class name and no duplicates, got {list(self.classes)}"
            )
        if not 0 < len(self.classes) < 255:
            raise ModelError(f"{self.name}: expected 1 to 254 classes, got {len(self.classes)}")
        if not self.tasks or set(self.tasks) - set(ALL_TASKS):
            raise ModelError(f"{self.name}: expected tasks from {list(ALL_TASKS)}, got {list(self.tasks)}")
        for task, names in (("detection", self.detection_classes), ("segmentation", self.segmentation_classes)):
            if names is not None and (not names or names != tuple(name for name in self.classes if name in names)):
                raise ModelError(
                    f"{self.name}: expected {task}_classes as some of the classes in their order, got {list(names)}"
                )
        for temperature in (self.score_calibration.temperature, self.segmentation_temperature):
            if not 0 < temperature < math.inf:
                raise ModelError(f"{self.name}: expected a temperature above 0, got {temperature}")
        if not math.isfinite(self.score_calibration.bias):
            raise ModelError(f"{self.name}: expected a finite calibration bias, got {self.score_calibration.bias}")
        self._require_valid_values()

    def _require_valid_values(self) -> None:
        """Raise ModelError for values of a wrong type, or that no network can have."""
        try:
            require_field_types(self)
            require_field_types(self.score_calibration)
            for value, name, low, high in (
                (self, "size", 1, MAX_INPUT_SIZE),
                (self, "mean", -_LARGEST, _LARGEST),
                (self, "segmentation_temperature", _SMALLEST, _LARGEST),
                (self.score_calibration, "temperature", _SMALLEST, _LARGEST),
                (self.score_calibration, "bias", -_LARGEST, _LARGEST),
            ):
                require_range(value, name, low, high)
            if not 0 < len(self.name) <= _MAX_NAME:
                raise field_error("name", f"1 to {_MAX_NAME} characters", self.name)
            if not all(name.isprintable() and 0 < len(name) <= _MAX_NAME for name in self.classes):
                raise field_error("classes", f"names of 1 to {_MAX_NAME} printable characters", self.classes)
            if not all(_SMALLEST <= abs(value) <= _LARGEST for value in self.std):
                raise field_error("std", f"numbers other than 0, up to {_LARGEST:g}", self.std)
            if self.anchors.num_anchors(self.size) > _MAX_ANCHORS:
                raise field_error("anchors", f"at most {_MAX_ANCHORS:,}", self.anchors.num_anchors(self.size))
        except ModelError as error:
            raise ModelError(f"{str(self.name)[:_MAX_NAME]}: {error}") from error

    def uncalibrated(self) -> "Spec":
        """The spec without calibration, with a score threshold that the same detections pass."""
        threshold = float(f"{self.score_calibration.inverse(self.postprocess.score_threshold):.5g}")
        config = dataclasses.replace(self.postprocess, score_threshold=threshold)
        return dataclasses.replace(
            self, score_calibration=PlattScaling(), segmentation_temperature=1.0, postprocess=config
        )

    @property
    def num_channels(self) -> int:
        """C: the classes and background."""
        return len(self.classes) + 1

    def predicts(self, task: Task) -> tuple[bool, ...]:
        """For each of the K classes, whether the head of a task predicts it; no class without the task."""
        names = self.detection_classes if task == "detection" else self.segmentation_classes
        return tuple(task in self.tasks and (names is None or name in names) for name in self.classes)

    def predicted_classes(self, task: Task) -> tuple[str, ...]:
        """The names of the classes that the head of a task predicts."""
        return tuple(name for name, flag in zip(self.classes, self.predicts(task), strict=True) if flag)

    def to_json(self) -> str:
        """One line of JSON, keys sorted; without `detection_classes` and `segmentation_classes` if they are None."""
        fields = dataclasses.asdict(self)
        return json.dumps({key: value for key, value in fields.items() if value is not None}, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> "Spec":
        """Read a spec of this version or an older one; unknown and missing keys are errors.

        Raises:
            ModelError: The text is not a spec, or one of a newer version.
        """
        try:
            fields = json.loads(text)
            version = fields.get("version", 1)
            if version not in (1, VERSION):
                raise ModelError(f"expected a model spec of version {VERSION} or older, got {version}; update blitznet")
            if version == 1:
                fields = upgrade_v1(fields)
            nested: dict[str, Callable[..., Any]] = {
                "anchors": AnchorLayout,
                "network": Network,
                "postprocess": PostprocessConfig,
                "score_calibration": PlattScaling,
            }
            for key, kind in nested.items():
                fields[key] = _build(kind, fields[key])
            for key, allowed in _TEXTS.items():
                if isinstance(text := fields.get(key), str):
                    fields[key] = escape_unprintable(text, allowed=allowed)
            spec: Spec = _build(Spec, fields)
        except (TypeError, KeyError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            reason = " ".join(str(error).split())[:_MAX_NAME]
            raise ModelError(f"expected the spec of a blitznet model, got something else ({reason})") from error
        return spec


def read_spec(text: str | None, *, source: str) -> Spec:
    """Read the spec in a file's metadata.

    Args:
        text: JSON as written by `Spec.to_json`; None if the file has none.
        source: Name of the file, for errors.

    Raises:
        ModelError: The file has no spec, one that cannot be read, or one of a newer version.
    """
    if text is None:
        raise ModelError(
            f"{source}: expected a blitznet model, got a file without '{METADATA_KEY}' metadata; "
            "make one with `blitznet train` or `blitznet export`"
        )
    try:
        return Spec.from_json(text)
    except ModelError as error:
        reason = str(error)
        reason = reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "..."
        raise ModelError(f"{source}: {reason}") from error


_V1_ANCHORS = {"first": "min_scale", "low": "second_scale", "high": "max_scale"}
_V1_NETWORK = {
    "extra": "extra_levels",
    "width": "channels",
    "inner": "hidden_channels",
    "segmentation_width": "segmentation_channels",
    "segmentation_taps": "lateral_channels",
    "side": "ssd_head",
    "side_offsets": "ssd_box_head",
    "guide": "detection_prior",
    "presence": "image_prior_weight",
}
_V1_POSTPROCESS = {
    "score": "score_threshold",
    "candidates": "topk_candidates",
    "iou": "nms_threshold",
    "per_class": "max_per_class",
    "per_image": "max_detections",
}
_V1_SPEC = {"limits": "postprocess", "licence": "license", "map_temperature": "segmentation_temperature"}


def upgrade_v1(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a spec of version 1 under the names of version 2."""
    new = _renamed(fields, _V1_SPEC)
    new["anchors"] = _renamed(fields["anchors"], _V1_ANCHORS)
    new["network"] = _renamed(fields["network"], _V1_NETWORK)
    new["network"]["lateral_channels"] = new["network"].get("lateral_channels") or None
    new["postprocess"] = _renamed(fields["limits"], _V1_POSTPROCESS)
    new["score_calibration"] = {"temperature": new.pop("temperature", 1.0), "bias": new.pop("shift", 0.0)}
    new["version"] = VERSION
    return new


def _renamed(fields: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in fields.items()}


def _build(kind: Callable[..., Any], fields: dict[str, Any]) -> Any:
    unknown = set(fields) - {item.name for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ModelError(
            f"the spec has unknown keys {sorted(unknown)}; the file is of a newer version, update blitznet"
        )
    return kind(**{key: _frozen(value) for key, value in fields.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
