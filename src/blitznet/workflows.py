"""`blitznet.train`, `.validate`, `.export` and `.batch`, with the code and the defaults of the commands.

May import: everything but cli and serve.
Never imports: argument parsing; it prints only through `notify`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin, get_type_hints

import numpy as np

from blitznet.api import load, model_file
from blitznet.bulk.parquet import require_pyarrow
from blitznet.bulk.predict import PartJob
from blitznet.bulk.progress import BulkProgress, ProgressMeter, ignore_state
from blitznet.bulk.run import SHARD_SIZE, BulkSource, BulkSummary, Runner, local_runner, run_bulk
from blitznet.bulk.settings import BulkSettings, MaskFormat, identify_model
from blitznet.core.errors import MissingExtra, UsageError
from blitznet.core.field_types import short_repr
from blitznet.core.models import DEFAULT, DEFAULT_MIN_SCORE
from blitznet.core.progress import Progress, no_progress
from blitznet.core.spec import Precision
from blitznet.core.written_files import require_replaceable
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.metrics.report import Report
from blitznet.runtime.engine import EngineName
from blitznet.runtime.image_paths import find_images, in_number_order
from blitznet.runtime.predictor import BasePredictor

if TYPE_CHECKING:
    from blitznet.export.exporter import ExportedModel
    from blitznet.train.callbacks import TrainCallback
    from blitznet.train.config import TrainConfig
    from blitznet.video.reader import VideoSource

MIN_FPS = 0.01
"""minimum frames per second of a folder of images"""
Texts = str | Path | Sequence[str | Path]
"""one dataset or image, or several: a path, or FORMAT:ROOT@SPLIT"""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """The result of a training run."""

    folder: Path
    """the run folder, with log.jsonl, plot.png and predictions/"""
    weights: Path
    """the model with the best scores, or of the last step if there was no evaluation"""
    scores: Mapping[str, float] = field(default_factory=dict)
    """scores of the last evaluation as fractions 0..1, such as score/ap50 and score/miou; empty without one"""

    def load(self, **options: Any) -> BasePredictor:
        """A predictor of the model; options as of `blitznet.load`."""
        return load(self.weights, **options)


def train_model(
    data: Texts,
    val: Texts | float = (),
    *,
    recipe: str | None = None,
    callbacks: "Sequence[TrainCallback]" = (),
    notify: Callable[[str], None] | None = print,
    **options: Any,
) -> TrainedModel:
    """Fine-tune a model, or resume the run in the folder `out`; the same as `blitznet train`.

    Args:
        data: Training sets: paths of datasets, or FORMAT:ROOT@SPLIT.
        val: Evaluation sets, or a fraction of the training images such as 0.2. Default: the validation splits of
            `data`, else no evaluation.
        recipe: Name of a recipe, whose options are the defaults. Default: fine-tuning of the default model.
        callbacks: Called after steps and evaluations and at the end.
        notify: Called with notices and with the scores of each evaluation; None for silence.
        **options: Options of training, such as `epochs`, `batch`, `imgsz`, `model`, `out` and `device`; all are in the
            reference of training options.

    Returns:
        The folder and the weights of the run, and its last scores.

    Raises:
        UsageError: An option is unknown, or its value is invalid.
        DataError: A dataset cannot be used.
        MissingExtra: The extra `train` is not installed.
    """
    with _needs_train("blitznet.train"):
        from blitznet.train import loop
        from blitznet.train.callbacks import RunEvaluation, TrainCallback
        from blitznet.train.run_folder import RunFolder

    class Scores(TrainCallback):
        """Keeps and reports the scores of evaluations."""

        last: Mapping[str, float] = {}

        def on_eval(self, evaluation: RunEvaluation) -> None:
            self.last = dict(evaluation.scores)
            if notify is not None:
                values = ", ".join(f"{name.removeprefix('score/')} {value:.3f}" for name, value in self.last.items())
                notify(f"step {evaluation.step}: {values}{' (best)' if evaluation.is_best else ''}")

    config = _train_config(
        recipe,
        {**options, "data": _texts(data, "data"), "val": _texts(str(val) if isinstance(val, float) else val, "val")},
    )
    scores = Scores()
    loop.train(config, callbacks=[scores, *callbacks], notify=notify)
    folder = RunFolder(config.out)
    return TrainedModel(folder.path, folder.best if folder.best.exists() else folder.last, scores.last)


def validate_model(
    model: str | Path | BasePredictor = DEFAULT,
    *,
    data: Texts,
    config: EvalConfig | None = None,
    engine: EngineName = "auto",
    threads: int | None = None,
    tta: Literal["flip"] | None = None,
    slices: tuple[int, int] | None = None,
    results: Path | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Score a model on datasets, on each and on all of them; the same as `blitznet eval`.

    Args:
        model: As in `load`, or a predictor.
        data: Datasets: paths, or FORMAT:ROOT@SPLIT.
        config: How predictions are scored. Default: VOC's average precision and mean IoU, of the tasks of the model.
        engine: As in `load`.
        threads: As in `load`.
        tta: As in `load`.
        slices: As in `load`.
        results: File to store the predictions in.
        progress: Called after each image.

    Returns:
        Scores as fractions 0..1: `report.total.detection`, `report.total.segmentation`, `report.to_dict()`.

    Raises:
        UsageError: There is no dataset.
        DataError: A dataset cannot be opened.
        ModelError: There is no such model.
    """
    from blitznet.data.sources import expand_sources, open_mapped

    if isinstance(model, BasePredictor):
        predictor = model
    else:
        predictor = load(model, engine=engine, threads=threads, tta=tta, slices=slices)
    config = config or EvalConfig(tasks=predictor.spec.tasks)
    sources = expand_sources(_texts(data, "data"), "eval")
    datasets = [open_mapped(source, predictor.spec.classes) for source in sources]
    return evaluate(predictor, datasets, config, results=results, progress=progress)


