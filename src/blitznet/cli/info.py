"""`blitznet info`: metadata of a model file, and its model card."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from blitznet.cli.console import stdout_console
from blitznet.cli.engines import TrustFlag
from blitznet.cli.files import prepare_files, write_bytes
from blitznet.cli.flags import OverwriteFlag, metavar
from blitznet.core.errors import UsageError
from blitznet.core.files import atomic_path, translate_write_errors
from blitznet.core.models import DEFAULT
from blitznet.core.written_files import record_written

if TYPE_CHECKING:
    from blitznet.report.model_card import ModelCard, ModelFile

_MIN_SCORE = 0.5
"""minimum score of the boxes drawn for the card"""
_JPEG_QUALITY = 85


@dataclass(frozen=True, kw_only=True)
class Info:
    """Print a model's spec; with --card, write its model card, a Markdown page.

    The card has the spec, the checksums of the files, and optionally scores, speed, notes and example predictions.

    Examples:
        blitznet info
        blitznet info mine.onnx --card mine.md --scores scores.json --speed bench.json --images "images/*.jpg"
    """

    model: Annotated[str, tyro.conf.Positional, metavar("[MODEL]")] = DEFAULT
    """Name of a model in the package, model file, or folder of a training run. Default: blitznet300-lite."""
    card: Annotated[Path | None, metavar("FILE.md")] = None
    """Write the model card to this file, and images beside it. Default: no card."""
    files: Annotated[tuple[Path, ...], metavar("FILE [FILE ...]")] = ()
    """List these further files of the model on the card. Default: the model's file only."""
    scores: Annotated[Path | None, metavar("FILE.json")] = None
    """Put the scores of `blitznet eval --json` on the card. Default: none."""
    speed: Annotated[Path | None, metavar("FILE.json")] = None
    """Put the timings of `blitznet bench --json` on the card. Default: none."""
    notes: Annotated[Path | None, metavar("FILE.md")] = None
    """Put this text on the card: training data and its terms, teachers, known failures. Default: none."""
    images: Annotated[tuple[str, ...], metavar("SOURCE [SOURCE ...]")] = ()
    """Show predictions for these images, folders and quoted globs on the card. Default: none."""
    overwrite: OverwriteFlag = False
    trust: TrustFlag = False


def run(options: Info) -> int:
    """Print the spec and write the card."""
    from blitznet.api import read_model_spec
    from blitznet.core.model_paths import find_model
    from blitznet.core.packaged_files import packaged_hashes
    from blitznet.report.model_card import ModelCard, spec_rows

    if options.card is None and (options.scores or options.speed or options.notes or options.images or options.files):
        raise UsageError(
            "--scores, --speed, --notes, --images and --files: expected --card FILE.md with them, got none; add it"
        )
    images_by_target = _card_images(options.images, options.card)
    prepare_files(options.card, *images_by_target, overwrite=options.overwrite, inputs=images_by_target.values())
    path = find_model(options.model)
    spec = read_model_spec(path)
    model_file, parameters = _model_file(path), _num_parameters(path)
    rows = [
        ("file", f"{path.name}, {model_file.size / 1e6:.1f} MB, {model_file.precision}"),
        ("sha256", model_file.sha256),
        ("published", "yes" if packaged_hashes().get(path.name) == model_file.sha256 else "no"),
    ]
    _print_rows(spec.name, [*rows, *spec_rows(spec, parameters)])
    if options.card is None:
        return 0
    more_files = [file for file in options.files if file.resolve() != path.resolve()]
    counts = [parameters, *map(_num_parameters, more_files)]
    card = ModelCard(
        spec=spec,
        files=(model_file, *map(_model_file, more_files)),
        parameters=next((count for count in counts if count is not None), None),
        notes="" if options.notes is None else _read_text(options.notes),
        scores=None if options.scores is None else _read_json(options.scores, "eval", ("images", "detection")),
        speed=None if options.speed is None else _read_speed(options.speed),
    )
    _render(card)  # before images are written, as it fails for other JSON
    card = replace(card, images=tuple(_write_images(path, images_by_target, trust=options.trust)))
    write_bytes(options.card, _render(card).encode("utf-8", "backslashreplace"))
    print(f"card: {options.card}")
    return 0


def _render(card: "ModelCard") -> str:
    from blitznet.report.model_card import render_model_card

    try:
        return render_model_card(card)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            "--scores, --speed: expected the JSON of `blitznet eval --json` and `blitznet bench --json`, got other "
            f"values ({error})"
        ) from error


def _print_rows(title: str, rows: list[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text("name"), Text(title))
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    stdout_console().print(table)


def _model_file(path: Path) -> "ModelFile":
    from blitznet.api import read_model_spec
    from blitznet.report.model_card import ModelFile

    precision = read_model_spec(path).precision  # raises an error if the file is not a model
    content = path.read_bytes()
    return ModelFile(path.name, len(content), hashlib.sha256(content).hexdigest(), precision)


def _num_parameters(path: Path) -> int | None:
    """Parameters of a .safetensors file, without batch norm statistics; None for other files."""
    if path.suffix != ".safetensors":
        return None
    from blitznet.nets.model_files import load_model

    return sum(parameter.numel() for parameter in load_model(path)[0].parameters())


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error


def _read_json(path: Path, command: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """The JSON object that a command wrote, which has at least these keys."""
    try:
        values = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}: expected the JSON of `blitznet {command} --json`, got other text ({error})"
        ) from error
    if not isinstance(values, dict) or not set(keys) <= values.keys():
        raise UsageError(
            f"{path}: expected the JSON of `blitznet {command} --json` with {', '.join(keys)}, got something else"
        )
    return values


def _read_speed(path: Path) -> dict[str, Any]:
    values = _read_json(path, "bench", ("rows", "machine", "image_size", "date"))
    rows = values["rows"]
    if not (isinstance(rows, list) and all(isinstance(row, dict) and "streamed_per_second" in row for row in rows)):
        raise UsageError(f"{path}: expected timings of streams, got a file of an older version; run `blitznet bench`")
    return values


def _card_images(sources: tuple[str, ...], card: Path | None) -> dict[Path, Path]:
    """Files of the example predictions beside the card, and the images that they show."""
    if not sources or card is None:
        return {}
    from blitznet.runtime.image_paths import find_images

    return {card.parent / f"{card.stem}-{path.stem}.jpg": path for path in find_images(sources)}


def _write_images(model: Path, images_by_target: dict[Path, Path], *, trust: bool) -> list[str]:
    """Draw predictions into files beside the card, and return their names."""
    if not images_by_target:
        return []
    from PIL import Image

    from blitznet.api import load
    from blitznet.core.image import ImageSource
    from blitznet.drawing.annotate import annotate

    predictor = load(model, trust=trust)
    for target, source in images_by_target.items():
        annotated = annotate(ImageSource(source).read(), predictor(source, min_score=_MIN_SCORE))
        with atomic_path(target) as temporary, translate_write_errors(target):
            Image.fromarray(annotated).save(temporary, quality=_JPEG_QUALITY)
        record_written(target)
    return [target.name for target in images_by_target]
