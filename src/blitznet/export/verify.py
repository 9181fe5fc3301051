"""Verification that an exported file computes what the network computes; a file that does not is deleted."""

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
from blitznet.export.ncnn import GRAPH_SUFFIX, NcnnEngine
from blitznet.nets.deploy import Deployed, output_names
from blitznet.nets.postprocess import EndToEnd, nms_output_names
from blitznet.nets.program_engine import PROGRAM_SUFFIX, ProgramEngine
from blitznet.postprocess.result import Result
from blitznet.runtime.engine import Engine
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.openvino_engine import SUFFIX as OPENVINO_SUFFIX
from blitznet.runtime.openvino_engine import OpenVinoEngine
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.preprocess import preprocess_batch

MAX_RAW_DIFFERENCE = 1e-4
"""largest difference of float32's raw outputs, in standard deviations of the output"""
MAX_BOX_DIFFERENCE, MAX_SCORE_DIFFERENCE = 0.5, 1e-3
"""largest differences of float32's detections: box coordinates in pixels, and scores"""
MIN_MATCHED_DETECTIONS = 0.97
"""fraction of detections that must have a match"""
MIN_EQUAL_PIXELS: dict[Precision, float] = {"float32": 0.999, "bfloat16": 0.99, "int8": 0.98}
"""fraction of class-map pixels that must have the same class"""
NUM_VERIFY_IMAGES: dict[Precision, int] = {"float32": 20, "bfloat16": 100, "int8": 100}
"""images to compare a file and its network on; rounded files need more for a stable fraction"""


@dataclass(frozen=True, slots=True)
class ParityCheck:
    """One measured agreement and its limit."""

    name: str
    value: float
    limit: float | None = None
    """None: reported only"""
    is_minimum: bool = False
    """whether the limit is a minimum fraction; otherwise it is a maximum difference"""

    @property
    def excess(self) -> float:
        """Difference as a multiple of the allowed one; the check fails above 1."""
        if self.limit is None:
            return 0.0
        excess = (1 - self.value) / (1 - self.limit) if self.is_minimum else self.value / self.limit
        return excess if np.isfinite(excess) else np.inf  # not a number is a failure

    def __str__(self) -> str:
        kind = "at least" if self.is_minimum else "at most"
        expected = "" if self.limit is None else f"expected {kind} {self.limit:.4g}, got "
        return f"{self.name}: {expected}{self.value:.4g}"


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Agreement of two engines over some images."""

    checks: tuple[ParityCheck, ...]

    def worst_failure(self) -> ParityCheck | None:
        """The failed check with the largest excess; None if all passed."""
        worst = max(self.checks, key=lambda check: check.excess)
        return worst if worst.excess > 1 else None


class EagerEngine:
    """Runs a network in memory by torch, in float32: the reference for every exported file."""

    name = "torch"

    def __init__(self, net: nn.Module, spec: Spec, *, nms: bool = False) -> None:
        self.spec = spec
        deployed = Deployed(net, spec)
        self._module = (EndToEnd(deployed, spec) if nms else deployed).cpu().eval()
        self._names = nms_output_names(spec) if nms else output_names(spec)

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        """Outputs for images (B, h, w, 3) uint8 RGB."""
        with torch.inference_mode():
            arrays = (tensor.numpy() for tensor in self._module(torch.from_numpy(images)))
            return outputs_from(dict(zip(self._names, arrays, strict=True)), source=self.spec.name)


def verify(
    path: Path,
    net: nn.Module,
    spec: Spec,
    images: Sequence[ImageSource],
    *,
    nms: bool = False,
    strict: bool = True,
    hint: str = "keep such a file with --allow-accuracy-drop",
) -> ParityReport:
    """Compare a file, on the engine that it is meant for, with the network that it was exported from.

    In float32, raw outputs must agree to 1e-4 of their standard deviation, boxes to 0.5 pixels, scores to 1e-3 and
    class maps on 99.9 % of the pixels. In lower precisions, 97 % of the detections with a score of at least 0.3 must
    match, and class maps must agree on 99 % (bfloat16) or 98 % (int8) of the pixels.

    Args:
        path: The file. It is deleted if the verification fails.
        net: The network.
        spec: The spec of the file.
        images: Images to compare on.
        nms: Whether post-processing is inside the file.
        strict: Whether a file of lower precision can fail. float32 always can.
        hint: What to do about a file of lower precision that differs, for the error.

    Raises:
        ModelError: The file differs from the network, has another spec or cannot be opened.
    """
    try:
        engine = engine_for(path, spec)
        if engine.spec != spec:
            raise ModelError(f"{path}: expected the network's spec in the file, got another; the file was deleted")
        report = compare(EagerEngine(net, spec, nms=nms), engine, images)
        failure = report.worst_failure()
        exact = spec.precision == "float32"
        if failure is not None and (strict or exact):
            advice = "" if exact else f"; {hint}"
            raise ModelError(f"{path}: outputs differ from the network's; {failure}; the file was deleted{advice}")
    except Exception:
        path.unlink(missing_ok=True)
        raise
    return report


def engine_for(path: Path, spec: Spec) -> Engine:
    """The engine that a file is meant for, which computes in the spec's precision."""
    if path.suffix == PROGRAM_SUFFIX:
        return ProgramEngine(path)
    if path.suffix == GRAPH_SUFFIX:
        return NcnnEngine(path, spec)
    if path.suffix == OPENVINO_SUFFIX or spec.precision == "bfloat16":
        return OpenVinoEngine(path)
    return OnnxEngine(path)


