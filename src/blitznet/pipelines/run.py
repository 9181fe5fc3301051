"""Run a pipeline: execute its stages, skip completed ones, write the model files and compare the scores.

Every stage has a folder with `stage.json`: the fingerprint of the stage and its input files, and whether it is
complete. A completed stage with the same fingerprint is skipped. An interrupted stage continues: training resumes
from its checkpoint, pseudo-masks that exist are not generated again, other stages start again. Datasets are part of
the fingerprint by their names and the ids of their images. After a change of images, boxes or masks under the same
ids, delete the stages' folders.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from blitznet.api import load, load_teacher
from blitznet.core.arrays import ClassMap, RGBArray
from blitznet.core.errors import UsageError
from blitznet.core.files import atomic_path, atomic_write
from blitznet.core.image import ImageSource
from blitznet.core.progress import Progress, no_progress
from blitznet.core.sample import Dataset
from blitznet.core.selection import evenly_spaced
from blitznet.data.hash_split import held_out
from blitznet.data.pseudo import generate_pseudo_masks
from blitznet.data.soft_labels import generate_soft_labels
from blitznet.data.sources import open_dataset, open_mapped, open_sources, parse_source
from blitznet.export.formats import export, export_spec
from blitznet.export.rewrite import rewrite
from blitznet.export.verify import NUM_VERIFY_IMAGES, verify
from blitznet.metrics.calibration.fit import RawPrediction, calibrate_spec, fit_calibration
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model, save_model
from blitznet.nets.soup import average_weights, mix_in_weights
from blitznet.nets.transfer import transfer
from blitznet.pipelines.pipeline import (
    CalibrateStage,
    Pipeline,
    PseudoMaskStage,
    QuantizeStage,
    SoftLabelStage,
    SoupStage,
    Stage,
    TrainStage,
    WiseFtStage,
    label_inputs,
    model_inputs,
    stage_data,
)
from blitznet.report.model_card import ModelCard, ModelFile, render_model_card
from blitznet.runtime.predictor import Predictor
from blitznet.train.callbacks import ProgressCallback
from blitznet.train.config import TrainConfig
from blitznet.train.initialize import make_network
from blitznet.train.loop import Notify, train
from blitznet.train.optimizer import is_inside, require_modules


@dataclass(frozen=True, slots=True)
class Score:
    """An evaluated score beside the expected one, fractions 0..1."""

    name: str
    value: float | None
    """None if nothing could be measured"""
    expected: float
    tolerance: float

    @property
    def is_reached(self) -> bool:
        """Whether the value is at least the expected one, within the tolerance."""
        return self.value is not None and self.value >= self.expected - self.tolerance


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """The model files of a pipeline, and its scores."""

    weights: Path
    """.safetensors, to train further"""
    model: Path
    """.onnx, int8"""
    card: Path
    """.md"""
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where and on what machine a pipeline runs; none of these changes its result."""

    root: Path
    """folder of the datasets"""
    out: Path
    """folder of the stages and the model files"""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """TrainConfig fields such as workers, threads and device"""
    progress: Progress = no_progress
    notify: Notify = lambda _: None


def run_pipeline(pipeline: Pipeline, options: RunOptions) -> PipelineResult:
    """Run the stages that are not complete, and write the model files.

    All datasets are opened before the first stage runs, so a missing one is an error at once.

    Args:
        pipeline: What to run.
        options: Folders, machine and callbacks.

    Raises:
        TrainingInterrupted: Ctrl-C or SIGTERM while training; the same call resumes.
        UsageError: A stage's folder belongs to other options or inputs.
        DataError: A dataset is missing or broken.
        ModelError: The int8 file differs from the model.
    """
    image_ids = _digest_image_ids(pipeline, options)
    for number, stage in enumerate(pipeline.stages, start=1):
        label = f"{number}/{len(pipeline.stages)} {stage.name}"
        folder = options.out / stage.name
        stage_progress = partial(_progress, options.progress, label)
        execute = partial(_execute, pipeline, stage, replace(options, progress=stage_progress))
        description = _describe(pipeline, stage, options, image_ids)
        _run_once(folder, description, stage_output(stage, options.out), execute, label, options)
    return _write_model_files(pipeline, options, image_ids)


def stage_output(stage: Stage, out: Path) -> Path:
    """The model file or the folder of pseudo-masks that a stage writes."""
    folder = out / stage.name
    match stage:
        case PseudoMaskStage():
            return folder / "masks"
        case SoftLabelStage():
            return folder / "labels"
        case TrainStage():
            return folder / "run" / "last.safetensors"
        case SoupStage() | WiseFtStage() | CalibrateStage():
            return folder / "model.safetensors"
        case QuantizeStage():
            return folder / "model.onnx"


