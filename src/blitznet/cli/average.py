"""`blitznet average`: several trainings of one network as one model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from blitznet.cli.flags import said, weights_file
from blitznet.cli.outputs import prepare_files
from blitznet.core.errors import UsageError


@dataclass(frozen=True)
class Average:
    """Average the weights of trainings that began from the same model: as fast as one of them, and better than each.

    The contract is the first one's; the provenances of all are kept.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional, said("MODEL [MODEL ...]")]
    """Two or more .safetensors files or run folders, of one network and one list of classes."""
    shares: Annotated[tuple[float, ...], said("FLOAT [FLOAT ...]")] = ()
    """How much each counts, of whatever sum. Not given: all the same."""
    half: bool = False
    """Store kernels as float16: half the size."""
    out: Path = Path("average.safetensors")
    """The file to write."""


def run(options: Average) -> int:
    """Average, and say what was written."""
    import torch

    from blitznet.nets.average import average
    from blitznet.nets.files import save_model

    if options.out.suffix != ".safetensors":
        raise UsageError(f"--out: wanted a file that ends in .safetensors, came {options.out}")
    paths = [weights_file(model) for model in options.models]
    if options.out.resolve() in {path.resolve() for path in paths}:
        raise UsageError(f"--out {options.out}: is one of the models that are averaged; choose another")
    prepare_files(options.out)
    net, spec = average(paths, options.shares)
    save_model(options.out, net, spec, dtype=torch.float16 if options.half else torch.float32)
    size = options.out.stat().st_size / 1e6
    print(f"model: {options.out} ({size:.1f} MB)   {spec.name}, average of {len(paths)} models")
    return 0
