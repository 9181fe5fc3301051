"""What several commands' flags have in common: how the help writes them, how classes and weights are named."""

from pathlib import Path
from typing import Any

import tyro

from blitznet.core.classes import COCO, VOC
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.models import MODELS

CLASSES = {"voc": VOC, "coco": COCO}
"""lists of classes that a flag can name; anything else is a file"""


def metavar(metavar: str) -> Any:
    """How a flag is written in the help where its text tells what happens without it."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


def read_classes(text: str) -> tuple[str, ...]:
    """The classes behind `voc`, `coco`, or a file with one name a line."""
    from blitznet.data.dataset import read_names

    return CLASSES[text] if text in CLASSES else read_names(Path(text))


def weights_file(model: str) -> Path:
    """The .safetensors file of a model's name, file or run folder."""
    from blitznet.api import WEIGHTS, find_model

    path = WEIGHTS / f"{model}.safetensors" if model in MODELS else find_model(model)
    if not path.is_file():
        raise ModelError(f"'{model}' has no trained weights in the package; give a .safetensors file or a run folder")
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: expected a .safetensors file or a run folder, got '{path.suffix or path.name}'")
    return path


def read_tiles(text: str) -> tuple[int, int] | None:
    """(rows, columns) of `2x3`; None of nothing."""
    if not text:
        return None
    rows, cross, columns = text.partition("x")
    if not (cross and rows.isdecimal() and columns.isdecimal()):
        raise UsageError(f"--tiles: expected rows x columns such as 2x3, got '{text}'")
    return int(rows), int(columns)
