"""`blitznet calibrate`: a model's scores made to mean what they say, by its contract."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from blitznet.cli.engines import EngineFlag
from blitznet.cli.flags import said
from blitznet.cli.outputs import prepare_files
from blitznet.cli.screen import bars, stdout
from blitznet.cli.sets import open_sets
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT, MODELS

if TYPE_CHECKING:
    from rich.table import Table

    from blitznet.core.arrays import ClassMap, Flags, Floats
    from blitznet.core.sample import Sample
    from blitznet.core.spec import Spec
    from blitznet.metrics.evaluate import Dataset
    from blitznet.metrics.platt import Fit, Platt
    from blitznet.metrics.temperature import Found as Warmth
    from blitznet.metrics.temperature import Search
    from blitznet.runtime.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Make a score of 0.8 right 8 times of 10: a line for the scores of boxes, a temperature for painted pixels.

    Looks at labelled photos that the model did not learn from, and writes a copy of its file whose contract has them;
    weights stay as they are. Detections stay the same and in order, so their average precision does not change.
    """

    model: Annotated[str, tyro.conf.Positional, said("[MODEL]")] = DEFAULT
    """A .safetensors, .onnx or .openvino file, a run folder, or the name of a model of the package. Not given:
    blitznet300-lite."""
    data: Annotated[tuple[str, ...], said("SET [SET ...]")]
    """Sets to look at, FORMAT:ROOT@SPLIT,option=value+value."""
    out: Annotated[Path | None, said("FILE")] = None
    """Not given: the model's name with -calibrated, beside it; that of a model of the package in the working folder."""
    engine: EngineFlag = "auto"
    """What computes. Not given: the fastest that is installed."""


def run(options: Calibrate) -> int:
    """Search, print, write."""
    from blitznet.api import find_model, load
    from blitznet.export.rewrite import WRITERS, rewrite

    path = find_model(options.model, engine=options.engine)
    if path.suffix not in WRITERS:
        raise UsageError(f"{path}: wanted a {', '.join(WRITERS)} file, came '{path.suffix or path.name}'")
    out = options.out or _beside(path, named=options.model in MODELS)
    if out.suffix != path.suffix:
        raise UsageError(f"--out: wanted a file that ends in {path.suffix}, came {out}")
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
    """Look at all photos of the sets, once each."""
    from blitznet.metrics.platt import Platt
    from blitznet.metrics.temperature import Search

    boxes, pixels = Platt(), Search()
    total, number = sum(len(dataset) for dataset in datasets), 0
    with bars() as show:
        for dataset in datasets:
            for index in range(len(dataset)):
                _look(predictor, dataset[index], number, boxes, pixels)
                number += 1
                show("photos", number, total)
    return Found(boxes.found(), pixels.found())


def _look(predictor: "Predictor", sample: "Sample", number: int, boxes: "Platt", pixels: "Search") -> None:
    """Add what one photo tells."""
    from blitznet.core.result import Outputs
    from blitznet.metrics.calibration import judged
    from blitznet.metrics.pairing import detections_of, objects_of
    from blitznet.runtime.finish import finish

    spec = predictor.spec.uncalibrated()
    fed = predictor.feed(sample.photo)
    given = predictor.engine.run(fed.pixels[None])
    if not isinstance(given, Outputs):
        raise UsageError("this file finishes boxes itself; calibrate its .safetensors file and export that")
    result = finish(given, 0, spec, size=fed.size, fed=fed.pixels.shape[:2])
    if "detection" in spec.tasks and sample.box_classes.any():
        boxes.add(number, *judged(detections_of(0, result, sample), objects_of(0, sample), "devkit"))
    truth = sample.class_map() if sample.mask_classes.any() else None
    if given.class_map is not None and truth is not None:
        _look_at_pixels(given.class_map[0], truth, sample.mask_classes, number, pixels)


def _look_at_pixels(logits: "Floats", truth: "ClassMap", known: "Flags", number: int, pixels: "Search") -> None:
    """Add what one photo's mask tells at every temperature."""
    from blitznet.metrics.calibration import pixel_bins
    from blitznet.metrics.temperature import TEMPERATURES
    from blitznet.runtime.certainty import certainty
    from blitznet.runtime.paint import paint

    size = (truth.shape[0], truth.shape[1])
    painted = paint(logits, size)
    for place, temperature in enumerate(TEMPERATURES):
        sure = certainty(logits, size, temperature)
        pixels.add(number, place, pixel_bins(truth, painted, sure, known))


def calibrated(spec: "Spec", found: Found) -> "Spec":
    """The contract with what was found, its limit moved along; a task without labels keeps its own."""
    if found.boxes is None and found.pixels is None:
        raise UsageError("--data: nothing there tells right from wrong; wanted sets with boxes or masks")
    plain = spec.uncalibrated()
    warmth = spec.map_temperature if found.pixels is None else found.pixels.temperature
    if found.boxes is None:
        return replace(spec, map_temperature=warmth)
    line = found.boxes.line
    told = float(line.told(np.array([plain.limits.score], np.float32))[0])
    limits = replace(plain.limits, score=float(f"{told:.9g}"))
    return replace(plain, temperature=line.temperature, shift=line.shift, map_temperature=warmth, limits=limits)


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
    line = [f"{value:g}" for value in boxes.line] if boxes else ["-"] * 2
    table.add_row("boxes from 0.3", *line, *errors)
    errors = [f"{value:.3f}" for value in (pixels.plain, pixels.error, pixels.two_fold)] if pixels else ["-"] * 3
    table.add_row("pixels not background", f"{pixels.temperature:g}" if pixels else "-", "", *errors)
    return table
