"""`blitznet convert-weights`: the authors' checkpoint as a model of ours."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from blitznet.cli.files import prepare_files
from blitznet.cli.flags import metavar, read_class_names
from blitznet.core.errors import UsageError
from blitznet.core.models import get_spec
from blitznet.core.spec import ALL_TASKS, Task

if TYPE_CHECKING:
    from blitznet.core.spec import Spec


@dataclass(frozen=True, kw_only=True)
class ConvertWeights:
    """Turn a checkpoint of the authors' TensorFlow code into a model.

    The checkpoint's variables are read from an .npz or .safetensors file, by their TensorFlow names and in
    their TensorFlow shapes; an optimizer's are passed over.
    """

    checkpoint: Annotated[Path, tyro.conf.Positional, metavar("CHECKPOINT")]
    """The variables, .npz or .safetensors."""
    model: str
    """Which network it is of: blitznet300-s4, blitznet300-s8, blitznet512-s8 or blitznet512-s4."""
    classes: Annotated[str, tyro.conf.arg(metavar="voc|coco|FILE")] = "voc"
    """The classes it knows, in its order (FILE: one a line)."""
    tasks: tuple[Task, ...] = ALL_TASKS
    """What it was trained for."""
    release: bool = True
    """Resize inside the network as the release does, since these weights were trained with it."""
    out: Annotated[Path | None, metavar("FILE.safetensors")] = None
    """Not given: the model's name with .safetensors, in the working folder."""


def run(options: ConvertWeights) -> int:
    """Convert, and say what was written."""
    from blitznet.nets.convert import convert_weights, read_variables
    from blitznet.nets.model_files import network_from, save_model

    spec = _contract(options)
    out = options.out or Path(f"{spec.name}.safetensors")
    if out.suffix != ".safetensors":
        raise UsageError(f"--out: expected a file that ends in .safetensors, got {out}")
    prepare_files(out)
    state = convert_weights(read_variables(options.checkpoint), spec)
    save_model(out, network_from(spec, state, source=str(options.checkpoint)), spec)
    how = "the release's resizing" if options.release else "our own resizing"
    print(f"model: {out} ({out.stat().st_size / 1e6:.1f} MB)   {spec.name}, {len(spec.classes)} classes, {how}")
    return 0


def _contract(options: ConvertWeights) -> "Spec":
    spec = replace(
        get_spec(options.model),
        classes=read_class_names(options.classes),
        tasks=options.tasks,
        license="that of the checkpoint",
        provenance=f"converted from the checkpoint {options.checkpoint.name}",
    )
    if not options.release:
        return spec
    # TensorFlow 1's bilinear in the fusion blocks, nearest before the class map (reference 2)
    return replace(spec, network=replace(spec.network, fusion_resize="legacy", segmentation_resize="nearest"))
