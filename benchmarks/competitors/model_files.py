"""ONNX files in every precision: blitznet's packaged, trained or random models, and the competitors' int8 files."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.competitors.networks import PEERS, Arrays, Competitor, CompetitorPredictor, Setup
from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from blitznet.core.model_paths import find_model, find_weights
from blitznet.core.models import MODELS, get_spec
from blitznet.core.packaged_files import packaged_hashes
from blitznet.core.spec import Precision, Spec
from blitznet.export.onnx import to_onnx, write_onnx
from blitznet.export.quantize import quantize_onnx
from blitznet.export.rewrite import rewrite
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.model_files import load_model

_BACKGROUND_LOGIT = 6.0
"""added to the background logits of a random network"""
_OPSET = 13
"""the first opset whose QuantizeLinear has a scale for each channel"""


def model_files(model: str, folder: Path, images: Sequence[ImageSource]) -> Iterator[tuple[Path, Spec]]:
    """ONNX files of a blitznet model with their specs: float32, bfloat16 and int8.

    Args:
        model: Model name, whose weights are random if the package has none; an ONNX file, which is used as it is;
            a .safetensors file or a run folder.
        folder: Folder for new files.
        images: Calibration data of the int8 file, unless the package has one; empty for no int8 file.
    """
    has_weights = model not in MODELS or f"{model}.onnx" in packaged_hashes()
    packaged = find_model(model) if has_weights else None
    if packaged is not None and packaged.suffix == ".onnx":
        spec = onnx_spec(packaged)
        if spec.precision == "int8" or model not in MODELS:
            yield packaged, spec
            images = ()
        if model not in MODELS:
            return
    net, spec = load_model(find_weights(model)) if has_weights else (random_network(get_spec(model)), get_spec(model))
    float_spec = replace(spec, precision="float32")
    yield from _float_files(net, float_spec, folder)
    if images:
        file = folder / f"{spec.name}-int8.onnx"
        inputs = [image.resize(spec.size) for image in images]
        quantize_onnx(folder / f"{spec.name}-float32.onnx", file, inputs, float_spec)
        yield file, replace(spec, precision="int8")


def _float_files(net: torch.nn.Module, spec: Spec, folder: Path) -> Iterator[tuple[Path, Spec]]:
    """The network as a float32 file, and a copy to run in bfloat16."""
    file, copy = folder / f"{spec.name}-float32.onnx", folder / f"{spec.name}-bfloat16.onnx"
    write_onnx(to_onnx(net, spec), spec, file)
    yield file, spec
    yield with_precision(file, "bfloat16", copy), replace(spec, precision="bfloat16")


def with_precision(file: Path, precision: Precision, out: Path) -> Path:
    """Copy an ONNX file of blitznet with another precision in its spec."""
    rewrite(file, replace(onnx_spec(file), precision=precision), out)
    return out


def onnx_spec(file: Path) -> Spec:
    """The spec in an ONNX file."""
    from blitznet.runtime.onnx_engine import OnnxEngine

    return OnnxEngine(file, 1).spec


def random_network(spec: Spec) -> BlitzNet:
    """A network with random weights that predicts background nearly everywhere, like a trained one.

    Otherwise every anchor would pass the score threshold for every class, and postprocessing would take longest.
    """
    torch.manual_seed(0)
    net = build(spec)
    with torch.no_grad():
        for layer in net.detection.class_layers() if net.detection is not None else ():
            if layer.bias is not None:
                layer.bias.view(-1, spec.num_channels)[:, 0] += _BACKGROUND_LOGIT
    return net.eval()


def quantize_competitor(competitor: Competitor, images: Sequence[RGBArray], out: Path, folder: Path = PEERS) -> Path:
    """Quantize a competitor to int8 with onnxruntime: QDQ, unsigned activations, signed kernels per channel.

    Args:
        competitor: The network.
        images: Calibration data, (H, W, 3) uint8 RGB.
        out: File to write.
        folder: Folder of the competitors.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    inputs = _inputs(CompetitorPredictor(competitor, Setup("onnxruntime", "float32", 1), folder), images)

    class Reader(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
        def get_next(self) -> Arrays | None:
            return next(inputs, None)

    folded = _fold_constants(folder / competitor.file, out.with_suffix(".folded.onnx"))
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it recommends preprocessing that is already done
    try:
        quantize_static(
            folded,
            out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["Conv", "Add", "Concat", "MaxPool", "Relu", "Clip"],
        )
    finally:
        logging.getLogger().setLevel(level)
    return out


def _inputs(predictor: CompetitorPredictor, images: Sequence[RGBArray]) -> Iterator[Arrays]:
    """The network's input for each image."""
    for image in images:
        predictor(image)
        yield predictor.session.last_input


def _fold_constants(file: Path, out: Path) -> Path:
    """Copy the network with constants folded; quantization ignores float16 kernels behind a Cast."""
    import onnx
    import onnxruntime
    from onnx import version_converter

    model = onnx.load(file)
    if model.opset_import[0].version < _OPSET:
        model = version_converter.convert_version(model, _OPSET)
    onnx.save(model, out)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(out, options, providers=["CPUExecutionProvider"])
    return out
