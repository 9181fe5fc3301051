"""A network for Core ML: an ML program, converted by coremltools. The only file of this package that imports it.

Core ML predicts on Apple's systems only, so the outputs are not compared with the network's. The names, shapes and
types of input and outputs are checked.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from blitznet.core.errors import MissingExtra, ModelError
from blitznet.core.files import translate_write_errors
from blitznet.core.spec import METADATA_KEY, Spec, read_spec
from blitznet.export.program import remove_source_metadata
from blitznet.nets.deploy import PlanarDeployed, output_names
from blitznet.runtime.engine import INPUT_NAME

PACKAGE_SUFFIX = ".mlpackage"
"""of the folder"""
_DEBUG_FILE = "executorch_debug_handle_mapping.json"
"""a file that coremltools writes for ExecuTorch and that the manifest does not name"""


def write_coreml(net: nn.Module, spec: Spec, path: Path) -> None:
    """Convert a network to an ML program for iOS 15, macOS 12 or newer, which computes in float32.

    Its input `images` is an RGB image of the spec's size. The outputs have the names and shapes of the other formats.
    The spec is in the metadata.

    Args:
        net: The network. It is left in evaluation mode, on the CPU.
        spec: Its spec.
        path: The package, a folder that does not exist, `.mlpackage`.

    Raises:
        MissingExtra: coremltools is not installed.
        ModelError: coremltools cannot convert the network.
        UsageError: The package cannot be written.
    """
    coremltools = _import_coremltools()
    module, images = PlanarDeployed(net, spec).cpu().eval(), torch.zeros(1, 3, *spec.size)
    with _suppress_messages():
        program = torch.export.export(module, (images,)).run_decompositions({})
        remove_source_metadata(program)
        try:
            model = coremltools.convert(
                program,
                inputs=[
                    coremltools.ImageType(INPUT_NAME, tuple(images.shape), color_layout=coremltools.colorlayout.RGB)
                ],
                outputs=[coremltools.TensorType(name) for name in output_names(spec)],
                convert_to="mlprogram",
                compute_precision=coremltools.precision.FLOAT32,
                minimum_deployment_target=coremltools.target.iOS15,
                skip_model_load=True,
            )
        except Exception as error:  # whatever coremltools raises for an operation that it lacks
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{path}: expected a network that coremltools can convert, got '{reason}'") from error
        model.short_description = f"{spec.name}: detection and semantic segmentation"
        model.license = spec.license
        model.user_defined_metadata[METADATA_KEY] = spec.to_json()
        with translate_write_errors(path):
            model.save(str(path))
            (path / _DEBUG_FILE).unlink(missing_ok=True)
            for file in package_files(path):
                _rewrite(file)


def check_coreml(path: Path, net: nn.Module, spec: Spec) -> None:
    """Check that a package declares the spec, and the input and outputs that its network has.

    Args:
        path: The package.
        net: The network.
        spec: The spec of the package.

    Raises:
        ModelError: A name, shape or type differs, or the package cannot be read.
    """
    coremltools = _import_coremltools()
    try:
        description = coremltools.models.utils.load_spec(str(path)).description
    except Exception as error:  # of the file, and of protobuf
        raise ModelError(f"{path}: expected a package of Core ML, but it cannot be opened ({error})") from error
    if read_spec(description.metadata.userDefined.get(METADATA_KEY), source=str(path)) != spec:
        raise ModelError(f"{path}: expected the network's spec in the package, got another")
    with torch.inference_mode():
        outputs = PlanarDeployed(net, spec).cpu().eval()(torch.zeros(1, 3, *spec.size))
    expected = [
        f"{INPUT_NAME}: RGB image {spec.size}",
        *(f"{name}: FLOAT32 {tuple(output.shape)}" for name, output in zip(output_names(spec), outputs, strict=True)),
    ]
    actual = [_describe(tensor) for tensor in (*description.input, *description.output)]
    if actual != expected:
        raise ModelError(f"{path}: expected the tensors {'; '.join(expected)}, got {'; '.join(actual)}")


def package_files(path: Path) -> list[Path]:
    """The existing files of a package; the path itself if it is a file."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if not file.is_dir())


def _rewrite(file: Path) -> None:
    """Write a file again: coremltools lets only its owner read it, whatever the umask."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)


def _describe(tensor: Any) -> str:
    """Name, type and shape of an input or output."""
    kind = tensor.type.WhichOneof("Type")
    value = getattr(tensor.type, kind)
    if kind == "imageType":
        return f"{tensor.name}: {value.ColorSpace.Name(value.colorSpace)} image {(value.height, value.width)}"
    if kind == "multiArrayType":
        return f"{tensor.name}: {value.ArrayDataType.Name(value.dataType)} {tuple(value.shape)}"
    return f"{tensor.name}: {kind}"


def _import_coremltools() -> ModuleType:
    with _suppress_messages():  # it warns that it cannot predict here, and that it does not know this version of torch
        try:
            import coremltools
        except ImportError as error:
            raise MissingExtra("export to Core ML", "coreml") from error
    module: ModuleType = coremltools
    return module


@contextmanager
def _suppress_messages() -> Iterator[None]:
    """Suppress warnings, log messages and progress bars of torch and coremltools."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
