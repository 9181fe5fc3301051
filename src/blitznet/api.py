"""load: the one place where a model's name or file becomes an engine."""

from difflib import get_close_matches
from pathlib import Path

from blitznet.core.errors import MissingExtra, ModelError, UsageError
from blitznet.core.models import DEFAULT, MODELS
from blitznet.runtime.engine import Engine
from blitznet.runtime.onnx import OnnxEngine
from blitznet.runtime.predictor import Predictor

WEIGHTS = Path(__file__).parent / "weights"
"""models that come with the package: NAME.onnx to run, NAME.safetensors to train further"""


def load(model: str | Path = DEFAULT, *, threads: int | None = None) -> Predictor:
    """A predictor of a model.

    model: a name whose weights come with the package, an .onnx file, or, with the extra `train`, a
    .safetensors file or a run's folder. threads: of computing, one for each processor if not given.
    Raises ModelError if there is no such model, MissingExtra if torch is needed and missing.
    """
    return Predictor(open_engine(model, threads=threads))


def open_engine(model: str | Path, *, threads: int | None = None) -> Engine:
    """The engine that runs a model; `load` says which models there are."""
    path = find_model(model)
    if path.suffix == ".onnx":
        return OnnxEngine(path, threads)
    if path.suffix == ".safetensors":
        return _torch_engine(path, threads)
    raise ModelError(f"{path}: wanted an .onnx or .safetensors file, came '{path.suffix or path.name}'")


def find_model(model: str | Path) -> Path:
    """The file behind a model's name or path."""
    path = Path(model)
    if str(model) in MODELS:
        return _embedded(str(model))
    if path.is_dir():
        return _in_run(path)
    if path.exists():
        return path
    if path.suffix in (".onnx", ".safetensors") or len(path.parts) > 1:
        raise ModelError(f"{model}: there is no such model file")
    names = sorted(file.stem for file in WEIGHTS.glob("*.onnx"))
    near = get_close_matches(str(model), [*names, *MODELS], n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ModelError(f"'{model}' is neither a file nor a model of the package ({', '.join(names) or 'none'}){hint}")


def _embedded(name: str) -> Path:
    path = WEIGHTS / f"{name}.onnx"
    if not path.is_file():
        raise ModelError(
            f"'{name}' has no weights in the package; train it with `blitznet train` and give the run's folder"
        )
    return path


def _in_run(folder: Path) -> Path:
    for name in ("best.safetensors", "last.safetensors"):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder}: there is neither best.safetensors nor last.safetensors in this folder")


def _torch_engine(path: Path, threads: int | None) -> Engine:
    if threads is not None and threads < 1:
        raise UsageError(f"threads: wanted 1 or more, came {threads}")
    try:
        import safetensors  # noqa: F401
        import torch
    except ImportError as error:
        raise MissingExtra(f"{path}: a .safetensors model", "train") from error
    from blitznet.nets.engine import TorchEngine
    from blitznet.nets.files import load_model

    if threads is not None:
        torch.set_num_threads(threads)
    return TorchEngine(*load_model(path))
