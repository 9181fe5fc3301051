"""Proof that a written file answers as the network does; a file that does not is not left behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import ModelError
from blitznet.core.image import ImageSource
from blitznet.core.outputs import NmsOutputs, Outputs, outputs_from
from blitznet.core.spec import Precision, Spec
from blitznet.export.agreement import Agreement
from blitznet.nets.deploy import Deployed, output_names
from blitznet.nets.postprocess import EndToEnd, nms_output_names
from blitznet.nets.program_engine import SUFFIX as PROGRAM
from blitznet.nets.program_engine import ProgramEngine
from blitznet.postprocess.result import Result
from blitznet.runtime.engine import Engine
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.openvino_engine import SUFFIX as OPENVINO
from blitznet.runtime.openvino_engine import OpenVinoEngine
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.preprocess import preprocess_batch

RAW = 1e-4
"""largest difference of float32's raw answers, in standard deviations of the answer"""
PIXELS, SCORE = 0.5, 1e-3
"""largest differences of float32's detections"""
MATCHED = 0.97
"""of the detections, those that have their like in the other's, in lower precisions"""
ALIKE: dict[Precision, float] = {"float32": 0.999, "bfloat16": 0.99, "int8": 0.98}
"""of the class map's pixels, those of the same class"""


@dataclass(frozen=True, slots=True)
class Check:
    """One measured agreement beside its bound."""

    what: str
    value: float
    bound: float | None = None
    """None: told, not judged"""
    least: bool = False
    """whether the bound is the least that will do, a share of 1; else it is the most"""

    @property
    def excess(self) -> float:
        """How many times as far off as is allowed; above 1 is too far."""
        if self.bound is None:
            return 0.0
        off = (1 - self.value) / (1 - self.bound) if self.least else self.value / self.bound
        return off if np.isfinite(off) else np.inf  # not a number is as far as can be

    def __str__(self) -> str:
        bound = "" if self.bound is None else f", expected {'at least' if self.least else 'at most'} {self.bound:.4g}"
        return f"{self.what}: {self.value:.4g}{bound}"


@dataclass(frozen=True, slots=True)
class Parity:
    """How well two engines agree over some images."""

    checks: tuple[Check, ...]

    def worst(self) -> Check | None:
        """The check that fails by most; None if none does."""
        worst = max(self.checks, key=lambda check: check.excess)
        return worst if worst.excess > 1 else None


class Eager:
    """The network as it is in memory, by torch, in float32: what every file is compared with."""

    name = "torch"

    def __init__(self, net: nn.Module, spec: Spec, *, nms: bool = False) -> None:
        self.spec = spec
        deployed = Deployed(net, spec)
        self._module = (EndToEnd(deployed, spec) if nms else deployed).cpu().eval()
        self._names = nms_output_names(spec) if nms else output_names(spec)

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        """Answers to images (B, h, w, 3) uint8 RGB."""
        with torch.inference_mode():
            arrays = (tensor.numpy() for tensor in self._module(torch.from_numpy(images)))
            return outputs_from(dict(zip(self._names, arrays, strict=True)), source=self.spec.name)


def verify(
    path: Path, net: nn.Module, spec: Spec, images: Sequence[ImageSource], *, nms: bool = False, forgive: bool = False
) -> Parity:
    """Compare the file, through the engine meant for it, with the network it was made from, over `images`.

    float32: raw answers must agree within 1e-4 of their deviation, boxes within 0.5 pixels, scores within 1e-3,
    class maps on 99.9 % of the pixels. Lower precisions: 97 % of the clear boxes must have their like among the
    other's, and class maps agree on 99 % (bfloat16) or 98 % (int8).
    Raises ModelError naming the largest difference where they do not, and deletes the file; with `forgive` only
    what should be exact is judged so, float32.
    """
    try:
        written = engine_for(path, spec)
        if written.spec != spec:
            raise ModelError(f"{path}: the contract in the file is not the network's; the file was not kept")
        parity = compare(Eager(net, spec, nms=nms), written, images)
        worst = parity.worst()
        if worst is not None and not (forgive and spec.precision != "float32"):
            way_out = "" if spec.precision == "float32" else ", keep one with --allow-drop"
            raise ModelError(f"{path}: does not answer as the network does, {worst}; the file was not kept{way_out}")
    except Exception:
        path.unlink(missing_ok=True)
        raise
    return parity


def engine_for(path: Path, spec: Spec) -> Engine:
    """The engine a file is meant for: it computes in the contract's precision."""
    if path.suffix == PROGRAM:
        return ProgramEngine(path)
    if path.suffix == OPENVINO or spec.precision == "bfloat16":
        return OpenVinoEngine(path)
    return OnnxEngine(path)


def compare(one: Engine, other: Engine, image_sources: Sequence[ImageSource]) -> Parity:
    """How well `other` agrees with `one`, judged as the precision of `other`'s contract allows."""
    raw: dict[str, float] = {}
    agreement = Agreement()
    for image in image_sources:
        images = preprocess_batch([image], one.spec)
        a, b = one.run(images), other.run(images)
        if isinstance(a, Outputs) and isinstance(b, Outputs):
            for name in output_names(one.spec):
                raw[name] = max(raw.get(name, 0.0), _raw_difference(a, b, name))
        agreement.add(*(_result(engine.spec, given, image) for engine, given in ((one, a), (other, b))))
    return Parity(_checks(raw, agreement, other.spec))


def _checks(raw: dict[str, float], agreement: Agreement, spec: Spec) -> tuple[Check, ...]:
    exact = spec.precision == "float32"
    checks = [Check(f"{name}, in deviations", apart, RAW if exact else None) for name, apart in raw.items()]
    if "detection" in spec.tasks:
        checks += [
            Check("sides of boxes, pixels", agreement.pixels, PIXELS if exact else None),
            Check("scores", agreement.score, SCORE if exact else None),
            Check("share of boxes that have their like", agreement.matched, MATCHED, least=True),
        ]
    if "segmentation" in spec.tasks:
        checks.append(Check("share of pixels of the same class", agreement.alike, ALIKE[spec.precision], least=True))
    return tuple(checks)


@dataclass(frozen=True, slots=True)
class _Answered:
    """An engine that has answered already, so that a predictor can make a Result of it."""

    spec: Spec
    given: Outputs | NmsOutputs
    name: str = "torch"

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:  # noqa: ARG002 - they have been seen
        """The answer."""
        return self.given


def _result(spec: Spec, given: Outputs | NmsOutputs, image: ImageSource) -> Result:
    return Predictor(_Answered(spec, given))(image)


def _raw_difference(a: Outputs, b: Outputs, name: str) -> float:
    one, other = getattr(a, name), getattr(b, name)
    if one is None or other is None or one.shape != other.shape:
        return np.inf
    apart = float(np.abs(one - other).max()) / max(float(one.std()), 1e-12)
    return apart if np.isfinite(apart) else np.inf  # not a number is as far as can be
