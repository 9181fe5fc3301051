"""A model's file with another contract and the same weights, bit for bit."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

from blitznet.core.errors import UsageError
from blitznet.core.files import atomic_write
from blitznet.core.spec import METADATA_KEY, Spec
from blitznet.runtime.openvino_engine import CONTRACT
from blitznet.runtime.openvino_engine import SUFFIX as OPENVINO


def rewrite(path: Path, spec: Spec, out: Path) -> None:
    """Copy a model's file to `out`, which may be the same place, with this contract.

    Raises UsageError for a kind of file whose contract cannot be replaced.
    """
    if path.suffix not in WRITERS:
        raise UsageError(f"{path}: expected a {', '.join(WRITERS)} file, got '{path.suffix or path.name}'")
    WRITERS[path.suffix](path, spec, out)


def _safetensors(path: Path, spec: Spec, out: Path) -> None:
    from safetensors.torch import load, save

    atomic_write(out, save(load(path.read_bytes()), metadata={METADATA_KEY: spec.to_json()}))


def _onnx(path: Path, spec: Spec, out: Path) -> None:
    import onnx

    from blitznet.export.onnx import describe

    model = onnx.load(path)
    describe(model, spec)
    atomic_write(out, model.SerializeToString())


def _openvino(path: Path, spec: Spec, out: Path) -> None:
    content = BytesIO()
    with ZipFile(path) as old, ZipFile(content, "w") as new:
        for part in old.infolist():
            new.writestr(part, spec.to_json() if part.filename == CONTRACT else old.read(part))
    atomic_write(out, content.getvalue())


WRITERS: dict[str, Callable[[Path, Spec, Path], None]] = {
    ".safetensors": _safetensors,
    ".onnx": _onnx,
    OPENVINO: _openvino,
}
"""by suffix; a .pt2 program has the temperatures in its graph"""
