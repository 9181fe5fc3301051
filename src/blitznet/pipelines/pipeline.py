"""Stages and Pipeline: declarations of how a released model is made. run.py executes them.

Stages refer to earlier stages by name. {root} in the text of a dataset is the folder of all datasets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from blitznet.core.errors import UsageError
from blitznet.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class PseudoMaskStage:
    """Generate pseudo-masks for images that have boxes and no mask."""

    name: str
    teacher: str
    """an earlier stage with a model, a model name, or a file"""
    data: tuple[str, ...]
    """datasets, FORMAT:ROOT@SPLIT"""


@dataclass(frozen=True, slots=True)
class SoftLabelStage:
    """Compute the logits of a segmentation teacher for all images."""

    name: str
    teacher: str
    """an earlier stage with a model, a model name, or a file; {root} is the folder of all datasets"""
    data: tuple[str, ...]
    """datasets, FORMAT:ROOT@SPLIT"""


@dataclass(frozen=True, slots=True)
class TrainStage:
    """Train a model."""

    name: str
    config: TrainConfig
    """all options; the runner sets the folders and the following two"""
    init_from: str | None = None
    """an earlier stage whose model is the initial one; None: the config selects the initial weights"""
    pseudo_masks: str | None = None
    """an earlier PseudoMaskStage; None: no pseudo-masks"""
    soft_labels: str | None = None
    """an earlier SoftLabelStage; None: no soft labels"""


@dataclass(frozen=True, slots=True)
class SoupStage:
    """Average the weights of models."""

    name: str
    models: tuple[str, ...]
    """earlier stages with a model"""
    weights: tuple[float, ...] = ()
    """relative weight of each; equal by default"""


@dataclass(frozen=True, slots=True)
class WiseFtStage:
    """Mix a fraction of the initial weights into a trained model (WiSE-FT)."""

    name: str
    model: str
    """an earlier TrainStage"""
    initial_fraction: float
    """weight of the initial weights, 0..1"""
    modules: tuple[str, ...]
    """dotted names of the modules to mix, such as `encoder`"""


@dataclass(frozen=True, slots=True)
class CalibrateStage:
    """Calibrate scores and pixel confidences on images that the model was not trained on."""

    name: str
    model: str
    """an earlier stage with a model"""
    data: tuple[str, ...]
    """labeled datasets, FORMAT:ROOT@SPLIT"""
    holdout: float | None = None
    """only the fraction of the images that training with the same `holdout` leaves out; None: all images"""


@dataclass(frozen=True, slots=True)
class QuantizeStage:
    """Export a model to an int8 ONNX file, and verify it against the model."""

    name: str
    model: str
    """an earlier stage with a model"""
    data: tuple[str, ...]
    """datasets whose images the ranges of activations are measured on, FORMAT:ROOT@SPLIT"""
    max_images: int = 300
    """images to measure on, evenly spaced over all sets"""
    allow_accuracy_drop: bool = False
    """whether to keep a file whose outputs differ too much from the model's, with a notice"""


Stage = PseudoMaskStage | SoftLabelStage | TrainStage | SoupStage | WiseFtStage | CalibrateStage | QuantizeStage


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages of a released model, and its expected scores."""

    name: str
    """name of the model; its files are NAME.safetensors, NAME.onnx and NAME.md"""
    stages: tuple[Stage, ...]
    """in the order of execution; the last one is a QuantizeStage"""
    data: tuple[str, ...]
    """evaluation sets, FORMAT:ROOT@SPLIT"""
    expected: Mapping[str, float] = field(default_factory=dict)
    """expected scores over all evaluation sets by name (ap50_area, ap50_frequent, miou), fractions 0..1"""
    tolerance: float = 0.01
    """amount by which a score may be lower than expected, a fraction 0..1"""
    cost: str = ""
    """hardware and time"""
    notes: str = ""
    """Markdown for the model card"""

    def __post_init__(self) -> None:
        before: dict[str, Stage] = {}
        for stage in self.stages:
            if stage.name in before:
                raise UsageError(f"pipeline {self.name}: expected unique stage names, got {stage.name} twice")
            for name in model_inputs(stage):
                if name not in before or isinstance(before[name], PseudoMaskStage | SoftLabelStage | QuantizeStage):
                    raise UsageError(
                        f"pipeline {self.name}, stage {stage.name}: expected an earlier stage with a model, got {name}"
                    )
            for name, kind in label_inputs(stage):
                if not isinstance(before.get(name), kind):
                    raise UsageError(
                        f"pipeline {self.name}, stage {stage.name}: expected an earlier {kind.__name__}, got {name}"
                    )
            if isinstance(stage, WiseFtStage) and not isinstance(before[stage.model], TrainStage):
                raise UsageError(
                    f"pipeline {self.name}, stage {stage.name}: expected an earlier TrainStage, got {stage.model}"
                )
            before[stage.name] = stage
        if not self.stages or not isinstance(self.stages[-1], QuantizeStage):
            raise UsageError(f"pipeline {self.name}: expected a QuantizeStage as the last stage")

    def stage(self, name: str) -> Stage:
        """The stage of this name."""
        return next(stage for stage in self.stages if stage.name == name)


def model_inputs(stage: Stage) -> tuple[str, ...]:
    """The names of the earlier stages whose models a stage uses; a teacher may be another model instead."""
    match stage:
        case TrainStage(init_from=str(name)):
            return (name,)
        case SoupStage(models=names):
            return names
        case WiseFtStage(model=name) | CalibrateStage(model=name) | QuantizeStage(model=name):
            return (name,)
    return ()


def label_inputs(stage: Stage) -> tuple[tuple[str, type[PseudoMaskStage | SoftLabelStage]], ...]:
    """The names of the earlier stages whose labels a stage uses, and their kinds."""
    if not isinstance(stage, TrainStage):
        return ()
    named = ((stage.pseudo_masks, PseudoMaskStage), (stage.soft_labels, SoftLabelStage))
    return tuple((name, kind) for name, kind in named if name is not None)


def stage_data(stage: Stage) -> tuple[str, ...]:
    """The datasets that a stage reads, as texts with {root}; none for a SoupStage or a WiseFtStage."""
    match stage:
        case TrainStage(config=config):
            return (*config.data, *config.val)
        case SoupStage() | WiseFtStage():
            return ()
    return stage.data
