"""What several commands' flags have in common: how the help writes them, and how a list of classes is named."""

from pathlib import Path
from typing import Any

import tyro

from blitznet.core.classes import COCO, VOC

CLASSES = {"voc": VOC, "coco": COCO}
"""lists of classes that a flag can name; anything else is a file"""


def said(metavar: str) -> Any:
    """How a flag is written in the help where its text tells what happens without it."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


def read_classes(text: str) -> tuple[str, ...]:
    """The classes behind `voc`, `coco`, or a file with one name a line."""
    from blitznet.data.dataset import read_names

    return CLASSES[text] if text in CLASSES else read_names(Path(text))
