"""TrainConfig: everything a training run is told, in one frozen value.

A recipe gives a complete one; the command line replaces fields; the run folder keeps what was used.
The strings under the fields are the command line's help.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from blitznet.core.errors import UsageError
from blitznet.core.spec import Fusion, Task
from blitznet.train.loggers import LoggerName

Optimizer = Literal["adam", "adamw", "nesterov"]
Schedule = Literal["drops", "cosine"]
Precision = Literal["float32", "bfloat16"]
PolicyName = Literal["ssd", "blitznet", "light", "strong", "plain"]
Start = Literal["random", "encoder", "model"]
Part = Literal["encoder", "downscale", "upscale", "detection", "ssd_head", "segmentation", "detection_prior"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything a training run is told."""

    model: str = "blitznet300-lite"
    """a named model to build, or a model file to go on from"""
    start: Start = "encoder"
    """weights to begin with: random; the encoder's published ones; the whole of `model`"""
    encoder_weights: Path | None = None
    """the encoder's state dict where the package brings none (torchvision, Caffe ResNet-50 ...)"""
    data: tuple[str, ...] = ()
    """training sets, FORMAT:ROOT@SPLIT,option=value+value"""
    val: tuple[str, ...] = ()
    """evaluation sets, same form"""
    root: Path = Path("data")
    """folder that {root} in the sets of a recipe stands for"""
    classes: tuple[str, ...] = ()
    """classes to learn; none: those of the model, or of the data when fine-tuning"""
    tasks: tuple[Task, ...] = ("detection", "segmentation")
    """what to learn"""
    encoder: str | None = None
    """another encoder than the model's: efficientnet-lite0, efficientnet-lite2, resnet18, 34, 50, 50-caffe, 101"""
    size: int = 0
    """side of the network's input in pixels, 0: the model's"""
    anchors: tuple[float, ...] = ()
    """sides of the finest, the second and the last map's anchors, as shares of the image; none: the model's. At a
    larger size smaller shares keep a thing as many pixels as its map was taught"""
    side: bool = False
    """add class logits from the downscale stream, begun with SSDLite's own predictors where its encoder is"""
    ssdlite: bool = False
    """predict on SSDLite's own maps and anchors and begin with its whole head, boxes and classes; what came from there
    learns at the encoder's rate and keeps its batch norms' statistics"""
    guide: bool = False
    """let the class logits of boxes have a say in the class map"""
    taps: int = 0
    """width of what the class map takes straight from the encoder's two coarsest maps, in a network without; 0: as the
    model has it"""
    presence: float = 0.0
    """how often a learned class map counts how likely boxes make each class anywhere; 0: as the model has it"""
    learn: tuple[Part, ...] = ()
    """parts that learn, the others stay as they are with their batch norms' statistics; none: all of them"""
    recall: float = 0.0
    """share of the encoder's published weights in what `--start model` begins with: what fine-tuning washed out"""
    pseudo: Path | None = None
    """folder of class maps that a teacher painted, for images without a mask"""
    fusion: Fusion | None = None
    """fusion block of the upscale stream, where it differs from the model's (Table 8)"""
    allow_leaks: bool = False
    """train even though images of the evaluation sets are among the training sets"""
    drop_leaks: bool = False
    """leave images of the evaluation sets out of the training sets"""
    holdout: float = 0.0
    """share of the training images kept back by a hash of their id"""

    steps: int = 2000
    """updates of the weights"""
    batch: int = 16
    """images an update"""
    accumulate: int = 1
    """parts a batch is cut into when memory is short"""
    optimizer: Optimizer = "adamw"
    """adam: the paper's, decay coupled; adamw: decay on its own; nesterov: momentum 0.9"""
    lr: float = 1.2e-3
    """highest learning rate"""
    encoder_lr: float = 1.0
    """the encoder's and downscale stream's learning rate as a share of `lr`; 0: they stay as they are, and a step
    takes about half as long"""
    weight_decay: float = 5e-4
    """on convolution kernels only"""
    schedule: Schedule = "cosine"
    """drops: x0.1 after each of `drops`; cosine: one half wave down to `final_lr`"""
    drops: tuple[int, ...] = ()
    """steps after which the learning rate falls to a tenth"""
    final_lr: float = 0.01
    """share of `lr` at the end of the cosine"""
    warmup: int = 0
    """steps of linear rise to `lr`"""
    clip: float = 0.0
    """largest norm of the gradient, 0: not clipped"""
    ema: float = 0.0
    """decay of the averaged weights that are evaluated and kept, 0: none"""
    freeze_statistics: bool = False
    """batch norms keep their running statistics"""
    policy: PolicyName = "ssd"
    """augmentation"""
    repeat: float = 0.0
    """repeat-factor sampling: classes in a smaller share of the images are shown more often, 0: off;
    images with and without a mask are counted apart, for a class may be common in boxes and rare in masks"""
    segmentation_weight: float = 1.0
    """of the class map's loss in the sum; the paper's is 1"""
    distillation: float = 0.0
    """weight of the difference to what SSDLite's class predictors say of the same image, 0: off"""
    release: bool = False
    """as the authors' release did: negatives mined over the batch, the first object wins an anchor, maps resized by
    TensorFlow 1's rule and by nearest neighbours"""

    precision: Precision = "float32"
    """of the forward and backward pass; weights stay float32"""
    compile: bool = False
    """torch.compile the network"""
    workers: int = 1
    """processes that prepare samples"""
    threads: int = 0
    """threads of torch, 0: one a core"""
    device: str = "auto"
    """cpu, cuda or auto"""
    seed: int = 0
    """of weights, order and augmentation"""
    save_every: int = 250
    """steps between resumable checkpoints"""
    eval_every: int = 0
    """steps between evaluations, 0: at the end only"""
    log_every: int = 10
    """steps between lines of the log"""
    report: tuple[LoggerName, ...] = ("tensorboard",)
    """who hears of losses and scores besides the run's own log: tensorboard, mlflow, wandb"""
    out: Path = Path("runs/train")
    """run folder; a run that is there goes on where it was"""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if not getattr(self, name) >= least:
                raise UsageError(f"--{name.replace('_', '-')} must be {least} or more, got {getattr(self, name)}")
        if self.batch % self.accumulate:
            raise UsageError(f"--batch {self.batch} must be a multiple of --accumulate {self.accumulate}")
        if not self.lr > 0:
            raise UsageError(f"--lr must be above 0, got {self.lr}")
        if self.anchors and not (
            len(self.anchors) == _SIDES and 0 < self.anchors[0] < self.anchors[1] < self.anchors[2]
        ):
            actual = " ".join(map(str, self.anchors))
            raise UsageError(f"--anchors must be three sides above 0 that grow, as 0.1 0.2 0.95, got {actual}")
        for name in ("ema", "holdout", "recall"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"--{name} must lie in 0..1, got {getattr(self, name)}")

    def sources(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Data-set texts with {root} replaced."""
        return tuple(text.replace("{root}", str(self.root)) for text in texts)

    def to_json(self) -> str:
        """Readable JSON of every field."""
        return json.dumps(self._plain(), indent=2)

    def conflicts(self, written: str) -> tuple[str, ...]:
        """Fields in which this config and the `written` one (JSON) would not train the same: `--lr 0.1, was 0.2`.

        How long, how fast, where and how often watched may change. What the file does not name has its default.
        """
        before = {field.name: _plain(field.default) for field in dataclasses.fields(self)} | json.loads(written)
        free = _FREE - {"val"} if self.drop_leaks else _FREE
        return tuple(
            f"--{name.replace('_', '-')} {json.dumps(value)}, was {json.dumps(before[name])}"
            for name, value in json.loads(self.to_json()).items()
            if name not in free and value != before[name]
        )

    def _plain(self) -> dict[str, Any]:
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


_SIDES = 3
_LEAST = {
    "steps": 1,
    "batch": 1,
    "accumulate": 1,
    "warmup": 0,
    "workers": 0,
    "threads": 0,
    "encoder_lr": 0,
    "save_every": 1,
    "eval_every": 0,
    "size": 0,
    "taps": 0,
    "presence": 0,
    "log_every": 1,
    "seed": 0,
}
"""the least value of each number that has one"""

_FREE = {
    *("steps", "workers", "threads", "save_every", "eval_every", "log_every", "report", "out", "device"),
    *("root", "val", "allow_leaks"),
}
"""fields that may change when a run goes on: what was learned so far stays what it is"""


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