def _progress(progress: Progress, stage: str, label: str, done: int, total: int) -> None:
    progress(f"{stage}: {label}" if label else stage, done, total)


def _run_once(
    folder: Path,
    description: Mapping[str, Any],
    output: Path,
    execute: Callable[[], None],
    label: str,
    options: RunOptions,
) -> None:
    """Run a stage unless its folder has the complete output of the same description.

    Raises:
        UsageError: The folder has a stage with another description.
    """
    record, fingerprint = folder / "stage.json", _digest(json.dumps(description, sort_keys=True).encode())
    stored = _read_record(record)
    if stored and stored.get("fingerprint") != fingerprint:
        changed = [name for name, value in description.items() if stored.get("inputs", {}).get(name) != value]
        raise UsageError(
            f"{folder}: expected a stage with the same options and inputs, got other {', '.join(changed)}; "
            "delete the folder and those of later stages, or choose another --out"
        )
    if stored.get("complete") and output.exists():
        options.notify(f"{label}: complete, skipped")
        return
    content = {"inputs": description, "fingerprint": fingerprint}
    atomic_write(record, _json_bytes({**content, "complete": False}))
    execute()
    atomic_write(record, _json_bytes({**content, "complete": True}))


def _digest_image_ids(pipeline: Pipeline, options: RunOptions) -> dict[str, str]:
    """A hash of the image ids of every dataset of the pipeline, by its text."""
    texts = [text for stage in pipeline.stages for text in stage_data(stage)]
    return {
        text: _digest("\n".join(open_dataset(parse_source(path)).ids).encode())
        for text in dict.fromkeys((*texts, *pipeline.data))
        for path in _resolve((text,), options)
    }


def _describe(pipeline: Pipeline, stage: Stage, options: RunOptions, image_ids: Mapping[str, str]) -> dict[str, Any]:
    """What determines a stage's output: its options, and the hashes of its input files and image ids."""
    files = {name: stage_output(pipeline.stage(name), options.out) for name in model_inputs(stage)}
    description: dict[str, Any] = {"kind": type(stage).__name__, "name": stage.name}
    match stage:
        case PseudoMaskStage() | SoftLabelStage():
            description |= {"data": stage.data, "teacher": stage.teacher}
            teacher = Path(_teacher(pipeline, stage, options))
            if teacher.is_file():
                files[stage.teacher] = teacher
        case TrainStage():
            description |= _train_options(stage.config)
            for name, kind in label_inputs(stage):
                folder = stage_output(pipeline.stage(name), options.out)
                description["pseudo_masks" if kind is PseudoMaskStage else "soft_labels"] = _digest_folder(folder)
            if stage.config.init == "model" and Path(stage.config.model).is_file():
                files["model"] = Path(stage.config.model)
            if stage.config.encoder_weights is not None:
                files["encoder_weights"] = stage.config.encoder_weights
        case SoupStage():
            description |= {"models": stage.models, "weights": stage.weights}
        case WiseFtStage():
            description |= {"initial_fraction": stage.initial_fraction, "modules": stage.modules}
        case CalibrateStage():
            description |= {"data": stage.data, "holdout": stage.holdout}
        case QuantizeStage():
            description |= {"data": stage.data, "max_images": stage.max_images}
    hashes = {f"model {name}": _digest(path.read_bytes()) for name, path in files.items()}
    ids = {f"images of {text}": image_ids[text] for text in stage_data(stage)}
    plain: dict[str, Any] = json.loads(json.dumps(description | hashes | ids))
    return plain


def _train_options(config: TrainConfig) -> dict[str, Any]:
    """The options that change the trained weights."""
    neutral = ("root", "out", "workers", "threads", "device", "loggers", "save_every", "log_every", "eval_every")
    options = {name: value for name, value in json.loads(config.to_json()).items() if name not in neutral}
    # left out where unused, so that stages from before these options existed stay complete
    return {name: value for name, value in options.items() if value is not None or name not in ("epochs", "patience")}


def _execute(pipeline: Pipeline, stage: Stage, options: RunOptions) -> None:
    """Write a stage's output."""
    output = stage_output(stage, options.out)
    match stage:
        case PseudoMaskStage():
            _generate_pseudo_masks(pipeline, stage, output, options)
        case SoftLabelStage():
            _generate_soft_labels(pipeline, stage, output, options)
        case TrainStage():
            config = _train_config(pipeline, stage, options)
            train(config, callbacks=[ProgressCallback(options.progress)], notify=options.notify)
        case SoupStage():
            net, spec = average_weights([_model(pipeline, name, options) for name in stage.models], stage.weights)
            save_model(output, net, spec)
        case WiseFtStage():
            _mix_in_initial_weights(pipeline, stage, output, options)
        case CalibrateStage():
            _calibrate(_model(pipeline, stage.model, options), stage, pipeline.name, output, options)
        case QuantizeStage():
            _quantize(_model(pipeline, stage.model, options), stage, output, options)