def export_file(
    model: str | Path,
    *,
    to: Literal["onnx", "openvino", "torch", "triton", "ncnn", "coreml"] = "onnx",
    precision: Precision = "float32",
    imgsz: int | tuple[int, int] | None = None,
    out: str | Path | None = None,
    calibration_data: Texts = (),
    eval_data: Texts = (),
    verify_images: Texts = (),
    nms: bool = False,
    static: bool = False,
    input: Literal["uint8", "float32"] = "uint8",  # noqa: A002 - as the flag
    spec_json: bool = False,
    allow_accuracy_drop: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> "ExportedModel":
    """Export a model to one file, and keep it only if it agrees with the network; the same as `blitznet export`.

    Args:
        model: Name of a model in the package, a .safetensors file, or the folder of a training run.
        to: Format of the file: onnx (.onnx), openvino (.openvino), torch (.pt2), triton (a folder of Triton),
            ncnn (.param and .bin) or coreml (.mlpackage), whose outputs cannot be compared.
        precision: float32, bfloat16 or int8; int8 needs `calibration_data`.
        imgsz: Input size in pixels, one number for a square or (height, width). Default: the model's.
        out: File to write, or the model's folder for triton. Default: the model's name, in its folder.
        calibration_data: Images, folders, globs or datasets to measure int8 ranges on.
        eval_data: Datasets to evaluate an int8 file on. Default: other images of `calibration_data`.
        verify_images: Images to compare file and network on. Default: those of `calibration_data`, or the samples.
        nms: Whether to put decoding, NMS and the argmax of the class map into the file.
        static: Whether to fix the batch to one image and all shapes, for runtimes that need this.
        input: Type of the pixels: uint8, or float32 for runtimes without uint8.
        spec_json: Whether to write the spec beside the file too, with the suffix .json.
        allow_accuracy_drop: Whether to keep a file that differs too much.
        overwrite: Whether to replace a file that the package did not write.
        progress: Called after each evaluated image.

    Returns:
        The path of the file and the measured differences.

    Raises:
        ModelError: There is no such model, or the file differs from the network.
        UsageError: The options do not fit each other.
        DataError: An image or a dataset cannot be read.
        MissingExtra: The extra `train` is not installed.
    """
    with _needs_train("blitznet.export"):
        from blitznet.export.exporter import ExportOptions, export_model, output_files, output_path

    options = ExportOptions(
        model=str(model),
        to=to,
        precision=precision,
        imgsz=(imgsz, imgsz) if isinstance(imgsz, int) else cast("tuple[int, int] | None", imgsz and tuple(imgsz)),
        out=None if out is None else Path(out),
        calibration_data=_texts(calibration_data, "calibration_data"),
        eval_data=_texts(eval_data, "eval_data"),
        verify_images=_texts(verify_images, "verify_images"),
        nms=nms,
        static=static,
        input=input,
        spec_json=spec_json,
        allow_accuracy_drop=allow_accuracy_drop,
    )
    out_path = output_path(options)
    require_replaceable(output_files(options, out_path), overwrite=overwrite)
    return export_model(options, progress=progress)


def batch_predict(
    sources: Texts,
    out: str | Path = "blitznet-parts",
    *,
    model: str | Path = DEFAULT,
    min_score: float = DEFAULT_MIN_SCORE,
    masks: MaskFormat = "class-map",
    shard_size: int = SHARD_SIZE,
    limit: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    image_column: str | None = None,
    id_column: str | None = None,
    engine: EngineName = "auto",
    tta: Literal["flip"] | None = None,
    slices: tuple[int, int] | None = None,
    retry_errors: bool = False,
    overwrite: bool = False,
    trust: bool = False,
    progress: Callable[[BulkProgress], None] = ignore_state,
) -> BulkSummary:
    """Predict millions of images into Parquet parts; the same as `blitznet batch`.

    A run that was killed continues when it is called again. A second run changes nothing.

    Args:
        sources: Folders, images, globs, tar and Parquet files, text lists, and URLs of these.
        out: Folder of the parts, or its URL.
        model: Name of a model in the package, model file, or folder of a training run.
        min_score: Minimum score of detections to keep, 0..1.
        masks: class-map (run lengths of the class map), coco (COCO run lengths of each class) or none.
        shard_size: Image files in a part; a tar or Parquet file is one part.
        limit: Number of images. Default: all.
        workers: Replicas of the network; with `ray`, processes of the cluster. Default: one for each processor.
        ray: Address of a Ray cluster, auto for the one of this machine, or local to start one. Default: no cluster.
        image_column: Column of Parquet files with the images. Default: image, or the first with bytes.
        id_column: Column of Parquet files to use as id. Default: path and number of the row.
        engine: As in `load`.
        tta: As in `load`.
        slices: As in `load`.
        retry_errors: Whether to predict parts again in which an image could not be read.
        overwrite: Whether to replace parts of other images, another model or other settings.
        trust: As in `load`.
        progress: Called after each image, or after each part on a cluster.

    Returns:
        The number of parts, images, images that cannot be read, and images that this run predicted.

    Raises:
        UsageError: An option is invalid, or the folder contains parts of another run.
        DataError: A source cannot be opened.
        ModelError: There is no such model.
        MissingExtra: The extra `batch`, or `ray` for a cluster, is not installed.
    """
    source = BulkSource(_texts(sources, "sources"), shard_size, limit)
    if workers is not None and workers < 1:
        raise UsageError(f"workers: expected 1 or more, got {workers}")
    settings = BulkSettings(min_score, masks, engine, tta, slices, image_column, id_column)
    require_pyarrow()
    open_model = partial(load, tta=tta, slices=slices, trust=trust)
    predictor = open_model(model, engine=engine, threads=workers if ray is None else 1)
    settings = settings.with_engine(predictor.engine.name)
    path = model_file(model, engine)
    job = PartJob(identify_model(path, predictor.spec.classes), settings, str(out))
    meter = ProgressMeter(progress, limit)
    runner: Runner
    if ray is None:
        runner = local_runner(job, predictor, meter)
    else:
        from blitznet.bulk.ray_runner import ray_runner

        runner = ray_runner(job, path, partial(open_model, engine=settings.engine, threads=1), ray, workers)
    return run_bulk(source, job, runner, meter, overwrite=overwrite, retry_errors=retry_errors)


def open_frames(source: str | Path | int, *, fps: float | Fraction = 25) -> "VideoSource":
    """Open a video, a camera, a stream or a folder of images, whose frames are read once.

    Args:
        source: A video file, the number or device of a camera, an address with ://, or a folder of images or a glob,
            in the order of the numbers in the names.
        fps: Frames per second of a folder or a glob.

    Returns:
        The open source: `frames()` yields frames with `image`, `seconds` and `index`, and `info` has its properties.

    Raises:
        UsageError: There is no such source, or fps is out of range.
        DataError: The source is not a video, or cannot be opened.
        MissingExtra: The extra `video` is not installed.
    """
    try:
        from blitznet.video.reader import open_video
    except ModuleNotFoundError as error:
        raise MissingExtra("`blitznet.open_video`", "video") from error
    if isinstance(fps, bool) or not isinstance(fps, int | float | Fraction) or not MIN_FPS <= fps < float("inf"):
        raise UsageError(f"fps: expected {MIN_FPS} or more, got {fps!r}")
    text = str(source)
    path = Path(text)
    is_glob = "://" not in text and any(character in text for character in "*[?")
    images = in_number_order(find_images([text])) if path.is_dir() or (is_glob and not path.is_file()) else ()
    return open_video(text, fps=Fraction(fps).limit_denominator(1001), images=images)


def _texts(values: Texts, name: str) -> tuple[str, ...]:
    """One text or several as a tuple. Raises UsageError that names the argument for a value of another kind."""
    if isinstance(values, str | Path):
        return (str(values),)
    is_list = isinstance(values, Iterable) and not isinstance(values, bytes | Mapping)
    texts = tuple(values) if is_list else (values,)
    if not all(isinstance(text, str | Path) for text in texts):
        raise UsageError(f"{name}: expected a text or a path, or a list of them, got {short_repr(values)}")
    return tuple(map(str, texts))


def _train_config(recipe: str | None, options: Mapping[str, Any]) -> "TrainConfig":
    """The config of a recipe with changed options."""
    from blitznet.paper.recipes import PAPER_RECIPES
    from blitznet.train.config import TrainConfig
    from blitznet.train.recipes import RECIPES, finetune_config

    recipes = {**RECIPES, **PAPER_RECIPES}
    if recipe is not None and recipe not in recipes:
        raise UsageError(f"recipe: expected one of {', '.join(recipes)}, got '{recipe}'{_hint(recipe, recipes)}")
    config = finetune_config() if recipe is None else recipes[recipe]().config
    names = [item.name for item in fields(TrainConfig)]
    for name in options:
        if name not in names:
            raise UsageError(f"unknown option '{name}' of training{_hint(name, names)}")
    if options.get("steps") is not None and options.get("epochs") is not None:
        raise UsageError("steps, epochs: expected one of them, got both; remove one")
    defaults = {"epochs": None} if "steps" in options else {}  # of the recipe
    return replace(config, **{**defaults, **{name: _option(name, value) for name, value in options.items()}})


def _option(name: str, value: Any) -> Any:
    """An option as TrainConfig takes it: paths as Path, one text or a list as a tuple, one input size as a square."""
    from blitznet.train.config import AUTO_BATCH, TrainConfig

    hint = get_type_hints(TrainConfig)[name]
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if isinstance(value, np.generic):
        value = value.item()
    if name == "batch" and value == "auto":
        return AUTO_BATCH
    if name == "imgsz" and isinstance(value, int):
        return value, value
    if name == "device" or (name == "model" and isinstance(value, Path)):
        return str(value)  # also of a torch.device, and of a GPU's number
    if Path in kinds and isinstance(value, str):
        return Path(value)
    if isinstance(value, str) and any(get_origin(kind) is tuple for kind in kinds):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _hint(name: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    near = get_close_matches(name, list(names), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


@contextmanager
def _needs_train(purpose: str) -> Iterator[None]:
    """Raise MissingExtra if torch is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("blitznet"):
            raise
        raise MissingExtra(f"`{purpose}`", "train") from error
