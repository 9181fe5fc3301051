"""Export of a model file: convert it, compare it with the network on images, and measure an int8 file's accuracy."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from blitznet.core.errors import DataError, UsageError
from blitznet.core.field_types import option_error, require_field_types
from blitznet.core.files import atomic_group, atomic_path, atomic_write, translate_write_errors
from blitznet.core.image import ImageSource
from blitznet.core.model_paths import find_weights
from blitznet.core.models import MODELS
from blitznet.core.progress import Progress, no_progress
from blitznet.core.sample import Dataset
from blitznet.core.selection import evenly_spaced
from blitznet.core.spec import Precision, Spec
from blitznet.core.written_files import record_written
from blitznet.data.sources import DATASET_FORMATS, open_dataset, open_sources, parse_source
from blitznet.export.accuracy import AccuracyChange, accuracy_change, require_accuracy, subset_without
from blitznet.export.coreml import check_coreml, package_files
from blitznet.export.formats import SUFFIXES, Format, InputType, export, export_spec, require_exportable
from blitznet.export.ncnn import weights_path
from blitznet.export.triton import REPOSITORY, triton_config, triton_config_path, triton_file
from blitznet.export.verify import NUM_VERIFY_IMAGES, ParityReport, engine_for, verify
from blitznet.nets.deploy import output_names
from blitznet.nets.model_files import load_model
from blitznet.nets.postprocess import nms_output_names
from blitznet.runtime.engine import INPUT_NAME
from blitznet.runtime.image_paths import find_images

MAX_CALIBRATION_IMAGES, MAX_EVAL_IMAGES = 300, 200
"""maximum number of images to measure int8 ranges on, and of each dataset to evaluate an int8 file on"""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What to export, and how; the flags of `blitznet export` have the same names."""

    model: str
    """name of a model in the package, a .safetensors file, or the folder of a training run"""
    to: Format = "onnx"
    precision: Precision = "float32"
    calibration_data: tuple[str, ...] = ()
    """images or datasets to measure int8 ranges on"""
    eval_data: tuple[str, ...] = ()
    """datasets to evaluate an int8 file on; by default those of `calibration_data`, without the images used there"""
    allow_accuracy_drop: bool = False
    """whether to keep a file whose outputs differ too much or that loses accuracy"""
    nms: bool = False
    """whether decoding, NMS and the argmax of the class map are put into the file; always for Triton"""
    imgsz: tuple[int, int] | None = None
    """(height, width) of the input, pixels; None for the model's"""
    out: Path | None = None
    """file to write; None for the model's name, in its folder or, for a model in the package, in the working folder.
    For Triton the model's folder in a model repository; None for the model's name in `model_repository`"""
    static: bool = False
    """whether the batch is fixed to one image, and shapes are constants"""
    input: InputType = "uint8"
    """type of the pixels"""
    spec_json: bool = False
    """whether the spec is also written beside the file, with the suffix .json; always for ncnn"""
    verify_images: tuple[str, ...] = ()
    """images to compare file and network on; by default those of `calibration_data`, or the sample images"""

    def __post_init__(self) -> None:
        require_field_types(self, option_error)
        if self.imgsz is not None and min(self.imgsz) < 1:
            raise UsageError(f"--imgsz: expected sizes of 1 pixel or more, got {' '.join(map(str, self.imgsz))}")


@dataclass(frozen=True, slots=True, eq=False)
class ExportedModel:
    """An exported file and what was measured."""

    path: Path
    files: tuple[Path, ...]
    """all files of the model, without its spec or config"""
    parity: ParityReport | None
    """differences between the file's outputs and the network's; None for Core ML, which predicts on Apple's systems"""
    accuracy: AccuracyChange | None
    """change of scores and speed of an int8 file; None if it was not measured"""
    num_images: int
    """number of images on which file and network were compared; 0 for Core ML"""

    def __repr__(self) -> str:
        images = f"{self.num_images} image{'s' * (self.num_images != 1)}"
        return f"ExportedModel({self.path}; compared with the network on {images})"


