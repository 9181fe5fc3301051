"""Make pseudo-masks with the DeepLabV3 of `../shared/peers` for training images that have boxes but no mask.

`python -m tools.pseudo_masks --out runs/deeplab`, then `blitznet train ... --pseudo-masks runs/deeplab`. This is what
`blitznet data pseudo-label` does with a blitznet model as teacher; `blitznet.data.pseudo` describes which pixels are
kept.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.progress import track

from benchmarks._lib.results import DATA, require_images
from benchmarks.competitors.networks import PEERS, SEGMENTER, CompetitorPredictor, Setup
from blitznet.core.arrays import ClassMap
from blitznet.core.classes import VOC
from blitznet.core.image import ImageSource
from blitznet.data.pseudo import generate_pseudo_masks
from blitznet.data.sources import open_mapped, parse_source
from blitznet.runtime.threads import available_threads
from blitznet.train.recipes import lite_config


@dataclass(frozen=True)
class Options:
    """Options of the pseudo-masks."""

    out: Path
    """Folder for the pseudo-masks."""
    data: tuple[str, ...] = lite_config().data
    """Datasets; {root} is replaced by --root. Default: those of the recipe `lite`."""
    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    peers: Path = PEERS
    """Folder of the teacher. Default: ../shared/peers."""


def main(options: Options) -> None:
    """Make the pseudo-masks of each dataset."""
    require_images(options.root)
    predictor = CompetitorPredictor(SEGMENTER, Setup("openvino", "float32", available_threads()), options.peers)

    def teacher(image: ImageSource) -> ClassMap:
        class_map: ClassMap = predictor(image.read())
        return class_map

    for text in options.data:
        source = parse_source(text.replace("{root}", str(options.root)))
        dataset = open_mapped(source, VOC)
        masks = generate_pseudo_masks(teacher, dataset, source, options.out)
        for _ in track(masks, source.title[-30:], total=len(dataset)):
            pass


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
