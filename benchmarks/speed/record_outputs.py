"""Record raw outputs of a briefly trained network, for timing postprocessing.

Trains `blitznet300-s4` from random weights for some steps on the training images of VOC2012 and writes its outputs for
eight images of the validation set as float16. They are rounded to eighths, which does not change the timing and makes
the file a third of the size.

`python -m benchmarks.speed.record_outputs --out benchmarks/speed/outputs.npz --model runs/s4.safetensors`
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import ZIP_LZMA, ZipFile

import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks._lib.results import DATA, notify, require_images
from benchmarks._lib.training import batches, log_steps
from blitznet.core.arrays import Floats
from blitznet.core.models import get_spec
from blitznet.core.outputs import OUTPUT_NAMES, Outputs
from blitznet.core.sample import Dataset
from blitznet.data.sources import open_sources
from blitznet.nets.model_files import save_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.engine import Engine
from blitznet.train.config import TrainConfig
from blitznet.train.initialize import make_network
from blitznet.train.trainer import fit

CONFIG = TrainConfig(
    model="blitznet300-s4",
    init="random",
    policy="ssd",
    optimizer="adam",
    lr=3e-4,
    warmup=20,
    clip_grad=10.0,
    precision="bfloat16",
    log_every=25,
)
STEPS_PER_UNIT = 8
"""outputs are rounded to multiples of 1 / STEPS_PER_UNIT"""


@dataclass(frozen=True)
class Options:
    """Options of the recording."""

    out: Path
    """File to write, .npz."""
    steps: int = 200
    batch: int = 8
    images: int = 8
    """Number of images of VOC2012@val, evenly spaced. Default: 8."""
    model: Path | None = None
    """Also write the network to this .safetensors file."""
    workers: int = 1
    threads: int | None = None
    """Threads of torch. Default: one per core."""
    seed: int = 0
    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""


def raw_outputs(engine: Engine, dataset: Dataset, count: int) -> dict[str, Floats]:
    """Offsets (B, A, 4), class logits (B, A, C) and segmentation logits (B, C, h, w) of evenly spaced images."""
    step = len(dataset) // count
    images = np.stack([dataset[index * step].image.resize(engine.spec.size) for index in range(count)])
    outputs = engine.run(images)
    assert isinstance(outputs, Outputs), "a network without NMS"
    named = {name: getattr(outputs, name) for name in OUTPUT_NAMES}
    return {name: array for name, array in named.items() if array is not None}


def save(path: Path, arrays: Mapping[str, NDArray[np.float16]]) -> None:
    """Write an .npz file that `np.load` reads; LZMA makes it half as large as numpy's deflate."""
    with ZipFile(path, "w", ZIP_LZMA) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def main(options: Options) -> None:
    """Train, run and write."""
    require_images(options.root)
    voc = f"voc:{options.root}/VOCdevkit/VOC2012"
    training, val = open_sources((f"{voc}@train", f"{voc}@val"), get_spec(CONFIG.model).classes)
    config = replace(CONFIG, steps=options.steps, batch=options.batch, seed=options.seed)
    config = replace(config, workers=options.workers, threads=options.threads)
    net, spec = make_network(config, ())
    net = fit(net, spec, batches([training], spec, config), config, on_step=log_steps(config.model, config))
    if options.model:
        save_model(options.model, net, spec)
    rounded = {
        name: (np.round(array * STEPS_PER_UNIT) / STEPS_PER_UNIT).astype(np.float16)
        for name, array in raw_outputs(TorchEngine(net, spec), val, options.images).items()
    }
    save(options.out, rounded)
    notify(f"{options.out}: {options.images} images, {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
