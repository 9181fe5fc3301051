"""`blitznet export`: a trained model as one ONNX file, and the proof that it answers the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from blitznet.cli.flags import said
from blitznet.cli.outputs import prepare_files
from blitznet.cli.screen import stdout
from blitznet.core.errors import DataError, ModelError, UsageError
from blitznet.core.models import MODELS

if TYPE_CHECKING:
    from rich.table import Table

    from blitznet.core.photo import Photo
    from blitznet.core.spec import Spec
    from blitznet.export.verify import Parity

MOST = 20
"""photos of a data set that are compared"""


@dataclass(frozen=True)
class Export:
    """Write a trained model as one ONNX file for `predict` and `eval`, which need no torch then.

    The file is kept only if it answers as the network does.
    """

    model: Annotated[str, tyro.conf.Positional, said("MODEL")]
    """A .safetensors file, a run folder, or the name of a model of the package."""
    out: Annotated[Path | None, said("FILE.onnx")] = None
    """Not given: the model's name with .onnx, beside it; that of a model of the package in the working folder."""
    verify: Annotated[tuple[str, ...], said("SOURCE [SOURCE ...]")] = ()
    """What to compare on: photos, folders, globs, or sets FORMAT:ROOT@SPLIT, of which 20 photos are taken. Not given:
    the sample photos of the package."""


def run(options: Export) -> int:
    """Export, verify, and say how close the two are."""
    from blitznet.export.onnx import export_onnx
    from blitznet.export.verify import verify
    from blitznet.nets.files import load_model

    weights = _weights(options.model)
    out = options.out or (Path(weights.name) if options.model in MODELS else weights).with_suffix(".onnx")
    if out.suffix != ".onnx":
        raise UsageError(f"--out: wanted a file that ends in .onnx, came {out}")
    prepare_files(out)
    photos = _photos(options.verify)
    net, spec = load_model(weights)
    export_onnx(net, spec, out)
    parity = verify(out, net, spec, photos)
    console = stdout()
    console.print(_parity_table(parity, spec))
    print(f"model: {out} ({out.stat().st_size / 1e6:.1f} MB)   compared on {len(photos)} photos")
    return 0


def _weights(model: str) -> Path:
    from blitznet.api import WEIGHTS, find_model

    path = WEIGHTS / f"{model}.safetensors" if model in MODELS else find_model(model)
    if not path.is_file():
        raise ModelError(f"'{model}' has no trained weights in the package; give a .safetensors file or a run folder")
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: wanted a .safetensors file or a run folder, came '{path.suffix or path.name}'")
    return path


def _photos(sources: tuple[str, ...]) -> "list[Photo]":
    """The photos to compare on; a source that is no file and begins with a format's name is a data set."""
    from blitznet.core.photo import Photo
    from blitznet.data.sources import FORMATS
    from blitznet.runtime.photos import find_photos

    if not sources:
        return [Photo(path) for path in find_photos()]
    photos: list[Photo] = []
    for source in sources:
        form, colon, _ = source.partition(":")
        is_set = colon and form in FORMATS and not Path(source).exists()
        photos += _photos_of_set(source) if is_set else [Photo(path) for path in find_photos([source])]
    return photos


def _photos_of_set(text: str) -> "list[Photo]":
    """Up to `MOST` photos, evenly from the whole set."""
    from blitznet.data.sources import open_dataset, parse_source

    dataset = open_dataset(parse_source(text))
    if not len(dataset):
        raise DataError(f"{text}: there is no photo in this set")
    count = min(len(dataset), MOST)
    return [dataset[number * len(dataset) // count].photo for number in range(count)]


def _parity_table(parity: "Parity", spec: "Spec") -> "Table":
    """The largest differences, each beside what is allowed."""
    from rich.table import Table

    from blitznet.export.verify import PIXELS, RAW, SCORE
    from blitznet.nets.deploy import answers

    table = Table("answer", box=None, pad_edge=False)
    table.add_column("largest difference", justify="right")
    table.add_column("allowed", justify="right")
    for name in answers(spec):
        table.add_row(f"{name}, in deviations", f"{parity.raw[name]:.1e}", f"{RAW:.1e}")
    if "detection" in spec.tasks:
        table.add_row("sides of boxes, pixels", f"{parity.pixels:.1e}", f"{PIXELS:.1e}")
        table.add_row("scores", f"{parity.score:.1e}", f"{SCORE:.1e}")
    return table
