"""`blitznet average`: several trainings of one network as one model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from blitznet.cli.files import prepare_files
from blitznet.cli.flags import metavar
from blitznet.core.errors import UsageError
from blitznet.core.model_paths import find_weights


@dataclass(frozen=True)
class Soup:
    """Average the weights of trainings that began from the same model: as fast as one of them, and better than each.

    The contract is the first one's; the provenances of all are kept.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("MODEL [MODEL ...]")]
    """Two or more .safetensors files or run folders, of one network and one list of classes."""
    shares: Annotated[tuple[float, ...], metavar("FLOAT [FLOAT ...]")] = ()
    """How much each counts, of whatever sum. Not given: all the same."""
    half: bool = False
    """Store kernels as float16: half the size."""
    out: Path = Path("average.safetensors")
    """The file to write."""


def run(options: Soup) -> int:
    """Average, and say what was written."""
    import torch

    from blitznet.nets.model_files import save_model
    from blitznet.nets.soup import average_weights

    if options.out.suffix != ".safetensors":
        raise UsageError(f"--out: expected a file that ends in .safetensors, got {options.out}")
    paths = [find_weights(model) for model in options.models]
    if options.out.resolve() in {path.resolve() for path in paths}:
        raise UsageError(f"--out {options.out}: is one of the models that are averaged; choose another")
    prepare_files(options.out)
    net, spec = average_weights(paths, options.shares)
    save_model(options.out, net, spec, dtype=torch.float16 if options.half else torch.float32)
    size = options.out.stat().st_size / 1e6
    print(f"model: {options.out} ({size:.1f} MB)   {spec.name}, average of {len(paths)} models")
    return 0
