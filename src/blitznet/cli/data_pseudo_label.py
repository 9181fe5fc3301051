"""`blitznet data paint`: class maps by a model, for images that have boxes and no mask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from blitznet.cli.console import bars
from blitznet.cli.engines import EngineFlag
from blitznet.cli.files import make_folders
from blitznet.cli.flags import metavar
from blitznet.core.arrays import ClassMap
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.image import ImageSource
from blitznet.core.models import DEFAULT


@dataclass(frozen=True)
class DataPseudoLabel:
    """Let a model paint class maps for the images of data sets that have boxes and no mask, to train with --pseudo.

    It is believed inside the boxes of what it sees, and where there is neither; the rest counts for nothing. What is
    there already stays, so a run that was stopped goes on.
    """

    datasets: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("SET [SET ...]")] = ()
    """FORMAT:ROOT@SPLIT,option=value+value"""
    teacher: str = DEFAULT
    """A model: a name, a file or a run's folder."""
    out: Path = Path("painted")
    """Folder for the class maps."""
    engine: EngineFlag = "auto"
    """What computes. Not given: the fastest that is installed."""


def run(options: DataPseudoLabel) -> int:
    """Paint set after set."""
    from blitznet.api import load
    from blitznet.data.pseudo import generate_pseudo_masks
    from blitznet.data.sources import EXAMPLE, open_mapped, parse_source

    if not options.datasets:
        raise UsageError(f"expected at least one data set, for example {EXAMPLE}")
    predictor = load(options.teacher, engine=options.engine)
    if "segmentation" not in predictor.spec.tasks:
        raise ModelError(f"{options.teacher}: makes no class maps; wanted a teacher that does")
    sources = [parse_source(text) for text in options.datasets]
    sets = [open_mapped(source, predictor.spec.classes) for source in sources]
    make_folders(options.out)

    def teacher(image: ImageSource) -> ClassMap:
        seen = predictor(image).class_map
        assert seen is not None, "the model has that task"
        return seen

    painted = 0
    with bars() as show:
        for source, dataset in zip(sources, sets, strict=True):
            for done, new in enumerate(generate_pseudo_masks(teacher, dataset, source, options.out), start=1):
                painted += new
                show(source.title, done, len(dataset))
    print(f"class maps: {options.out}   {painted} new   train with --pseudo {options.out}")
    return 0
