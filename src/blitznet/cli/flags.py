"""Flags that several commands share: how help shows them, and how their values are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from blitznet.core.classes import COCO, VOC
from blitznet.core.errors import UsageError

CLASS_LISTS = {"voc": VOC, "coco": COCO}
"""class lists that a flag can name; any other value is a file"""


def metavar(name: str) -> Any:
    """Show a flag's value as `name` in the help, without tyro's default: the help text states it."""
    return tyro.conf.arg(metavar=name, help_behavior_hint="")


_OVERWRITE_HELP = "Replace files that blitznet did not write. Default: keep them, and end with an error."
OverwriteFlag = Annotated[
    tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help=_OVERWRITE_HELP, help_behavior_hint="")
]

Imgsz = Annotated[tuple[int, ...] | None, metavar("N | H W")]
"""input size in pixels: one number for a square, or height and width; None for the model's own"""


def parse_imgsz(values: Sequence[int] | None) -> tuple[int, int] | None:
    """(height, width) of `--imgsz N` or `--imgsz H W`; None if the flag is absent.

    Raises:
        UsageError: There are not one or two numbers, or one of them is not positive.
    """
    if values is None:
        return None
    if len(values) not in (1, 2) or min(values) < 1:
        text = " ".join(map(str, values)) or "nothing"
        raise UsageError(f"--imgsz: expected one or two sizes in pixels such as 300 or 480 640, got {text}")
    return values[0], values[-1]


def read_class_names(text: str) -> tuple[str, ...]:
    """The class names of `voc`, of `coco`, or in a file with one name per line."""
    from blitznet.data.dataset import read_class_list

    return CLASS_LISTS[text] if text in CLASS_LISTS else read_class_list(Path(text))


def parse_grid(text: str | None, *, flag: str = "--slices") -> tuple[int, int] | None:
    """(rows, columns) of a grid such as `2x3`; None if the flag is absent."""
    if not text:
        return None
    rows, cross, columns = text.partition("x")
    if not (cross and rows.isdecimal() and columns.isdecimal()):
        raise UsageError(f"{flag}: expected ROWSxCOLUMNS such as 2x3, got '{text}'")
    return int(rows), int(columns)
