"""`blitznet info`: what a model file says of itself, and its model card."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from blitznet.cli.console import stdout
from blitznet.cli.files import make_folders, prepare_files
from blitznet.cli.flags import metavar
from blitznet.core.errors import UsageError
from blitznet.core.files import translate_write_errors
from blitznet.core.models import DEFAULT

if TYPE_CHECKING:
    from blitznet.report.model_card import ModelFile
    from blitznet.runtime.predictor import Predictor

_SURE = 0.5
"""score from which boxes are drawn on the card"""


@dataclass(frozen=True, kw_only=True)
class Info:
    """Print what a model's contract says; with --card, write its model card, one Markdown page.

    A card has what the contract says, every file's checksum, and what it is given: scores, speed, notes, pictures.
    """

    model: Annotated[str, tyro.conf.Positional, metavar("[MODEL]")] = DEFAULT
    """Name of a model of the package, a file or a run folder. Not given: blitznet300-lite."""
    card: Annotated[Path | None, metavar("FILE.md")] = None
    """File for the card; pictures are written beside it."""
    files: Annotated[tuple[Path, ...], metavar("FILE [FILE ...]")] = ()
    """Further files of the same model for the card."""
    scores: Annotated[Path | None, metavar("FILE.json")] = None
    """What `blitznet eval --json` wrote, for the card."""
    speed: Annotated[Path | None, metavar("FILE.json")] = None
    """What `blitznet bench --json` wrote, for the card."""
    notes: Annotated[Path | None, metavar("FILE.md")] = None
    """For the card, what no file tells: data and its terms, teachers, known failures."""
    images: Annotated[tuple[str, ...], metavar("SOURCE [SOURCE ...]")] = ()
    """Images, folders and quoted globs to show the model's answers on, for the card."""


def run(options: Info) -> int:
    """Print, and write the card."""
    from blitznet.api import find_model, load
    from blitznet.report.model_card import Card, card_page, spec_rows

    if options.card is None and (options.scores or options.speed or options.notes or options.images or options.files):
        raise UsageError(
            "--scores, --speed, --notes, --images and --files are for a card; name one with --card FILE.md"
        )
    prepare_files(options.card)
    path = find_model(options.model)
    predictor = load(path)
    file, parameters = _file(path), _parameters(path)
    rows = [("file", f"{path.name}, {file.size / 1e6:.1f} MB, {file.precision}"), ("sha256", file.sha256)]
    _print(predictor.spec.name, [*rows, *spec_rows(predictor.spec, parameters)])
    if options.card is None:
        return 0
    others = [other for other in options.files if other.resolve() != path.resolve()]
    known = [parameters, *map(_parameters, others)]
    card = Card(
        spec=predictor.spec,
        files=(file, *map(_file, others)),
        parameters=next((count for count in known if count is not None), None),
        notes="" if options.notes is None else _text(options.notes),
        scores=None if options.scores is None else _json(options.scores, "eval", ("images", "detection")),
        speed=None if options.speed is None else _speed(options.speed),
        pictures=tuple(_pictures(predictor, options)),
    )
    with translate_write_errors(options.card):
        options.card.write_text(card_page(card), encoding="utf-8")
    print(f"card: {options.card}")
    return 0


def _print(title: str, rows: list[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text("name"), Text(title))
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    stdout().print(table)


def _file(path: Path) -> "ModelFile":
    from blitznet.api import load
    from blitznet.report.model_card import ModelFile

    precision = load(path).spec.precision  # raises for what is no model
    content = path.read_bytes()
    return ModelFile(path.name, len(content), hashlib.sha256(content).hexdigest(), precision)


def _parameters(path: Path) -> int | None:
    """Trained values of a .safetensors file, statistics of batch norms left out; of others nothing is known."""
    if path.suffix != ".safetensors":
        return None
    from blitznet.nets.model_files import load_model

    return sum(parameter.numel() for parameter in load_model(path)[0].parameters())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error


def _json(path: Path, command: str, expected: tuple[str, ...]) -> dict[str, Any]:
    try:
        found = json.loads(_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: expected what `blitznet {command} --json` wrote ({error})") from error
    if not isinstance(found, dict) or not set(expected) <= found.keys():
        raise UsageError(f"{path}: expected what `blitznet {command} --json` wrote, {', '.join(expected)} are missing")
    return found


def _speed(path: Path) -> dict[str, Any]:
    """Of this version: one before did not time streams."""
    found = _json(path, "bench", ("rows", "machine", "image_size", "date"))
    if not all("streamed_per_second" in row for row in found["rows"]):
        raise UsageError(
            f"{path}: was written by an older blitznet, which timed no streams; run `blitznet bench` again"
        )
    return found


def _pictures(predictor: "Predictor", options: Info) -> list[str]:
    """Images with the model's answers, written beside the card; their names."""
    if not options.images or options.card is None:
        return []
    from PIL import Image

    from blitznet.core.image import ImageSource
    from blitznet.drawing.annotate import annotate
    from blitznet.runtime.image_paths import find_images

    names = []
    make_folders(options.card.parent)
    for path in find_images(options.images):
        name = f"{options.card.stem}-{path.stem}.jpg"
        picture = annotate(ImageSource(path).read(), predictor(path, min_score=_SURE))
        with translate_write_errors(options.card.parent / name):
            Image.fromarray(picture).save(options.card.parent / name, quality=85)
        names.append(name)
    return names
