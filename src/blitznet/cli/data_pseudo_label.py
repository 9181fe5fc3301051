"""`blitznet data pseudo-label`: generate pseudo-masks for images that have boxes and no mask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from blitznet.cli.console import progress_bars
from blitznet.cli.datasets import require_datasets
from blitznet.cli.engines import EngineFlag, TrustFlag
from blitznet.cli.files import make_folders
from blitznet.cli.flags import metavar
from blitznet.core.arrays import ClassMap
from blitznet.core.errors import ModelError
from blitznet.core.image import ImageSource
from blitznet.core.models import DEFAULT


@dataclass(frozen=True)
class DataPseudoLabel:
    """Generate pseudo-masks with a teacher model for images that have boxes and no mask; train with --pseudo-masks.

    Pixels of a class are kept inside boxes of that class, background is kept outside boxes, and all other pixels are
    ignored. Existing files are kept, so an interrupted run can be resumed.

    Examples:
        blitznet data pseudo-label voc:birds@train --out pseudo-masks
        blitznet data pseudo-label coco:animals@train --teacher runs/animals
    """

    datasets: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("DATASET [DATASET ...]")] = ()
    """Datasets, FORMAT:ROOT@SPLIT,option=value+value."""
    teacher: Annotated[str, metavar("MODEL")] = DEFAULT
    """Model that predicts the class maps: a name, a file or a run folder. Default: blitznet300-lite."""
    out: Annotated[Path, metavar("DIR")] = Path("pseudo-masks")
    """Folder of the pseudo-masks. Default: pseudo-masks."""
    engine: EngineFlag = "auto"
    trust: TrustFlag = False


def run(options: DataPseudoLabel) -> int:
    """Generate the pseudo-masks of one dataset after the other."""
    import numpy as np

    from blitznet.api import load
    from blitznet.data.pseudo import generate_pseudo_masks
    from blitznet.data.sources import open_mapped, parse_source

    require_datasets(options.datasets)
    predictor = load(options.teacher, engine=options.engine, trust=options.trust)
    if "segmentation" not in predictor.spec.tasks:
        raise ModelError(f"{options.teacher}: expected a teacher with a segmentation head, got a detection model")
    sources = [parse_source(text) for text in options.datasets]
    spec = predictor.spec
    # a class that the teacher never predicts is one that it does not know
    class_names, predicted = spec.predicted_classes("segmentation"), np.asarray(spec.predicts("segmentation"))
    values = np.concatenate([[0], predicted.cumsum() * predicted]).astype(np.uint8)
    datasets = [open_mapped(source, class_names) for source in sources]
    make_folders(options.out)

    def teacher(image: ImageSource) -> ClassMap:
        class_map = predictor(image).class_map
        assert class_map is not None, "the model has the segmentation task"
        return np.asarray(values[class_map])

    written = 0
    with progress_bars() as progress:
        for source, dataset in zip(sources, datasets, strict=True):
            for done, is_new in enumerate(generate_pseudo_masks(teacher, dataset, source, options.out), start=1):
                written += is_new
                progress(source.title, done, len(dataset))
    print(f"pseudo-masks: {options.out}   {written} new   train with --pseudo-masks {options.out}")
    return 0
