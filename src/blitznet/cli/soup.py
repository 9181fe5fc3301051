"""`blitznet soup`: average the weights of several trainings of one network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from blitznet.cli.files import prepare_files
from blitznet.cli.flags import OverwriteFlag, metavar
from blitznet.core.errors import UsageError
from blitznet.core.model_paths import find_weights


@dataclass(frozen=True)
class Soup:
    """Average the weights of models that were fine-tuned from the same model (model soup).

    The average is as fast as one of the models, and often more accurate. Its spec is the first model's without score
    calibration, with the provenance of all of them.

    Examples:
        blitznet soup runs/a runs/b
        blitznet soup runs/a runs/b runs/c --weights 2 1 1 --out soup.safetensors
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("MODEL [MODEL ...]")]
    """Two or more .safetensors files or training run folders, of one network with the same classes."""
    weights: Annotated[tuple[float, ...], metavar("WEIGHT [WEIGHT ...]")] = ()
    """Weight of each model; they are divided by their sum. Default: equal weights."""
    half: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Store kernels as float16, in half the size. Default: float32."""
    out: Annotated[Path, metavar("FILE")] = Path("soup.safetensors")
    """File to write. Default: soup.safetensors."""
    overwrite: OverwriteFlag = False


def run(options: Soup) -> int:
    """Average the weights and print the file that was written."""
    import torch

    from blitznet.nets.model_files import save_model
    from blitznet.nets.soup import average_weights

    if options.out.suffix != ".safetensors":
        raise UsageError(f"--out: expected a file that ends in .safetensors, got {options.out}")
    paths = [find_weights(model) for model in options.models]
    if options.out.resolve() in {path.resolve() for path in paths}:
        raise UsageError(f"--out {options.out}: expected a new file, got one of the models; choose another")
    prepare_files(options.out, overwrite=options.overwrite)
    net, spec = average_weights(paths, options.weights)
    save_model(options.out, net, spec, dtype=torch.float16 if options.half else torch.float32)
    size = options.out.stat().st_size / 1e6
    print(f"model: {options.out} ({size:.1f} MB)   {spec.name}, average of {len(paths)} models")
    return 0