def export_model(
    options: ExportOptions,
    *,
    on_parity: Callable[[ParityReport], None] = lambda _: None,
    on_accuracy: Callable[[AccuracyChange], None] = lambda _: None,
    progress: Progress = no_progress,
) -> ExportedModel:
    """Export a model, and keep the file only if it agrees with the network; one for Core ML if its tensors do.

    Args:
        options: What to export.
        on_parity: Called with the measured differences.
        on_accuracy: Called with the change of accuracy, before a drop is an error.
        progress: Called after each evaluated image.

    Raises:
        ModelError: There is no such model, or the file differs from the network.
        UsageError: The options do not fit each other.
        DataError: An image or a dataset cannot be read.
    """
    _require_effect(options)
    weights = find_weights(options.model)
    out = output_path(options)
    net, spec = load_model(weights)
    spec = export_spec(spec, precision=options.precision, size=options.imgsz)
    options = replace(options, nms=options.nms or (options.to == "triton" and "detection" in spec.tasks))
    require_exportable(
        spec,
        options.to,
        nms=options.nms,
        calibrated=bool(options.calibration_data),
        static=options.static,
        input_type=options.input,
    )
    verify_images = _open_images(
        options.verify_images or options.calibration_data, NUM_VERIFY_IMAGES[options.precision]
    )
    calibration_images = []
    if options.calibration_data:
        sources = _open_images(options.calibration_data, MAX_CALIBRATION_IMAGES)
        calibration_images = [image.resize(spec.size) for image in sources]
    datasets = _open_eval_sets(options, spec) if options.precision == "int8" else []
    change = None
    with _atomic_output(options, out) as temporary:
        export(
            net,
            spec,
            temporary,
            options.to,
            nms=options.nms,
            calibration_images=calibration_images,
            static=options.static,
            input_type=options.input,
        )
        strict, report = not options.allow_accuracy_drop, None
        if options.to == "coreml":
            check_coreml(temporary, net, spec)
        else:
            report = verify(temporary, net, spec, verify_images, nms=options.nms, strict=strict)
            on_parity(report)
        if datasets:
            change = _measure_accuracy(net, spec, temporary, options, datasets, progress)
            on_accuracy(change)
            if strict:
                require_accuracy(change, temporary)
        if _has_spec_json(options):
            path = temporary.with_name(spec_path(out).name)
            with translate_write_errors(path):
                path.write_text(_spec_json(spec, options), encoding="utf-8")
        if options.to == "triton":
            triton_config_path(out).unlink(missing_ok=True)  # an old config never stands beside a new model
    files = model_files(options, out)
    record_written(*output_files(options, out))
    if options.to == "triton":
        _write_triton_config(out, spec)
    return ExportedModel(out, tuple(files), report, change, 0 if report is None else len(verify_images))


def _require_effect(options: ExportOptions) -> None:
    """Raise UsageError for options that would have no effect."""
    if options.to == "coreml" and options.verify_images:
        raise UsageError(
            "--verify-images: expected none for coreml, whose outputs are not compared, got some; "
            "remove --verify-images"
        )
    if options.eval_data and options.precision != "int8":
        raise UsageError(f"--eval-data: expected --precision int8 with it, got {options.precision}; remove --eval-data")
    if options.allow_accuracy_drop and options.precision == "float32":
        raise UsageError(
            "--allow-accuracy-drop: expected --precision bfloat16 or int8 with it, got float32, which must agree; "
            "remove --allow-accuracy-drop"
        )


def output_path(options: ExportOptions) -> Path:
    """The file that an export writes; precision, size and NMS are part of its default name.

    Raises:
        ModelError: There is no such model.
        UsageError: The suffix of `out` is not that of the format, or its name is none for Triton.
    """
    suffix = SUFFIXES[options.to]
    if options.to == "triton":
        return triton_file(options.out or Path(REPOSITORY, _model_name(options.model)))
    if options.out is None:
        weights = find_weights(options.model)
        precision = options.precision if options.precision != "float32" else ""
        resolution = "" if options.imgsz is None else f"{options.imgsz[0]}x{options.imgsz[1]}"
        name = "-".join(filter(None, [weights.stem, precision, resolution, "nms" * options.nms])) + suffix
        return Path(name) if options.model in MODELS else weights.with_name(name)
    if options.out.suffix != suffix:
        raise UsageError(f"--out: expected a file that ends in {suffix}, got {options.out}")
    return options.out


def spec_path(out: Path) -> Path:
    """The file of the spec beside an exported file."""
    return out.with_suffix(".json")


def model_files(options: ExportOptions, out: Path) -> list[Path]:
    """The files of a model that is exported to `out`; for Core ML those that exist."""
    if options.to == "coreml":
        return package_files(out)
    return [out, weights_path(out)] if options.to == "ncnn" else [out]


