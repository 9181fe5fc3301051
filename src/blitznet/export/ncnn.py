"""A network for ncnn: its graph and its weights, converted by pnnx. The only file of this package that imports both.

ncnn has no batch, and its images are planes. So the input `images` is (3, h, w) float32 RGB from 0 to 255, as
`ncnn::Mat::from_pixels` gives it, and the outputs lack the first axis. The files have no metadata.
"""

import subprocess
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import MissingExtra, ModelError
from blitznet.core.files import translate_write_errors
from blitznet.core.outputs import NmsOutputs, Outputs, outputs_from
from blitznet.core.spec import Spec
from blitznet.nets.deploy import PlanarDeployed, output_names
from blitznet.runtime.engine import INPUT_NAME

GRAPH_SUFFIX, WEIGHTS_SUFFIX = ".param", ".bin"
"""of the two files"""
_MAGIC = "7767517"
"""first line of a graph; the second has the numbers of its layers and blobs"""


def write_ncnn(net: nn.Module, spec: Spec, path: Path) -> None:
    """Convert a network by pnnx, and write the graph and, beside it, the weights in float32.

    Args:
        net: The network. It is left in evaluation mode, on the CPU.
        spec: Its spec.
        path: The graph, `.param`.

    Raises:
        MissingExtra: pnnx is not installed.
        ModelError: pnnx or ncnn lacks an operation of the network.
        UsageError: A file cannot be written.
    """
    pnnx = _import("pnnx")
    shape = (1, 3, *spec.size)
    with TemporaryDirectory() as folder:
        _trace(PlanarDeployed(net, spec).cpu().eval(), shape, Path(folder, "net.pt"))
        command = [pnnx.EXEC_PATH, "net.pt", f"inputshape=[{','.join(map(str, shape))}]f32", "fp16=0"]
        process = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        graph, weights = Path(folder, "net.ncnn.param"), Path(folder, "net.ncnn.bin")
        if process.returncode or not graph.is_file():
            lines = [*(process.stdout + process.stderr).decode(errors="replace").splitlines(), ""]
            reason = next(filter(None, reversed(lines)), f"exit code {process.returncode}")
            raise ModelError(f"{path}: expected a network that pnnx can convert, got '{reason}'")
        text = _rename_blobs(graph.read_text(), _blob_names(spec))
        _require_known_layers(text, path)
        with translate_write_errors(path):
            path.write_text(text)
            weights_path(path).write_bytes(weights.read_bytes())


def weights_path(path: Path) -> Path:
    """The weights of a graph."""
    return path.with_suffix(WEIGHTS_SUFFIX)


class NcnnEngine:
    """Runs the two files on ncnn, on one thread of the CPU, in float32."""

    name = "ncnn"

    def __init__(self, path: Path, spec: Spec) -> None:
        """Open the files.

        Args:
            path: The graph; the weights are beside it.
            spec: The spec, which is not in the files.

        Raises:
            MissingExtra: ncnn is not installed.
            ModelError: ncnn cannot open the files.
        """
        self._ncnn, self.path, self.spec = _import("ncnn"), path, spec
        self._net = self._ncnn.Net()
        options = self._net.opt
        options.num_threads = 1
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        if self._net.load_param(str(path)) or self._net.load_model(str(weights_path(path))):
            raise ModelError(f"{path}: expected a graph with weights for ncnn, got files that it cannot open")

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        """Outputs for images (B, h, w, 3) uint8 RGB of the spec's size, one after the other."""
        rows = [self._run_one(image) for image in images]
        return outputs_from({name: np.stack([row[name] for row in rows]) for name in rows[0]}, source=str(self.path))

    def _run_one(self, image: RGBArray) -> dict[str, np.ndarray]:
        planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)  # a Mat does not keep its array alive
        extractor = self._net.create_extractor()
        extractor.input(INPUT_NAME, self._ncnn.Mat(planes))
        outputs = {name: extractor.extract(name) for name in output_names(self.spec)}
        if any(code for code, _ in outputs.values()):
            raise ModelError(f"{self.path}: expected outputs from ncnn, got an error")
        return {name: np.array(mat) for name, (_, mat) in outputs.items()}


def _import(name: str) -> ModuleType:
    """The package `pnnx` or `ncnn`."""
    try:
        if name == "pnnx":
            import pnnx as module
        else:
            import ncnn as module
    except ImportError as error:
        raise MissingExtra("export to ncnn", "ncnn") from error
    package: ModuleType = module
    return package


def _trace(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write a module as TorchScript, which pnnx reads."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # shapes are constants on purpose, and torch deprecates TorchScript
        program: Any = torch.jit.trace(module, (torch.zeros(shape),), check_trace=False)  # type: ignore[no-untyped-call] # of torch
        program.save(str(path))


def _blob_names(spec: Spec) -> dict[str, str]:
    """Names of pnnx -> names of ours, for the input and the outputs."""
    return {"in0": INPUT_NAME, **{f"out{index}": name for index, name in enumerate(output_names(spec))}}


def _rename_blobs(text: str, names: Mapping[str, str]) -> str:
    """A graph whose input and outputs have the names of the other formats."""
    magic, counts, *_ = text.splitlines()
    rows = []
    for kind, name, num_inputs, num_outputs, *rest in _layers(text):
        end = int(num_inputs) + int(num_outputs)
        words = [name, num_inputs, num_outputs, *(names.get(blob, blob) for blob in rest[:end]), *rest[end:]]
        rows.append(" ".join([f"{kind:<24}", *words]))
    return "\n".join([magic, counts, *rows]) + "\n"


def _layers(text: str) -> Iterator[list[str]]:
    """The words of each layer: kind, name, numbers of inputs and of outputs, their names, parameters."""
    lines = text.splitlines()
    assert lines[0] == _MAGIC, "the format of ncnn that this module knows"
    yield from (line.split() for line in lines[2:])


def _require_known_layers(text: str, path: Path) -> None:
    """Refuse a graph with operations of torch that pnnx could not convert; it keeps their names, such as torch.topk."""
    unknown = sorted({kind for kind, *_ in _layers(text) if "." in kind or kind.startswith("aten")})
    if unknown:
        raise ModelError(f"{path}: expected operations that ncnn has, got {', '.join(unknown)}; use --to onnx")
