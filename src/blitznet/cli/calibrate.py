"""`blitznet calibrate`: the temperatures at which a model's scores mean what they say, put into its contract."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

    from blitznet.core.sample import Sample
    from blitznet.core.spec import Spec
    from blitznet.metrics.evaluate import Dataset
    from blitznet.metrics.temperature import Found, Search
    from blitznet.runtime.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Find the temperatures at which a score of 0.8 is right 8 times of 10, for boxes and for painted pixels.

    Looks at labelled photos that the model did not learn from, and writes a copy of its file whose contract has the
    temperatures; weights stay as they are. The order of a photo's detections hardly changes, so precision does not.
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
    spec = _calibrated(predictor.spec, found)
    rewrite(path, spec, out)
    stdout().print(_table(found))
    print(f"model: {out}   temperature {spec.temperature:g}, of the class map {spec.map_temperature:g}")
    return 0


def search(predictor: "Predictor", datasets: "Sequence[Dataset]") -> "dict[str, Found | None]":
    """What is found for each of the model's tasks on all photos of the sets."""
    from blitznet.metrics.temperature import Search

    searches: dict[str, Search] = {task: Search() for task in predictor.spec.tasks}
    total, number = sum(len(dataset) for dataset in datasets), 0
    with bars() as show:
        for dataset in datasets:
            for index in range(len(dataset)):
                _add(predictor, dataset[index], number, searches)
                number += 1
                show("photos", number, total)
    return {task: one.found() for task, one in searches.items()}


def _add(predictor: "Predictor", sample: "Sample", number: int, searches: "dict[str, Search]") -> None:
    """Look at one photo once, and finish what was seen at every temperature."""
    from blitznet.core.result import Outputs
    from blitznet.metrics.calibration import box_bins, pixel_bins
    from blitznet.metrics.pairing import detections_of, objects_of
    from blitznet.metrics.temperature import TEMPERATURES
    from blitznet.runtime.finish import finish

    fed = predictor.feed(sample.photo)
    given = predictor.engine.run(fed.pixels[None])
    if not isinstance(given, Outputs):
        raise UsageError("this file finishes boxes itself; calibrate its .safetensors file and export that")
    truth = sample.class_map() if "segmentation" in searches and sample.mask_classes.any() else None
    for place, temperature in enumerate(TEMPERATURES):
        spec = replace(predictor.spec, temperature=temperature, map_temperature=temperature)
        result = finish(given, 0, spec, size=fed.size, fed=fed.pixels.shape[:2], limits=predictor.limits)
        if "detection" in searches and sample.box_classes.any():
            bins = box_bins(detections_of(0, result, sample), objects_of(0, sample), "devkit")
            searches["detection"].add(number, place, bins)
        if truth is not None and result.class_map is not None and result.certainty is not None:
            bins = pixel_bins(truth, result.class_map, result.certainty, sample.mask_classes)
            searches["segmentation"].add(number, place, bins)


def _calibrated(spec: "Spec", found: "dict[str, Found | None]") -> "Spec":
    """The contract with the temperatures that were found; a task without labels keeps its own."""
    boxes, pixels = found.get("detection"), found.get("segmentation")
    if boxes is None and pixels is None:
        raise UsageError("--data: nothing there tells right from wrong; wanted sets with boxes or masks")
    return replace(
        spec,
        temperature=spec.temperature if boxes is None else boxes.temperature,
        map_temperature=spec.map_temperature if pixels is None else pixels.temperature,
    )


def _beside(path: Path, *, named: bool) -> Path:
    name = f"{path.stem}-calibrated{path.suffix}"
    return Path(name) if named else path.with_name(name)


def _table(found: "dict[str, Found | None]") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("expected calibration error")
    for title in ("temperature", "at 1", "at it", "two-fold"):
        table.add_column(title, justify="right")
    for task, one in found.items():
        what = "boxes from 0.3" if task == "detection" else "pixels not background"
        cells = (
            ("-",) * 4
            if one is None
            else (f"{one.temperature:g}", f"{one.plain:.3f}", f"{one.error:.3f}", f"{one.two_fold:.3f}")
        )
        table.add_row(what, *cells)
    return table
