"""`blitznet data soft-label`: write the class scores of a segmentation teacher for knowledge distillation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from blitznet.cli.console import progress_bars
from blitznet.cli.datasets import require_datasets
from blitznet.cli.engines import TrustFlag
from blitznet.cli.files import make_folders
from blitznet.cli.flags import metavar
from blitznet.core.models import DEFAULT


@dataclass(frozen=True)
class DataSoftLabel:
    """Write the logits of a segmentation teacher for all images of datasets; train with --soft-labels.

    The teacher is a blitznet model, or the ONNX file of DeepLabV3. Labels of a training image are computed from its
    logits, and corrected by the image's boxes. Existing files are kept, so an interrupted run can be resumed.

    Examples:
        blitznet data soft-label voc:birds@train --out soft-labels
        blitznet data soft-label voc:birds@train --teacher deeplabv3_mnv2_voc_513.onnx --out soft-labels
    """

    datasets: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("DATASET [DATASET ...]")] = ()
    """Datasets, FORMAT:ROOT@SPLIT,option=value+value."""
    teacher: Annotated[str, metavar("MODEL")] = DEFAULT
    """Model that segments: a name, a file or a run folder. Default: blitznet300-lite."""
    out: Annotated[Path, metavar("DIR")] = Path("soft-labels")
    """Folder of the soft labels. Default: soft-labels."""
    trust: TrustFlag = False


def run(options: DataSoftLabel) -> int:
    """Write the soft labels of one dataset after the other."""
    from blitznet.api import load_teacher
    from blitznet.data.soft_labels import generate_soft_labels
    from blitznet.data.sources import open_dataset, parse_source

    require_datasets(options.datasets)
    teacher = load_teacher(options.teacher, trust=options.trust)
    sources = [parse_source(text) for text in options.datasets]
    datasets = [open_dataset(source) for source in sources]
    make_folders(options.out)
    written = 0
    with progress_bars() as progress:
        for source, dataset in zip(sources, datasets, strict=True):
            for done, is_new in enumerate(generate_soft_labels(teacher, dataset, source, options.out), start=1):
                written += is_new
                progress(source.title, done, len(dataset))
    print(f"soft labels: {options.out}   {written} new   train with --soft-labels {options.out}")
    return 0
