"""Our networks as files, in the precisions there are: what is in the package, what was trained, or random weights."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from blitznet.api import WEIGHTS, find_model
from blitznet.core.image import ImageSource
from blitznet.core.models import MODELS, get_spec
from blitznet.core.spec import Spec
from blitznet.export.onnx import export_onnx
from blitznet.export.quantize import quantize_onnx
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.model_files import load_model
from contenders import pinned

_BACKGROUND = 6.0
"""added to its logit in a random network"""


def files_of(model: str, folder: Path, images: Sequence[ImageSource]) -> Iterator[tuple[Path, Spec]]:
    """ONNX files of a model with their contracts: float32, bfloat16 and int8, the package's or calibrated on images.

    model: a name, whose weights are random if the package has none, an ONNX file, which stands for itself, or a
    safetensors file or run folder.
    """
    if model in MODELS:
        weights, ready = WEIGHTS / f"{model}.safetensors", WEIGHTS / f"{model}.onnx"
    else:
        weights, ready = find_model(model), find_model(model)
    if ready.suffix == ".onnx" and ready.is_file():
        spec = contract(ready)
        if spec.precision == "int8" or model not in MODELS:
            yield ready, spec
            images = ()
        if model not in MODELS:
            return
    net, spec = load_model(weights) if weights.is_file() else (random_network(get_spec(model)), get_spec(model))
    plain = replace(spec, precision="float32")
    yield from write(net, plain, folder)
    if images:
        small = folder / f"{spec.name}-int8.onnx"
        quantize_onnx(folder / f"{spec.name}-float32.onnx", small, [image.resize(spec.size) for image in images], plain)
        yield small, replace(spec, precision="int8")


def write(net: torch.nn.Module, spec: Spec, folder: Path) -> Iterator[tuple[Path, Spec]]:
    """The network as a float32 file and the same pinned to bfloat16."""
    file, small = folder / f"{spec.name}-float32.onnx", folder / f"{spec.name}-bfloat16.onnx"
    export_onnx(net, spec, file)
    yield file, spec
    yield pinned(file, "bfloat16", small), replace(spec, precision="bfloat16")


def contract(file: Path) -> Spec:
    """The contract in an ONNX file."""
    from blitznet.runtime.onnx_engine import OnnxEngine

    return OnnxEngine(file, 1).spec


def random_network(spec: Spec) -> BlitzNet:
    """A network with random weights that sees background nearly everywhere, as a trained one does.

    Otherwise every anchor would pass for every class, and what comes after the network would take longest.
    """
    torch.manual_seed(0)
    net = build(spec)
    with torch.no_grad():
        for layer in net.detection.class_layers() if net.detection is not None else ():
            if layer.bias is not None:
                layer.bias.view(-1, spec.num_channels)[:, 0] += _BACKGROUND
    return net.eval()