def output_files(options: ExportOptions, out: Path) -> list[Path]:
    """All files that an export to `out` writes or replaces: the model's, its config and its spec."""
    config = [triton_config_path(out)] if options.to == "triton" else []
    spec = [spec_path(out)] if _has_spec_json(options) else []
    return [*model_files(options, out), *config, *spec]


def _has_spec_json(options: ExportOptions) -> bool:
    return options.spec_json or options.to == "ncnn"


@contextmanager
def _atomic_output(options: ExportOptions, out: Path) -> Iterator[Path]:
    """A temporary path; the model there, and the files beside it, replace those at `out` when the block ends."""
    beside = [path for path in output_files(options, out) if path.parent == out.parent and path != out]
    if options.to == "coreml" or beside:
        with atomic_group(out, *beside) as folder:
            yield folder / out.name
    else:
        with atomic_path(out) as temporary:
            yield temporary


def _model_name(model: str) -> str:
    """The name of a run's folder, or of a model file."""
    return Path(model).resolve().name if Path(model).is_dir() else find_weights(model).stem


def _write_triton_config(out: Path, spec: Spec) -> None:
    """Write the config of the model file as it is on the disk."""
    import onnx

    path = triton_config_path(out)
    atomic_write(path, triton_config(onnx.load(out), spec, path.parent.name).encode())
    record_written(path)


def _spec_json(spec: Spec, options: ExportOptions) -> str:
    """The spec and the file's input and outputs, for runtimes that cannot read metadata."""
    image: dict[str, Any] = {"type": options.input, "shape": [1 if options.static else None, *spec.size, 3]}
    if options.to == "ncnn":
        image = {"type": "float32", "shape": [3, *spec.size]}
    if options.to == "coreml":
        image = {"type": "image RGB", "shape": [1, 3, *spec.size]}
    tensors = {
        "input": {"name": INPUT_NAME, **image},
        "outputs": list(nms_output_names(spec) if options.nms else output_names(spec)),
    }
    return json.dumps({**json.loads(spec.to_json()), **tensors}, indent=1) + "\n"


def _open_eval_sets(options: ExportOptions, spec: Spec) -> list[Dataset]:
    """Labeled images for the evaluation of an int8 file; calibration images are excluded."""
    if options.eval_data:
        return list(open_sources(options.eval_data, spec.classes))
    datasets = open_sources(tuple(source for source in options.calibration_data if _is_dataset(source)), spec.classes)
    return [
        subset_without(dataset, evenly_spaced(len(dataset), MAX_CALIBRATION_IMAGES), MAX_EVAL_IMAGES)
        for dataset in datasets
    ]


def _measure_accuracy(
    net: nn.Module, spec: Spec, path: Path, options: ExportOptions, datasets: list[Dataset], progress: Progress
) -> AccuracyChange:
    """The change of accuracy and speed from float32."""
    with TemporaryDirectory() as folder:
        reference_path = Path(folder, "float32").with_suffix(path.suffix)
        reference_spec = export_spec(spec, precision="float32")
        export(net, reference_spec, reference_path, options.to, nms=options.nms)
        reference = engine_for(reference_path, reference_spec)
        return accuracy_change(reference, engine_for(path, spec), datasets, progress)


def _open_images(sources: tuple[str, ...], max_images: int) -> list[ImageSource]:
    """The images of all sources, evenly spaced; the sample images if there are no sources."""
    if not sources:
        return [ImageSource(path) for path in find_images()]
    images: list[ImageSource] = []
    for source in sources:
        if _is_dataset(source):
            images += _dataset_images(source, max_images)
        else:
            images += [ImageSource(path) for path in find_images([source])]
    return [images[index] for index in evenly_spaced(len(images), max_images)]


def _is_dataset(source: str) -> bool:
    """Whether a source is a dataset string: it starts with the name of a format and is not a file."""
    name, colon, _ = source.partition(":")
    return bool(colon) and name in DATASET_FORMATS and not Path(source).exists()


def _dataset_images(text: str, max_images: int) -> list[ImageSource]:

    dataset = open_dataset(parse_source(text))
    if not len(dataset):
        raise DataError(f"{text}: expected images in this dataset, got none")
    return [dataset[index].image for index in evenly_spaced(len(dataset), max_images)]
