"""Find the file of a model from its name, its path, or the folder of a training run."""

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.files import require_file
from blitznet.core.models import MODELS
from blitznet.core.packaged_files import packaged_file, packaged_hashes

MODEL_SUFFIXES = (".onnx", ".openvino", ".pt2", ".safetensors")
"""suffixes of model files"""


def find_model(model: str | Path, *, suffix: Literal[".onnx", ".safetensors"] = ".onnx") -> Path:
    """Find a model's file.

    Args:
        model: Name of a model in the package, path of a file, or folder of a training run: its best checkpoint, else
            its last.
        suffix: Which file to use of a model in the package.

    Returns:
        The path of an existing file.

    Raises:
        ModelError: There is no such model, or a file of the package is not the one published.
    """
    try:
        return _find_existing(model, suffix)
    except OSError as error:
        raise ModelError(f"{model}: cannot be opened ({error.strerror or error})") from error


def _find_existing(model: str | Path, suffix: Literal[".onnx", ".safetensors"]) -> Path:
    if not isinstance(model, str | Path) or not str(model):
        raise ModelError(f"model: expected a name, a file or the folder of a run, got {model!r}")
    path = Path(model)
    if str(model) in MODELS:
        return _packaged(str(model), suffix)
    if path.is_dir():
        return _checkpoint(path)
    if path.exists():
        require_file(path)
        return path
    if path.suffix in MODEL_SUFFIXES or len(path.parts) > 1:
        hint = f"; did you mean the name '{path.stem}'?" if path.name in packaged_hashes() else ""
        raise ModelError(f"{model}: expected a model file, got a path that does not exist{hint}")
    packaged = sorted(Path(name).stem for name in packaged_hashes() if name.endswith(".onnx"))
    matches = get_close_matches(str(model).lower(), packaged, n=1)  # other models have no weights in the package
    hint = f"; did you mean '{matches[0]}'?" if matches else ""
    raise ModelError(
        f"expected a file or a model in the package ({', '.join(packaged) or 'none'}), got '{model}'{hint}"
    )


def find_weights(model: str | Path) -> Path:
    """Find the .safetensors file of a model: its name, path or run folder, as in `find_model`.

    Raises:
        ModelError: There is no such model.
        UsageError: Its file is of another kind.
    """
    path = find_model(model, suffix=".safetensors")
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: expected a .safetensors file or a run folder, got '{path.suffix or path.name}'")
    return path


def _packaged(name: str, suffix: str) -> Path:
    if f"{name}{suffix}" not in packaged_hashes():
        raise ModelError(
            f"{name}: the package has no weights of this model; train it with `blitznet train --model {name} "
            "--init encoder`, or give a file or a run folder"
        )
    return packaged_file(f"{name}{suffix}")


def _checkpoint(folder: Path) -> Path:
    for name in ("best.safetensors", "last.safetensors"):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder}: expected best.safetensors or last.safetensors in this folder, got neither")