def _train_config(pipeline: Pipeline, stage: TrainStage, options: RunOptions) -> TrainConfig:
    config = replace(stage.config, root=options.root, out=options.out / stage.name / "run", **options.machine)
    if stage.init_from is not None:
        config = replace(config, init="model", model=str(_model(pipeline, stage.init_from, options)))
    if stage.pseudo_masks is not None:
        config = replace(config, pseudo_masks=stage_output(pipeline.stage(stage.pseudo_masks), options.out))
    if stage.soft_labels is not None:
        config = replace(config, soft_labels=stage_output(pipeline.stage(stage.soft_labels), options.out))
    return config


def _mix_in_initial_weights(pipeline: Pipeline, stage: WiseFtStage, output: Path, options: RunOptions) -> None:
    training = pipeline.stage(stage.model)
    assert isinstance(training, TrainStage), "checked by Pipeline"
    net, spec = load_model(_model(pipeline, stage.model, options))
    start, start_spec = make_network(_train_config(pipeline, training, options), spec.classes)
    initial = build(spec)
    transfer(start, start_spec, initial, spec)
    require_modules(net, f"stage {stage.name}", stage.modules)
    mix_in_weights(
        net, initial, stage.initial_fraction, [name for name in net.state_dict() if is_inside(name, stage.modules)]
    )
    origin = f"mixed with {stage.initial_fraction:.0%} of the initial weights in {len(stage.modules)} modules"
    save_model(output, net, replace(spec, provenance=f"{spec.provenance}; {origin}"))


def _generate_pseudo_masks(pipeline: Pipeline, stage: PseudoMaskStage, folder: Path, options: RunOptions) -> None:
    predictor = load(_teacher(pipeline, stage, options))

    def predict(image: ImageSource) -> ClassMap:
        class_map = predictor(image).class_map
        if class_map is None:
            raise UsageError(f"stage {stage.name}: expected a teacher that segments, got {stage.teacher}")
        return class_map

    for text in _resolve(stage.data, options):
        source = parse_source(text)
        dataset = open_mapped(source, predictor.spec.classes)
        for done, _ in enumerate(generate_pseudo_masks(predict, dataset, source, folder), start=1):
            options.progress(source.title, done, len(dataset))
    folder.mkdir(parents=True, exist_ok=True)


def _generate_soft_labels(pipeline: Pipeline, stage: SoftLabelStage, folder: Path, options: RunOptions) -> None:
    teacher = load_teacher(_teacher(pipeline, stage, options))
    for text in _resolve(stage.data, options):
        source = parse_source(text)
        dataset = open_dataset(source)
        for done, _ in enumerate(generate_soft_labels(teacher, dataset, source, folder), start=1):
            options.progress(source.title, done, len(dataset))


def _teacher(pipeline: Pipeline, stage: PseudoMaskStage | SoftLabelStage, options: RunOptions) -> str:
    """The file or the name of a stage's teacher."""
    if _is_stage(pipeline, stage.teacher):
        return str(_model(pipeline, stage.teacher, options))
    return _resolve((stage.teacher,), options)[0]


def _calibrate(model: Path, stage: CalibrateStage, name: str, output: Path, options: RunOptions) -> None:
    """Calibrate a model, and give it the name of the pipeline."""
    predictor = load(model)
    assert isinstance(predictor, Predictor), "a predictor without slices"

    def predict(image: ImageSource) -> RawPrediction:
        model_input = predictor.preprocess(image)
        height, width = model_input.pixels.shape[:2]
        outputs = predictor.engine.run(model_input.pixels[None])
        return RawPrediction(outputs, size=model_input.original_size, input_size=(height, width))

    datasets: list[Dataset] = list(open_sources(_resolve(stage.data, options), predictor.spec.classes))
    if stage.holdout is not None:
        datasets = [held_out(dataset, stage.holdout) for dataset in datasets]
    fit = fit_calibration(predict, predictor.spec, datasets, options.progress)
    rewrite(model, replace(calibrate_spec(predictor.spec, fit), name=name), output)


