"""`blitznet calibrate`: fit the calibration of a model's scores and store it in a copy of the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from blitznet.cli.console import progress_bars, stdout_console
from blitznet.cli.datasets import open_datasets
from blitznet.cli.engines import EngineFlag
from blitznet.cli.files import prepare_files
from blitznet.cli.flags import OverwriteFlag, metavar
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT, MODELS
from blitznet.core.written_files import record_written

if TYPE_CHECKING:
    from rich.table import Table

    from blitznet.core.image import ImageSource
    from blitznet.core.sample import Dataset
    from blitznet.metrics.calibration.fit import CalibrationFit, RawPrediction
    from blitznet.metrics.calibration.platt import PlattFit
    from blitznet.metrics.calibration.temperature import TemperatureFit
    from blitznet.runtime.predictor import BasePredictor


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Calibrate confidences: Platt scaling for box scores, temperature scaling for the segmentation.

    Fits both on labeled images that the model was not trained on, and writes a copy of the model whose spec has them.
    Of the boxes with a calibrated score of 0.8, about 80 % are correct. The weights, the boxes, their order and the
    average precision stay the same.

    Examples:
        blitznet calibrate --data voc:VOC2012@val
        blitznet calibrate runs/mine --data coco:data@val --out mine.safetensors
    """

    model: Annotated[str, tyro.conf.Positional, metavar("[MODEL]")] = DEFAULT
    """Name of a model in the package, a .safetensors, .onnx or .openvino file, or a run folder. Default:
    blitznet300-lite."""
    data: Annotated[tuple[str, ...], metavar("DATASET [DATASET ...]")]
    """Fit on these labeled datasets, FORMAT:ROOT@SPLIT,option=value+value."""
    out: Annotated[Path | None, metavar("FILE")] = None
    """Write the calibrated model to this file. Default: NAME-calibrated in the model's folder, or in the working folder
    for a model in the package."""
    engine: EngineFlag = "auto"
    overwrite: OverwriteFlag = False


def run(options: Calibrate) -> int:
    """Fit, write the model, print the calibration errors before and after."""
    from blitznet.api import load, model_file
    from blitznet.export.rewrite import WRITERS, rewrite
    from blitznet.metrics.calibration.fit import calibrate_spec

    path = model_file(options.model, options.engine)
    if path.suffix not in WRITERS:
        raise UsageError(f"{path}: expected a {', '.join(WRITERS)} file, got '{path.suffix or path.name}'")
    out = options.out or _default_out(path, packaged=options.model in MODELS)
    if out.suffix != path.suffix:
        raise UsageError(f"--out: expected a file that ends in {path.suffix}, got {out}")
    prepare_files(out, overwrite=options.overwrite)
    predictor = load(path, engine=options.engine)
    fit = fit_predictor(predictor, open_datasets(options.data, predictor.spec.classes))
    rewrite(path, calibrate_spec(predictor.spec, fit), out)
    record_written(out)
    stdout_console().print(_table(fit))
    print(f"model: {out}")
    return 0


def fit_predictor(predictor: "BasePredictor", datasets: "Sequence[Dataset]") -> "CalibrationFit":
    """Fit the calibration of a predictor's model, with progress bars."""
    from blitznet.metrics.calibration.fit import RawPrediction, fit_calibration

    def predict(image: "ImageSource") -> "RawPrediction":
        model_input = predictor.preprocess(image)
        height, width = model_input.pixels.shape[:2]
        outputs = predictor.engine.run(model_input.pixels[None])
        return RawPrediction(outputs, size=model_input.original_size, input_size=(height, width))

    with progress_bars() as progress:
        return fit_calibration(predict, predictor.spec, datasets, progress)


def _default_out(path: Path, *, packaged: bool) -> Path:
    name = f"{path.stem}-calibrated{path.suffix}"
    return Path(name) if packaged else path.with_name(name)


def _table(fit: "CalibrationFit") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("expected calibration error")
    for title in ("temperature", "bias", "before", "after", "cross-validated"):
        table.add_column(title, justify="right")
    scaling = ["-"] * 2
    if fit.boxes:
        scaling = [f"{value:g}" for value in (fit.boxes.scaling.temperature, fit.boxes.scaling.bias)]
    temperature = f"{fit.pixels.temperature:g}" if fit.pixels else "-"
    table.add_row("boxes, score ≥ 0.3", *scaling, *_errors(fit.boxes))
    table.add_row("pixels, not background", temperature, "", *_errors(fit.pixels))
    return table


def _errors(fit: "PlattFit | TemperatureFit | None") -> list[str]:
    """Calibration errors before and after the fit, and cross-validated."""
    if fit is None:
        return ["-"] * 3
    return [f"{error:.3f}" for error in (fit.ece_before, fit.ece_after, fit.cross_validated_ece)]