def compare(reference: Engine, engine: Engine, image_sources: Sequence[ImageSource]) -> ParityReport:
    """Compare the outputs of two engines.

    Args:
        reference: The engine to compare with.
        engine: The engine to check; its precision selects the limits.
        image_sources: Images to run both on.
    """
    raw_differences: dict[str, float] = {}
    agreement = Agreement()
    for image in image_sources:
        pixels = preprocess_batch([image], reference.spec)
        expected, actual = reference.run(pixels), engine.run(pixels)
        if isinstance(expected, Outputs) and isinstance(actual, Outputs):
            for name in output_names(reference.spec):
                difference = _raw_difference(expected, actual, name)
                raw_differences[name] = max(raw_differences.get(name, 0.0), difference)
        agreement.add(_to_result(reference.spec, expected, image), _to_result(engine.spec, actual, image))
    return ParityReport(_checks(raw_differences, agreement, engine.spec))


def _checks(raw_differences: dict[str, float], agreement: Agreement, spec: Spec) -> tuple[ParityCheck, ...]:
    exact = spec.precision == "float32"
    checks = [
        ParityCheck(f"{name}: largest difference / standard deviation", value, MAX_RAW_DIFFERENCE if exact else None)
        for name, value in raw_differences.items()
    ]
    if "detection" in spec.tasks:
        boxes, scores = agreement.max_box_difference, agreement.max_score_difference
        checks += [
            ParityCheck("boxes: largest difference in pixels", boxes, MAX_BOX_DIFFERENCE if exact else None),
            ParityCheck("scores: largest difference", scores, MAX_SCORE_DIFFERENCE if exact else None),
            ParityCheck(
                "detections: matched fraction", agreement.matched_detections, MIN_MATCHED_DETECTIONS, is_minimum=True
            ),
        ]
    if "segmentation" in spec.tasks:
        minimum = MIN_EQUAL_PIXELS[spec.precision]
        checks.append(
            ParityCheck("class map: fraction of equal pixels", agreement.equal_pixels, minimum, is_minimum=True)
        )
    return tuple(checks)


@dataclass(frozen=True, slots=True)
class _RecordedEngine:
    """An engine that returns given outputs, so that a predictor makes a Result of them."""

    spec: Spec
    outputs: Outputs | NmsOutputs
    name: str = "torch"

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:  # noqa: ARG002 - they were computed before
        """The outputs."""
        return self.outputs


def _to_result(spec: Spec, outputs: Outputs | NmsOutputs, image: ImageSource) -> Result:
    return Predictor(_RecordedEngine(spec, outputs))(image)


def _raw_difference(expected: Outputs, actual: Outputs, name: str) -> float:
    """Largest difference of an output in standard deviations; infinite if it is missing or not a number."""
    a, b = getattr(expected, name), getattr(actual, name)
    if a is None or b is None or a.shape != b.shape:
        return np.inf
    difference = float(np.abs(a - b).max()) / max(float(a.std()), 1e-12)
    return difference if np.isfinite(difference) else np.inf