def _quantize(model: Path, stage: QuantizeStage, output: Path, options: RunOptions) -> None:
    """Export to int8, and verify the file as `blitznet export` does."""
    net, spec = load_model(model)
    spec = export_spec(spec, precision="int8")
    sources = _calibration_sources(stage, spec.classes, options)
    images: list[RGBArray] = []
    for source in sources:
        images.append(source.resize(spec.size))
        options.progress("images", len(images), len(sources))
    verify_sources = [sources[index] for index in evenly_spaced(len(sources), NUM_VERIFY_IMAGES[spec.precision])]
    hint = f"keep such a file with `allow_accuracy_drop` of the stage {stage.name}"
    with atomic_path(output) as temporary:
        export(net, spec, temporary, "onnx", calibration_images=images)
        report = verify(temporary, net, spec, verify_sources, strict=not stage.allow_accuracy_drop, hint=hint)
    failure = report.worst_failure()
    if failure is not None:
        options.notify(f"{output}: outputs differ from the network's; {failure}")


def _calibration_sources(stage: QuantizeStage, class_names: tuple[str, ...], options: RunOptions) -> list[ImageSource]:
    """Up to `max_images` images of all sets, evenly spaced."""
    datasets = open_sources(_resolve(stage.data, options), class_names)
    entries = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    selected = [entries[index] for index in evenly_spaced(len(entries), stage.max_images)]
    return [dataset[index].image for dataset, index in selected]


def _write_model_files(pipeline: Pipeline, options: RunOptions, image_ids: Mapping[str, str]) -> PipelineResult:
    """Copy the model files, evaluate the int8 one, and write the model card."""
    final = pipeline.stages[-1]
    assert isinstance(final, QuantizeStage), "checked by Pipeline"
    quantized, weights = stage_output(final, options.out), _model(pipeline, final.model, options)
    folder, report = options.out / "evaluation", options.out / "evaluation" / "scores.json"
    files = [options.out / f"{pipeline.name}{suffix}" for suffix in (".safetensors", ".onnx")]
    description = {
        "kind": "evaluation",
        "data": list(pipeline.data),
        "weights": _digest(weights.read_bytes()),
        "quantized": _digest(quantized.read_bytes()),
        "notes": pipeline.notes,
        **{f"images of {text}": image_ids[text] for text in pipeline.data},
    }
    card = options.out / f"{pipeline.name}.md"

    def execute() -> None:
        # Kernels in half precision take half of the space.
        save_model(files[0], *load_model(weights), dtype=torch.float16)
        atomic_write(files[1], quantized.read_bytes())
        atomic_write(report, _json_bytes(_evaluate(files[1], pipeline, options)))
        atomic_write(card, _render_card(pipeline, files, json.loads(report.read_text())).encode())

    _run_once(folder, description, card, execute, "evaluation", options)
    return PipelineResult(files[0], files[1], card, tuple(_scores(pipeline, json.loads(report.read_text()))))


def _evaluate(model: Path, pipeline: Pipeline, options: RunOptions) -> dict[str, Any]:
    predictor = load(model)
    datasets = open_sources(_resolve(pipeline.data, options), predictor.spec.classes)
    progress = partial(_progress, options.progress, "evaluation")
    return evaluate(predictor, datasets, EvalConfig(tasks=predictor.spec.tasks), progress=progress).to_dict()


def _scores(pipeline: Pipeline, report: Mapping[str, Any]) -> Iterator[Score]:
    for name, expected in pipeline.expected.items():
        task = "segmentation" if name == "miou" else "detection"
        yield Score(name, (report.get(task) or {}).get(name), expected, pipeline.tolerance)


def _render_card(pipeline: Pipeline, files: list[Path], scores: dict[str, Any]) -> str:
    net, spec = load_model(files[0])
    model_files = []
    for path, precision in zip(files, ("float32", "int8"), strict=True):
        content = path.read_bytes()
        model_files.append(ModelFile(path.name, len(content), _digest(content), precision))
    return render_model_card(
        ModelCard(
            spec=spec,
            files=tuple(model_files),
            parameters=sum(parameter.numel() for parameter in net.parameters()),
            notes=pipeline.notes,
            scores=scores,
        )
    )


def _model(pipeline: Pipeline, name: str, options: RunOptions) -> Path:
    return stage_output(pipeline.stage(name), options.out)


def _is_stage(pipeline: Pipeline, name: str) -> bool:
    return any(stage.name == name for stage in pipeline.stages)


def _resolve(texts: tuple[str, ...], options: RunOptions) -> tuple[str, ...]:
    return tuple(text.replace("{root}", str(options.root)) for text in texts)


def _read_record(path: Path) -> dict[str, Any]:
    """A stage's record; empty if there is none."""
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text())
    except json.JSONDecodeError:
        values = None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected the JSON record of a stage, got other text; delete the folder")
    return values


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_folder(folder: Path) -> str:
    """A hash of the paths and contents of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {_digest(path.read_bytes())}\n".encode())
    return digest.hexdigest()
