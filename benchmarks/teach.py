"""Class maps by the DeepLab among the peers, for training images that have boxes and no mask.

`python benchmarks/teach.py --out runs/deeplab`, then `blitznet train ... --pseudo runs/deeplab`. What is painted
there is DeepLab's only inside boxes of its class; see `blitznet.data.pseudo`.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.progress import track

from blitznet.core.arrays import ClassMap
from blitznet.core.classes import VOC
from blitznet.core.image import ImageSource
from blitznet.data.pseudo import generate_pseudo_masks
from blitznet.data.sources import open_mapped, parse_source
from blitznet.runtime.threads import available_threads
from blitznet.train.recipes import lite
from report import DATA, require_images
from rivals import HOME, SEGMENTER, Rival, Setup


@dataclass(frozen=True)
class Options:
    """What is painted."""

    out: Path
    data: tuple[str, ...] = lite().data
    """sets, {root} standing for --root"""
    root: Path = DATA
    peers: Path = HOME


def main(options: Options) -> None:
    """Paint set after set."""
    require_images(options.root)
    rival = Rival(SEGMENTER, Setup("openvino", "float32", available_threads()), options.peers)

    def teacher(image: ImageSource) -> ClassMap:
        seen: ClassMap = rival(image.read())
        return seen

    for text in options.data:
        source = parse_source(text.replace("{root}", str(options.root)))
        dataset = open_mapped(source, VOC)
        for _ in track(
            generate_pseudo_masks(teacher, dataset, source, options.out), source.title[-30:], total=len(dataset)
        ):
            pass


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
