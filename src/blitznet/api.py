"""Load a model: `load` returns a Predictor, `open_engine` the engine alone."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from blitznet.core.errors import MissingExtra, ModelError, UsageError
from blitznet.core.model_paths import find_model
from blitznet.core.models import DEFAULT, DEFAULT_MIN_SCORE
from blitznet.core.spec import Spec
from blitznet.runtime.deeplab import DeepLabTeacher
from blitznet.runtime.engine import Engine, EngineName
from blitznet.runtime.model_teacher import ModelTeacher
from blitznet.runtime.onnx_engine import OnnxEngine, has_spec
from blitznet.runtime.openvino_engine import OpenVinoEngine
from blitznet.runtime.predictor import BasePredictor, Predictor
from blitznet.runtime.sliced import SlicedPredictor
from blitznet.runtime.threads import resolve_threads
from blitznet.runtime.tta import FlipTTA

RUN_BY: dict[str, tuple[EngineName, ...]] = {
    ".onnx": ("onnxruntime", "openvino", "onnxruntime-cuda", "onnxruntime-tensorrt"),
    ".openvino": ("openvino",),
    ".pt2": ("torch",),
    ".safetensors": ("torch", "torch-compiled"),
}
"""suffix of a model file -> engines that run it, the one with the fewest dependencies first"""


def load(
    model: str | Path = DEFAULT,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    tta: Literal["flip"] | None = None,
    slices: tuple[int, int] | None = None,
    min_score: float | None = DEFAULT_MIN_SCORE,
    trust: bool = False,
) -> BasePredictor:
    """Load a model for prediction.

    Args:
        model: Name of a model in the package, or path of an .onnx or .openvino file. With the extra `train` also a
            .pt2 or .safetensors file, or the folder of a training run.
        engine: Inference engine. `auto` is the fastest that is installed: openvino for an .onnx file, else
            onnxruntime.
        threads: Number of threads that the engine computes with. Default: one per processor.
        tta: Test-time augmentation. `flip` averages the outputs of the image and of its mirror image, which doubles
            the inference time.
        slices: (rows, columns) of overlapping tiles for sliced inference, in addition to the whole image. Finds
            small objects in large images; inference takes 1 + rows * columns times as long.
        min_score: Minimum score of detections in calls without one, 0..1; None keeps all, as evaluation needs them.
        trust: Open a .pt2 file, which may contain code that runs when it is opened, with your rights. Other formats
            contain no code, and need no trust.

    Returns:
        A predictor; call it with an image to get a Result.

    Raises:
        ModelError: There is no such model, or its file is broken or not trusted.
        UsageError: The engine does not run the file, or a value is invalid.
        MissingExtra: A package is not installed.
    """
    opened = open_engine(model, engine=engine, threads=threads, trust=trust)
    if tta not in (None, "flip"):
        raise UsageError(f"tta: expected 'flip' or None, got '{tta}'")
    augmented = FlipTTA(opened) if tta == "flip" else opened
    predictor = Predictor(augmented, min_score=min_score)
    return predictor if slices is None else SlicedPredictor(predictor, slices)


def load_teacher(model: str | Path, *, trust: bool = False) -> ModelTeacher | DeepLabTeacher:
    """Load a segmentation teacher for soft labels.

    Args:
        model: As in `load`, or the ONNX file of DeepLabV3 (TensorFlow, VOC classes), which has no spec.
        trust: As in `load`.

    Returns:
        A teacher; call it with an image to get its logits.

    Raises:
        ModelError: There is no such model, or it has no segmentation head.
        MissingExtra: A package is not installed.
    """
    path = find_model(model, suffix=".onnx")
    if path.suffix == ".onnx" and not has_spec(path):
        return DeepLabTeacher(path)
    predictor = load(model, trust=trust)
    assert isinstance(predictor, Predictor), "a predictor without slices"
    return ModelTeacher(predictor)


def open_engine(
    model: str | Path, *, engine: EngineName = "auto", threads: int | None = None, trust: bool = False
) -> Engine:
    """Open the inference engine of a model.

    Args:
        model: As in `load`.
        engine: As in `load`.
        threads: As in `load`.
        trust: As in `load`.

    Returns:
        The engine, which maps a batch of images to raw outputs.

    Raises:
        ModelError: There is no such model, or its file is broken.
        UsageError: The engine does not run the file, or a value is invalid.
        MissingExtra: A package is not installed.
    """
    if engine not in get_args(EngineName):
        raise UsageError(f"engine: expected one of {', '.join(get_args(EngineName))}, got '{engine}'")
    resolve_threads(threads)  # check the value before a missing package is reported
    path = model_file(model, engine)
    name = _choose(path, engine)
    if name == "openvino":
        return OpenVinoEngine(path, threads)
    if name == "onnxruntime" or name == "onnxruntime-cuda" or name == "onnxruntime-tensorrt":
        return OnnxEngine(path, threads, name=name)
    return _torch_engine(path, threads, compiled=name == "torch-compiled", trust=trust)


def read_model_spec(path: Path) -> Spec:
    """The spec in a model file; a file that may contain code is read without running it.

    Raises:
        ModelError: The file is broken.
        MissingExtra: A package is not installed.
    """
    if path.suffix != ".pt2":
        return open_engine(path).spec
    try:
        from blitznet.nets.program_engine import read_program_spec
    except ImportError as error:
        raise MissingExtra(f"{path}: a {path.suffix} model", "train") from error
    return read_program_spec(path)[0]


def model_file(model: str | Path, engine: EngineName) -> Path:
    """The file that `open_engine` opens: of a model in the package the .onnx or, for torch, the .safetensors file.

    Raises:
        ModelError: There is no such model.
    """
    return find_model(model, suffix=".safetensors" if engine in RUN_BY[".safetensors"] else ".onnx")


def _choose(path: Path, engine: EngineName) -> EngineName:
    """The engine for a file, with `auto` resolved."""
    engines = RUN_BY.get(path.suffix)
    if engines is None:
        raise ModelError(f"{path}: expected an {_either(*RUN_BY)} file, got '{path.suffix or path.name}'")
    if engine == "auto":
        return "openvino" if "openvino" in engines and find_spec("openvino") else engines[0]
    if engine not in engines:
        raise UsageError(
            f"{path}: expected the engine {_either(*engines)} for a {path.suffix} file, got {engine}; "
            "choose one of these or export the model"
        )
    return engine


def _either(*names: str) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _torch_engine(path: Path, threads: int | None, *, compiled: bool, trust: bool) -> Engine:
    try:
        import safetensors  # noqa: F401
        import torch
    except ImportError as error:
        raise MissingExtra(f"{path}: a {path.suffix} model", "train") from error
    from blitznet.nets.model_files import load_model
    from blitznet.nets.program_engine import ProgramEngine
    from blitznet.nets.torch_engine import TorchEngine

    if path.suffix == ".pt2":
        if not trust:
            raise ModelError(
                f"{path}: expected a format that contains no code, got a torch program, which may run code of its "
                "author with your rights when it is opened; if you trust its source add --trust (Python: trust=True), "
                "else use .onnx or .safetensors"
            )
        return ProgramEngine(path, threads)
    if threads is not None:
        torch.set_num_threads(threads)
    return TorchEngine(*load_model(path), compiled=compiled)
