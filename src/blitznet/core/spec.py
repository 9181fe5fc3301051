"""Spec: the contract a model carries, as JSON, wherever it goes.

What a runtime needs (classes, size, anchors, limits) and what it takes to build the network again
(`Network`) stand in one value, so that no file is ever read with the wrong mean, size or classes.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from blitznet.core.errors import ModelError
from blitznet.core.score_line import Line

Task = Literal["detection", "segmentation"]
Fusion = Literal["resskip", "resskip-plain", "hourglass", "refine"]
Resize = Literal["bilinear", "nearest", "legacy"]
Family = Literal["blitznet", "ssd", "lite", "ssd-lite"]
Precision = Literal["float32", "bfloat16", "int8"]

BOTH: tuple[Task, ...] = ("detection", "segmentation")


@dataclass(frozen=True, slots=True)
class AnchorLayout:
    """Where anchors lie and how large they are, as fractions of the image (paper 3.2, SSD 2.2).

    One map for each stride, finest first, then one map of 1x1: `len(strides) + 1` maps.
    """

    strides: tuple[int, ...]
    first: float
    low: float
    high: float
    ratios: tuple[float, ...] = (2.0, 1 / 2, 3.0, 1 / 3)
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)

    @property
    def per_cell(self) -> int:
        """P: the square, one for each ratio, the larger square."""
        return len(self.ratios) + 2


@dataclass(frozen=True, slots=True)
class Network:
    """What it takes to build the network again.

    `family` says of what blocks: `blitznet` the paper's bottlenecks, `ssd` the baseline without an
    upscale stream, `lite` depthwise-separable, `ssd-lite` its baseline. `extra` counts the downscale stream's blocks.
    """

    family: Family
    encoder: str
    extra: int
    width: int = 512
    """D of every map of the upscale stream"""
    inner: int = 128
    """D inside a fusion block"""
    segmentation_width: int = 64
    """D each map is reduced to before the maps are joined for the class map"""
    segmentation_stride: int = 8
    segmentation_taps: int = 0
    """D of what the class map takes straight from the encoder's two coarsest maps, with a block of its own; 0: not"""
    side: bool = False
    """whether class logits from the downscale stream, as SSD has them, are added to those of the upscale stream"""
    side_offsets: bool = False
    """whether offsets are added by the side as well, as SSDLite's box predictors give them"""
    guide: bool = False
    """whether the class logits of boxes have a say in the class map"""
    presence: float = 1.0
    """how often a trained guide counts the log of how likely boxes make a class anywhere in the photo"""
    fusion: Fusion = "resskip"
    fusion_resize: Resize = "bilinear"
    segmentation_resize: Resize = "bilinear"


@dataclass(frozen=True, slots=True)
class Limits:
    """How the raw outputs of one image become boxes (paper 3.5)."""

    score: float = 0.01
    candidates: int = 400
    """best scores of a class that go into suppression"""
    iou: float = 0.45
    per_class: int = 50
    per_image: int = 200


@dataclass(frozen=True, slots=True)
class Spec:
    """A model's contract: what goes in, what comes out, how it was built, where it comes from."""

    name: str
    classes: tuple[str, ...]
    """K names; background is not among them"""
    size: tuple[int, int]
    """(height, width) the network was trained at, pixels"""
    anchors: AnchorLayout
    network: Network
    mean: tuple[float, float, float]
    """RGB, subtracted after division by 255"""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    tasks: tuple[Task, ...] = BOTH
    limits: Limits = Limits()
    temperature: float = 1.0
    """the logit of a score is divided by it, so that a score is a probability"""
    shift: float = 0.0
    """then added to the logit of a score"""
    map_temperature: float = 1.0
    """segmentation logits are divided by it before softmax, so that a pixel's certainty is a probability"""
    precision: Precision = "float32"
    """what a file is meant to be computed in"""
    licence: str = "Apache-2.0"
    provenance: str = ""
    """data, recipe and teachers in a sentence"""
    version: int = 1

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(isinstance(side, int) and side > 0 for side in self.size):
            raise ModelError(f"{self.name}: wanted a size of height and width in pixels, came {list(self.size)}")
        if not all(isinstance(name, str) for name in self.classes):
            raise ModelError(f"{self.name}: class names must be text, came {list(self.classes)}")
        if len(set(self.classes)) != len(self.classes) or not self.classes:
            raise ModelError(f"{self.name}: class names must be there and differ, came {list(self.classes)}")
        if not 0 < len(self.classes) < 255:
            raise ModelError(f"{self.name}: 1 to 254 classes fit a class map, came {len(self.classes)}")
        if not self.tasks or set(self.tasks) - set(BOTH):
            raise ModelError(f"{self.name}: tasks must be some of {list(BOTH)}, came {list(self.tasks)}")
        for temperature in (self.temperature, self.map_temperature):
            if not 0 < temperature < float("inf"):
                raise ModelError(f"{self.name}: wanted a temperature above 0, came {temperature}")
        if not abs(self.shift) < float("inf"):
            raise ModelError(f"{self.name}: wanted a finite shift, came {self.shift}")

    @property
    def score_line(self) -> Line:
        """How scores are told."""
        return Line(self.temperature, self.shift)

    def uncalibrated(self) -> "Spec":
        """The contract without what was measured on its weights: scores and certainties as the network has them.

        The limit moves along: the same of the network's own scores are above it.
        """
        own = float(f"{self.score_line.own(self.limits.score):.5g}")
        limits = dataclasses.replace(self.limits, score=own)
        return dataclasses.replace(self, temperature=1.0, shift=0.0, map_temperature=1.0, limits=limits)

    @property
    def channels(self) -> int:
        """C: the classes and background."""
        return len(self.classes) + 1

    def to_json(self) -> str:
        """One line of JSON, keys sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> "Spec":
        """Read a contract; unknown and missing keys are errors."""
        try:
            fields = json.loads(text)
            fields["anchors"] = _build(AnchorLayout, fields["anchors"])
            fields["network"] = _build(Network, fields["network"])
            fields["limits"] = _build(Limits, fields["limits"])
            spec: Spec = _build(Spec, fields)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ModelError(f"this is not a contract of a blitznet model ({error})") from error
        return spec


def _build(kind: type, fields: dict[str, Any]) -> Any:
    unknown = set(fields) - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        raise ModelError(f"{kind.__name__} has no {sorted(unknown)}; the file is of a newer version, update blitznet")
    return kind(**{key: _frozen(value) for key, value in fields.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
