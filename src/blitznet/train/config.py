"""TrainConfig: all options of a training run in one frozen value.

A recipe returns a complete config, flags replace fields, and the run folder stores the config that was used.
The strings under the fields are the help of `blitznet train`.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from blitznet.core.errors import UsageError
from blitznet.core.field_types import option_error, require_field_types
from blitznet.core.spec import Fusion, Task
from blitznet.data.augment import PolicyName
from blitznet.data.image_cache import CacheKind
from blitznet.train.loggers import LoggerName

Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["multistep", "cosine"]
TrainPrecision = Literal["float32", "bfloat16"]
Init = Literal["random", "encoder", "ssdlite", "model"]
ModuleName = Literal["encoder", "downscale", "upscale", "detection", "ssd_head", "segmentation", "detection_prior"]
AUTO_BATCH = -1
"""`--batch auto`: the run chooses the batch by the free memory"""
OptionGroup = Literal["data", "model", "schedule", "augmentation", "loss", "logging", "advanced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """All options of a training run."""

    data: tuple[str, ...] = ()
    """Training sets, FORMAT:ROOT@SPLIT,option=value+value, or paths whose format is recognized."""
    val: tuple[str, ...] = ()
    """Evaluation sets, in the same form; or a fraction of the training images to evaluate on, such as 0.2. Default: the
    validation splits of paths in --data, else no evaluation."""
    root: Path = Path("data")
    """Folder that replaces {root} in the sets of a recipe. Default: data."""
    class_names: tuple[str, ...] = ()
    """Classes to train. Default: those of the model, or those of the data with --init model."""
    pseudo_masks: Path | None = None
    """Folder of pseudo-masks for images without a mask, written by `blitznet data pseudo-label`. Default: none."""
    soft_labels: Path | None = None
    """Folder of soft labels (class probabilities of a segmentation teacher), written by `blitznet data soft-label`.
    Default: none."""
    repeat_threshold: float | None = None
    """Repeat images with classes that occur in less than this fraction of the images (repeat-factor sampling, LVIS).
    Images with and without masks are counted separately. Default: no repetition."""
    drop_leaks: bool = False
    """Leave images of the evaluation sets out of the training sets. Default: stop with an error on such images."""
    allow_leaks: bool = False
    """Train on images of the evaluation sets. Default: stop with an error on such images."""
    holdout: float = 0.0
    """Fraction of the training images to leave out, chosen by a hash of the image id. Default: 0."""

    model: str = "blitznet300-lite"
    """Model name, or a .safetensors file with --init model. Default: blitznet300-lite."""
    init: Init = "encoder"
    """Initial weights. random; encoder: pretrained encoder, and SSDLite heads if the model has an SSD head; ssdlite: as
    encoder, with the output layers of the detection head at 0, so the model starts as SSDLite; model: all weights of
    --model. Default: encoder."""
    imgsz: tuple[int, int] | None = None
    """Input size in pixels: one number for a square, or height and width. Default: the model's size."""
    tasks: tuple[Task, ...] = ("detection", "segmentation")
    """Tasks to train. Default: detection segmentation."""
    encoder: str | None = None
    """Replace the model's encoder: efficientnet-lite0, efficientnet-lite2, resnet18, resnet34, resnet50,
    resnet50-caffe or resnet101. Default: the model's encoder."""
    encoder_weights: Path | None = None
    """State dict of the encoder, for encoders without weights in the package. Caffe's ResNet-50 may expect BGR from 0
    to 255, as its public files do: its first kernel is then converted. Default: the package's file."""
    anchor_scales: tuple[float, float, float] | None = None
    """Anchor sizes of the finest, second and coarsest map, as fractions of the image. Use smaller fractions with a
    larger --imgsz. Default: the model's scales."""
    fusion: Fusion | None = None
    """Fusion block of the upscale stream (Table 8 of the paper). Default: the model's block."""

    steps: int = 2000
    """Number of optimizer steps. Default: 2000."""
    epochs: int | None = None
    """Passes over the training images, in place of --steps; a set's sample_weight and --repeat-threshold change how
    often a pass has an image. Default: use --steps."""
    batch: int = 16
    """Images per step, over all processes. auto: the largest power of two that fits --batch-memory; the learning rate
    stays as it is. Default: 16."""
    batch_memory: float = 0.6
    """Share of the free memory that --batch auto may use. Default: 0.6."""
    accumulate: int = 1
    """Split a batch into this many forward passes to save memory. Default: 1."""
    optimizer: Optimizer = "adamw"
    """adam: as the paper, with L2 regularization; adamw: with decoupled weight decay; sgd: Nesterov momentum 0.9.
    Default: adamw."""
    lr: float = 1.2e-3
    """Peak learning rate. Default: 0.0012."""
    encoder_lr_mult: float = 1.0
    """Learning rate of the modules in --encoder-lr-modules, as a multiple of --lr. Default: 1."""
    schedule: Schedule = "cosine"
    """multistep: multiply the learning rate by 0.1 after each of --milestones; cosine: decay to --final-lr-mult.
    Default: cosine."""
    milestones: tuple[int, ...] = ()
    """Steps after which schedule multistep multiplies the learning rate by 0.1. Default: none."""
    final_lr_mult: float = 0.01
    """Learning rate at the end of schedule cosine, as a multiple of --lr. Default: 0.01."""
    warmup: int = 0
    """Steps of linear warm-up. Default: 0."""
    weight_decay: float = 5e-4
    """Weight decay of convolution kernels; biases and norms have none. Default: 0.0005."""
    clip_grad: float | None = None
    """Clip gradients to this norm. Default: no clipping."""
    ema: float | None = None
    """Decay of the weights' moving average (EMA), which is then evaluated and saved. Default: no average."""

    policy: PolicyName = "ssd"
    """Augmentation policy; lsj is large-scale jitter. Default: ssd."""
    mosaic: float = 0.0
    """Probability that an image becomes a mosaic of four with the same annotated classes. Default: 0."""
    copy_paste: float = 0.0
    """Probability that one to three objects with their masks are pasted onto an image, rare classes more often.
    Default: 0."""

    segmentation_weight: float = 1.0
    """Weight of the segmentation loss. Default: 1."""
    soft_label_weight: float = 1.0
    """Weight of the KL divergence from --soft-labels. Default: 1."""
    box_segmentation_weight: float | None = None
    """Weight of a loss that teaches the class map from boxes, for classes that have boxes and no masks in an image: no
    pixel outside, and some in every row and column of a box (BoxInst). Default: class maps learn from masks only."""
    mask_stride: int | None = None
    """Stride of the class maps of the segmentation loss, in pixels; the logits are resized to it. Default: the
    stride of the model's segmentation logits."""
    distillation: float | None = None
    """Weight of the distance from the predictions of the pretrained SSDLite: KL divergence of class scores, smooth L1
    of box offsets. Default: no distillation."""
    distillation_every: int = 1
    """Distill SSDLite in every n-th step, with n times the weight, because the teacher takes time. Default: 1."""
    keep: bool = False
    """Learn the classes of --data and keep those of --model. The initial model is the teacher of its classes that the
    data does not annotate; all batch norms keep their running statistics. Needs --init model. Default: learn only the
    classes of --data."""
    keep_weight: float = 1.0
    """Weight of the losses against the teacher of --keep. Default: 1."""

    out: Path = Path("runs/train")
    """Run folder; an interrupted run in it is resumed. Default: runs/train."""
    loggers: tuple[LoggerName, ...] = ("tensorboard",)
    """Experiment trackers besides log.jsonl: tensorboard, mlflow, wandb. Default: tensorboard."""
    log_every: int = 10
    """Steps between log lines. Default: 10."""
    eval_every: int | None = None
    """Steps between evaluations. Default: evaluate at the end only."""
    patience: int | None = None
    """Stop after this many evaluations without a better score than that of best.safetensors. Needs --val and
    --eval-every. Default: train all steps."""
    save_every: int = 250
    """Steps between resumable checkpoints. Default: 250."""

    frozen_stages: int = 0
    """Number of encoder stages, from the stem to the map at stride 4, 8, 16 ..., to keep unchanged. Default: 0."""
    freeze: tuple[ModuleName, ...] = ()
    """Modules to keep unchanged, with their batch norm statistics. Default: none."""
    train_only: tuple[ModuleName, ...] = ()
    """Modules to train; all others are frozen. Default: all."""
    freeze_bn: tuple[str, ...] = ()
    """Modules whose batch norms keep their running statistics, such as encoder or detection.class_features; or all.
    Default: none."""
    encoder_lr_modules: tuple[str, ...] = ("encoder", "downscale")
    """Modules that --encoder-lr-mult applies to, such as encoder or detection.logits.1. Default: encoder downscale."""
    match_original: bool = False
    """Match the original implementation: mine negatives over the batch, give a contested anchor to the first object,
    resize maps as TensorFlow 1 and by nearest neighbor. Default: follow the paper."""
    precision: TrainPrecision = "float32"
    """Precision of the forward and backward pass; weights stay float32. Default: float32."""
    compile: bool = False
    """Compile the network with torch.compile. Default: no."""
    workers: int = 1
    """Data loader processes. Default: 1."""
    cache: CacheKind = "none"
    """Keep decoded images: ram, in memory that the workers share; disk, in a file in --out. Samples are the same.
    Default: none."""
    cache_size: float = 4.0
    """Limit of --cache in GB, over all processes; at most half of what is free is used. Default: 4."""
    threads: int | None = None
    """Threads of torch. Default: one per core."""
    device: str = "auto"
    """cpu, cuda or auto. Default: auto."""
    seed: int = 0
    """Seed of weights, sample order and augmentation. Default: 0."""

    def __post_init__(self) -> None:
        require_field_types(self, option_error)
        for name, minimum in _MINIMUM.items():
            value = getattr(self, name)
            is_auto = name == "batch" and value == AUTO_BATCH
            if value is not None and not value >= minimum and not is_auto:
                raise UsageError(f"{_flag(name)}: expected {minimum} or more, got {value}")
        for name in (
            "lr",
            "encoder_lr_mult",
            "repeat_threshold",
            "clip_grad",
            "box_segmentation_weight",
            "distillation",
            "keep_weight",
            "cache_size",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{_flag(name)}: expected a number above 0, got {value}{_HINTS.get(name, '')}")
        for name in ("mosaic", "copy_paste"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{_flag(name)}: expected a probability from 0 to 1, got {getattr(self, name)}")
        if not 0 < self.batch_memory <= 1:
            raise UsageError(f"--batch-memory: expected a share above 0 up to 1, got {self.batch_memory}")
        if not 0 <= self.holdout < 1:
            raise UsageError(f"--holdout: expected a fraction from 0 to below 1, got {self.holdout}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UsageError(f"--ema: expected a decay between 0 and 1, got {self.ema}")
        if self.batch != AUTO_BATCH and self.batch % self.accumulate:
            raise UsageError(f"--batch {self.batch}: expected a multiple of --accumulate {self.accumulate}")
        if self.imgsz is not None and min(self.imgsz) < 1:
            raise UsageError(f"--imgsz: expected sizes of 1 pixel or more, got {_words(self.imgsz)}")
        scales = self.anchor_scales
        if scales is not None and not (len(scales) == _SCALES and 0 < scales[0] < scales[1] < scales[2]):
            raise UsageError(
                f"--anchor-scales: expected three increasing fractions such as 0.1 0.2 0.95, got {_words(scales)}"
            )
        if self.freeze and self.train_only:
            raise UsageError("--freeze, --train-only: expected one of them, got both; remove one")
        if self.box_segmentation_weight is not None and "segmentation" not in self.tasks:
            raise UsageError("--box-segmentation-weight: expected segmentation in --tasks, got detection only")
        if self.keep:
            self._require_teacher()
        if self.patience is not None and (not self.val or self.eval_every is None):
            missing = " and ".join(
                flag
                for flag, missing in (("--val", not self.val), ("--eval-every", self.eval_every is None))
                if missing
            )
            raise UsageError(f"--patience {self.patience}: expected evaluations during the run; add {missing}")

    def _require_teacher(self) -> None:
        """Raise UsageError unless the initial model can teach its classes."""
        if self.init != "model":
            raise UsageError(f"--keep: expected --init model, a model with classes to keep, got --init {self.init}")
        if self.anchor_scales is not None:
            raise UsageError("--keep: expected the anchors of --model, got --anchor-scales; remove one")
        if self.distillation is not None:
            raise UsageError("--keep, --distillation: expected one teacher, got both; remove one")

    @property
    def freezes_all_bn(self) -> bool:
        """Whether all batch norms keep their running statistics."""
        return self.keep or "all" in self.freeze_bn

    def resolve_root(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """The texts of datasets with {root} replaced."""
        return tuple(text.replace("{root}", str(self.root)) for text in texts)

    def to_json(self) -> str:
        """Indented JSON of all fields."""
        return json.dumps(
            {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}, indent=2
        )

    def conflicts(self, stored: str) -> tuple[str, ...]:
        """Options with which this config would train differently from a stored one.

        Options of length, speed, paths and reporting may differ. Fields that the stored config lacks have their
        defaults.

        Args:
            stored: A config as written by `to_json`.

        Returns:
            Texts such as `--lr 0.1, was 0.2`.
        """
        before = {field.name: _plain(field.default) for field in dataclasses.fields(self)} | json.loads(stored)
        changes_training = self.drop_leaks or any(map(_is_fraction, (*self.val, *before["val"])))
        ignored = _RESUMABLE - {"val"} if changes_training else _RESUMABLE
        return tuple(
            f"{_flag(name)} {json.dumps(value)}, was {json.dumps(before[name])}"
            for name, value in json.loads(self.to_json()).items()
            if name not in ignored and value != before[name]
        )


OPTION_GROUPS: dict[OptionGroup, tuple[str, ...]] = {
    "data": (
        *("data", "val", "root", "class_names", "pseudo_masks", "soft_labels", "repeat_threshold"),
        *("drop_leaks", "allow_leaks", "holdout"),
    ),
    "model": ("model", "init", "keep", "imgsz", "tasks", "encoder", "encoder_weights", "anchor_scales", "fusion"),
    "schedule": (
        *("steps", "epochs", "batch", "batch_memory", "accumulate", "optimizer", "lr", "encoder_lr_mult", "schedule"),
        *("milestones", "final_lr_mult", "warmup", "weight_decay", "clip_grad", "ema"),
    ),
    "augmentation": ("policy", "mosaic", "copy_paste"),
    "loss": (
        "segmentation_weight",
        "soft_label_weight",
        "box_segmentation_weight",
        "mask_stride",
        "distillation",
        "distillation_every",
        "keep_weight",
    ),
    "logging": ("out", "loggers", "log_every", "eval_every", "patience", "save_every"),
    "advanced": (
        *(
            "frozen_stages",
            "freeze",
            "train_only",
            "freeze_bn",
            "encoder_lr_modules",
            "match_original",
            "precision",
            "compile",
        ),
        *("workers", "cache", "cache_size", "threads", "device", "seed"),
    ),
}
"""all fields by the group that `blitznet train --help-all` shows them in"""

BASIC_OPTIONS = ("data", "val", "root", "model", "imgsz", "epochs", "steps", "batch", "lr", "device", "out")
"""the fields that `blitznet train --help` shows"""

_SCALES = 3
_MINIMUM = {
    "steps": 1,
    "epochs": 1,
    "batch": 1,
    "accumulate": 1,
    "warmup": 0,
    "workers": 0,
    "threads": 1,
    "save_every": 1,
    "eval_every": 1,
    "patience": 1,
    "log_every": 1,
    "frozen_stages": 0,
    "distillation_every": 1,
    "seed": 0,
}
"""minimum values of integer fields"""
_HINTS = {"encoder_lr_mult": "; to keep the encoder unchanged use --freeze encoder downscale"}

_RESUMABLE = {
    *("steps", "epochs", "workers", "threads", "save_every", "eval_every", "log_every", "loggers", "out"),
    *("patience", "device", "root", "val", "allow_leaks", "cache", "cache_size", "batch_memory"),
}
"""fields that may change when a run is resumed"""


def _is_fraction(text: str) -> bool:
    """Whether an evaluation set is a fraction of the training images."""
    return text.replace(".", "", 1).isdigit()


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _words(values: tuple[float, ...]) -> str:
    return " ".join(map(str, values))


def _plain(value: Any) -> Any:
    """A field's value as JSON returns it."""
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
