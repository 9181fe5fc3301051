"""Raw answers of a network that has learned a little, for timing what comes after the network.

Trains `blitznet300-s4` from random weights for some steps on VOC2012's training images and writes what it answers
to eight images of the validation list, as float16, for finish.py to read.
Answers are rounded to eighths, which changes nothing for the clock and makes the file a third of its size.

`python benchmarks/tensors.py --out benchmarks/tensors.npz --model runs/s4.safetensors`
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import ZIP_LZMA, ZipFile

import numpy as np
import tyro
from numpy.typing import NDArray

from blitznet.core.arrays import Floats
from blitznet.core.models import get_spec
from blitznet.core.outputs import Outputs
from blitznet.data.dataset import Dataset
from blitznet.data.sources import open_sources
from blitznet.nets.model_files import save_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.engine import Engine
from blitznet.train.config import TrainConfig
from blitznet.train.initialize import make_network
from learning import batches, learn
from report import DATA, require_images, say

CONFIG = TrainConfig(
    model="blitznet300-s4",
    start="random",
    policy="ssd",
    optimizer="adam",
    lr=3e-4,
    warmup=20,
    clip=10.0,
    precision="bfloat16",
    log_every=25,
)
FINEST = 8
"""parts of one that answers are rounded to"""


@dataclass(frozen=True)
class Options:
    """How long is learned, and where the answers go."""

    out: Path
    steps: int = 200
    batch: int = 8
    images: int = 8
    """of VOC2012@val, evenly spaced"""
    model: Path | None = None
    """also write the network, as safetensors"""
    workers: int = 1
    threads: int = 0
    """of torch, 0: one a core"""
    seed: int = 0
    root: Path = DATA


def answers(engine: Engine, images: Dataset, count: int) -> dict[str, Floats]:
    """Offsets (B, A, 4), class logits (B, A, C) and segmentation logits (B, C, h, w) of evenly spaced images."""
    step = len(images) // count
    fed = np.stack([images[index * step].image.resize(engine.spec.size) for index in range(count)])
    found = engine.run(fed)
    assert isinstance(found, Outputs), "a network alone gives raw answers"
    named_arrays = {"offsets": found.offsets, "logits": found.logits, "class_map": found.segmentation_logits}
    return {name: array for name, array in named_arrays.items() if array is not None}


def save(path: Path, arrays: Mapping[str, NDArray[np.float16]]) -> None:
    """An .npz of half the size of numpy's own: LZMA instead of deflate, which `np.load` reads as well."""
    with ZipFile(path, "w", ZIP_LZMA) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w") as part:
                np.lib.format.write_array(part, array, allow_pickle=False)


def main(options: Options) -> None:
    """Train, answer, write."""
    require_images(options.root)
    voc = f"voc:{options.root}/VOCdevkit/VOC2012"
    train, val = open_sources((f"{voc}@train", f"{voc}@val"), get_spec(CONFIG.model).classes)
    config = replace(CONFIG, steps=options.steps, batch=options.batch, seed=options.seed)
    config = replace(config, workers=options.workers, threads=options.threads)
    net, spec = make_network(config, ())
    net = learn(net, spec, batches([train], spec, config), config, name=config.model)
    if options.model:
        save_model(options.model, net, spec)
    rounded = {
        name: (np.round(array * FINEST) / FINEST).astype(np.float16)
        for name, array in answers(TorchEngine(net, spec), val, options.images).items()
    }
    save(options.out, rounded)
    say(f"{options.out}: {options.images} images, {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
