"""`blitznet calibrate`: a model's scores made to mean what they say, by its contract."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from blitznet.cli.console import bars, stdout
from blitznet.cli.engines import EngineFlag
from blitznet.cli.files import prepare_files
from blitznet.cli.flags import metavar
from blitznet.cli.sets import open_sets
from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT, MODELS

if TYPE_CHECKING:
    from rich.table import Table

    from blitznet.core.arrays import ClassMap, Flags, Floats
    from blitznet.core.sample import Sample
    from blitznet.core.spec import Spec
    from blitznet.metrics.calibration.platt import Fit, Platt
    from blitznet.metrics.calibration.temperature import Found as Warmth
    from blitznet.metrics.calibration.temperature import Search
    from blitznet.metrics.evaluate import Dataset
    from blitznet.runtime.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Make a score of 0.8 right 8 times of 10: a line for the scores of boxes, a temperature for painted pixels.

    Looks at labelled images that the model did not learn from, and writes a copy of its file whose contract has them;
    weights stay as they are. Detections stay the same and in order, so their average precision does not change.
    """

    model: Annotated[str, tyro.conf.Positional, metavar("[MODEL]")] = DEFAULT
    """A .safetensors, .onnx or .openvino file, a run folder, or the name of a model of the package. Not given:
    blitznet300-lite."""
    data: Annotated[tuple[str, ...], metavar("SET [SET ...]")]
    """Sets to look at, FORMAT:ROOT@SPLIT,option=value+value."""
    out: Annotated[Path | None, metavar("FILE")] = None
    """Not given: the model's name with -calibrated, beside it; that of a model of the package in the working folder."""
    engine: EngineFlag = "auto"
    """What computes. Not given: the fastest that is installed."""


def run(options: Calibrate) -> int:
    """Search, print, write."""
    from blitznet.api import find_model, load
    from blitznet.export.rewrite import WRITERS, rewrite

    path = find_model(options.model, engine=options.engine)
    if path.suffix not in WRITERS:
        raise UsageError(f"{path}: expected a {', '.join(WRITERS)} file, got '{path.suffix or path.name}'")
    out = options.out or _beside(path, named=options.model in MODELS)
    if out.suffix != path.suffix:
        raise UsageError(f"--out: expected a file that ends in {path.suffix}, got {out}")
    prepare_files(out)
    predictor = load(path, engine=options.engine)
    found = search(predictor, open_sets(options.data, predictor.spec.classes))
    spec = calibrated(predictor.spec, found)
    rewrite(path, spec, out)
    stdout().print(_table(found))
    print(f"model: {out}")
    return 0


@dataclass(frozen=True)
class Found:
    """What was found for each task; None for one that the model or the sets lack."""

    boxes: "Fit | None"
    pixels: "Warmth | None"


def search(predictor: "Predictor", datasets: "Sequence[Dataset]") -> Found:
    """Look at all images of the sets, once each."""
    from blitznet.metrics.calibration.platt import Platt
    from blitznet.metrics.calibration.temperature import Search

    boxes, pixels = Platt(), Search()
    total, number = sum(len(dataset) for dataset in datasets), 0
    with bars() as show:
        for dataset in datasets:
            for index in range(len(dataset)):
                _look(predictor, dataset[index], number, boxes, pixels)
                number += 1
                show("images", number, total)
    return Found(boxes.found(), pixels.found())


def _look(predictor: "Predictor", sample: "Sample", number: int, boxes: "Platt", pixels: "Search") -> None:
    """Add what one image tells."""
    from blitznet.core.outputs import Outputs
    from blitznet.metrics.calibration.ece import judged
    from blitznet.metrics.matching import object_table, prediction_table
    from blitznet.postprocess.postprocess import postprocess

    spec = predictor.spec.uncalibrated()
    fed = predictor.preprocess(sample.image)
    given = predictor.engine.run(fed.pixels[None])
    if not isinstance(given, Outputs):
        raise UsageError("this file finishes boxes itself; calibrate its .safetensors file and export that")
    result = postprocess(given, 0, spec, size=fed.original_size, input_size=fed.pixels.shape[:2])
    if "detection" in spec.tasks and sample.annotated_box_classes.any():
        boxes.add(number, *judged(prediction_table(0, result, sample), object_table(0, sample), "devkit"))
    truth = sample.class_map() if sample.annotated_mask_classes.any() else None
    if given.segmentation_logits is not None and truth is not None:
        _look_at_pixels(given.segmentation_logits[0], truth, sample.annotated_mask_classes, number, pixels)


def _look_at_pixels(logits: "Floats", truth: "ClassMap", known: "Flags", number: int, pixels: "Search") -> None:
    """Add what one image's mask tells at every temperature."""
    from blitznet.metrics.calibration.ece import pixel_bins
    from blitznet.metrics.calibration.temperature import TEMPERATURES
    from blitznet.postprocess.confidence import pixel_confidence
    from blitznet.postprocess.upsample import upsample_argmax

    size = (truth.shape[0], truth.shape[1])
    painted = upsample_argmax(logits, size)
    for place, temperature in enumerate(TEMPERATURES):
        sure = pixel_confidence(logits, size, temperature)
        pixels.add(number, place, pixel_bins(truth, painted, sure, known))


def calibrated(spec: "Spec", found: Found) -> "Spec":
    """The contract with what was found, its limit moved along; a task without labels keeps its own."""
    if found.boxes is None and found.pixels is None:
        raise UsageError("--data: nothing there tells right from wrong; wanted sets with boxes or masks")
    plain = spec.uncalibrated()
    warmth = spec.segmentation_temperature if found.pixels is None else found.pixels.temperature
    if found.boxes is None:
        return replace(spec, segmentation_temperature=warmth)
    line = found.boxes.line
    told = float(line.apply(np.array([plain.postprocess.score_threshold], np.float32))[0])
    limits = replace(plain.postprocess, score_threshold=float(f"{told:.9g}"))
    return replace(
        plain,
        score_calibration=PlattScaling(line.temperature, line.bias),
        segmentation_temperature=warmth,
        postprocess=limits,
    )


def _beside(path: Path, *, named: bool) -> Path:
    name = f"{path.stem}-calibrated{path.suffix}"
    return Path(name) if named else path.with_name(name)


def _table(found: Found) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("expected calibration error")
    for title in ("temperature", "shift", "as it is", "with them", "two-fold"):
        table.add_column(title, justify="right")
    boxes, pixels = found.boxes, found.pixels
    errors = [f"{value:.3f}" for value in (boxes.plain, boxes.error, boxes.two_fold)] if boxes else ["-"] * 3
    line = [f"{value:g}" for value in (boxes.line.temperature, boxes.line.bias)] if boxes else ["-"] * 2
    table.add_row("boxes from 0.3", *line, *errors)
    errors = [f"{value:.3f}" for value in (pixels.plain, pixels.error, pixels.two_fold)] if pixels else ["-"] * 3
    table.add_row("pixels not background", f"{pixels.temperature:g}" if pixels else "-", "", *errors)
    return table
