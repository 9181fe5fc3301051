"""load: the one place where a model's name or file becomes an engine."""

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from blitznet.core.errors import MissingExtra, ModelError, UsageError
from blitznet.core.models import DEFAULT, MODELS
from blitznet.runtime.engine import Engine, EngineName
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.openvino_engine import OpenVinoEngine
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.sliced import SlicedPredictor
from blitznet.runtime.threads import threads_for
from blitznet.runtime.tta import FlipTTA

WEIGHTS = Path(__file__).parent / "weights"
"""models that come with the package: NAME.onnx to run, NAME.safetensors to train further"""
RUN_BY: dict[str, tuple[EngineName, ...]] = {
    ".onnx": ("onnxruntime", "openvino", "onnxruntime-cuda", "onnxruntime-tensorrt"),
    ".openvino": ("openvino",),
    ".pt2": ("torch",),
    ".safetensors": ("torch", "torch-compiled"),
}
"""the engines that run each kind of file, first the one that needs least"""


def load(
    model: str | Path = DEFAULT,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    flip: bool = False,
    tiles: tuple[int, int] | None = None,
) -> Predictor:
    """A predictor of a model.

    model: a name whose weights come with the package, an .onnx or .openvino file, or, with the extra `train`, a
    .pt2 or .safetensors file or a run's folder. engine: what computes it; `auto` is the fastest that is installed:
    openvino for an .onnx file, else onnxruntime. threads: of computing, one for each processor if not given.
    flip: look at each image twice, also left to right, and take the mean: a little better, in twice the time.
    tiles: (rows, columns) of each image to look at as well, for large images with small things; as many times the time.
    Raises ModelError if there is no such model, UsageError if the engine does not run it, MissingExtra if a
    package is missing.
    """
    opened = open_engine(model, engine=engine, threads=threads)
    looking = FlipTTA(opened) if flip else opened
    return SlicedPredictor(looking, tiles) if tiles else Predictor(looking)


def open_engine(model: str | Path, *, engine: EngineName = "auto", threads: int | None = None) -> Engine:
    """The engine that runs a model; `load` says which models and engines there are."""
    if engine not in get_args(EngineName):
        raise UsageError(f"engine: expected one of {', '.join(get_args(EngineName))}, got '{engine}'")
    threads_for(threads)  # a mistake is told before a package is missed
    path = find_model(model, engine=engine)
    chosen = _choose(path, engine)
    if chosen == "openvino":
        return OpenVinoEngine(path, threads)
    if chosen == "onnxruntime" or chosen == "onnxruntime-cuda" or chosen == "onnxruntime-tensorrt":
        return OnnxEngine(path, threads, name=chosen)
    return _torch_engine(path, threads, compiled=chosen == "torch-compiled")


def _choose(path: Path, engine: EngineName) -> EngineName:
    able = RUN_BY.get(path.suffix)
    if able is None:
        raise ModelError(f"{path}: expected an {_either(*RUN_BY)} file, got '{path.suffix or path.name}'")
    if engine == "auto":
        return "openvino" if "openvino" in able and find_spec("openvino") else able[0]
    if engine not in able:
        raise UsageError(
            f"{path}: {engine} does not run {path.suffix} files; {_either(*able)} does, or export the model"
        )
    return engine


def _either(*names: str) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def find_model(model: str | Path, *, engine: EngineName = "auto") -> Path:
    """The file behind a model's name or path; of a named model that for the engine."""
    path = Path(model)
    if str(model) in MODELS:
        return _embedded(str(model), ".safetensors" if engine in RUN_BY[".safetensors"] else ".onnx")
    if path.is_dir():
        return _in_run(path)
    if path.exists():
        return path
    if path.suffix in RUN_BY or len(path.parts) > 1:
        raise ModelError(f"{model}: there is no such model file")
    names = sorted(file.stem for file in WEIGHTS.glob("*.onnx"))
    near = get_close_matches(str(model), [*names, *MODELS], n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ModelError(f"'{model}' is neither a file nor a model of the package ({', '.join(names) or 'none'}){hint}")


def _embedded(name: str, suffix: str) -> Path:
    path = WEIGHTS / f"{name}{suffix}"
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


def _torch_engine(path: Path, threads: int | None, *, compiled: bool) -> Engine:
    try:
        import safetensors  # noqa: F401
        import torch
    except ImportError as error:
        raise MissingExtra(f"{path}: a {path.suffix} model", "train") from error
    from blitznet.nets.model_files import load_model
    from blitznet.nets.program_engine import ProgramEngine
    from blitznet.nets.torch_engine import TorchEngine

    if path.suffix == ".pt2":
        return ProgramEngine(path, threads)
    if threads is not None:
        torch.set_num_threads(threads)
    return TorchEngine(*load_model(path), compiled=compiled)
