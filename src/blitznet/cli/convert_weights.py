"""`blitznet convert-weights`: convert a checkpoint of the original implementation."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from blitznet.cli.files import prepare_files
from blitznet.cli.flags import OverwriteFlag, metavar, read_class_names
from blitznet.core.errors import UsageError
from blitznet.core.models import get_spec
from blitznet.core.spec import ALL_TASKS, Task

if TYPE_CHECKING:
    from blitznet.core.spec import Spec


@dataclass(frozen=True, kw_only=True)
class ConvertWeights:
    """Convert a checkpoint of the original TensorFlow implementation to a model file.

    The checkpoint is an .npz or .safetensors file of the variables by their TensorFlow names, in TensorFlow's layout.
    The state of an optimizer is ignored.

    Examples:
        blitznet convert-weights checkpoint.npz --model blitznet300-s4
        blitznet convert-weights coco.npz --model blitznet512-s8 --classes coco --out coco.safetensors
    """

    checkpoint: Annotated[Path, tyro.conf.Positional, metavar("CHECKPOINT")]
    """Variables of the checkpoint, .npz or .safetensors."""
    model: Annotated[str, metavar("MODEL")]
    """Network of the checkpoint: blitznet300-s4, blitznet300-s8, blitznet512-s8 or blitznet512-s4."""
    classes: Annotated[str, metavar("voc|coco|FILE")] = "voc"
    """Classes in the checkpoint's order: voc, coco, or a file with one name per line. Default: voc."""
    tasks: Annotated[tuple[Task, ...], metavar("TASK [TASK]")] = ALL_TASKS
    """Tasks that it was trained for. Default: detection segmentation."""
    match_original: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = True
    """Resize feature maps as the original implementation, with which these weights were trained. Default: yes."""
    out: Annotated[Path | None, metavar("FILE")] = None
    """File to write. Default: the model's name with .safetensors, in the working folder."""
    overwrite: OverwriteFlag = False


def run(options: ConvertWeights) -> int:
    """Convert and print the file that was written."""
    from blitznet.nets.convert_weights import convert_weights, read_variables
    from blitznet.nets.model_files import network_from, save_model

    spec = _checkpoint_spec(options)
    out = options.out or Path(f"{spec.name}.safetensors")
    if out.suffix != ".safetensors":
        raise UsageError(f"--out: expected a file that ends in .safetensors, got {out}")
    prepare_files(out, overwrite=options.overwrite)
    state = convert_weights(read_variables(options.checkpoint), spec)
    save_model(out, network_from(spec, state, source=str(options.checkpoint)), spec)
    resizing = "resizing as the original" if options.match_original else "resizing as in this package"
    print(f"model: {out} ({out.stat().st_size / 1e6:.1f} MB)   {spec.name}, {len(spec.classes)} classes, {resizing}")
    return 0


def _checkpoint_spec(options: ConvertWeights) -> "Spec":
    from blitznet.nets.convert_weights import match_original

    spec = replace(
        get_spec(options.model),
        classes=read_class_names(options.classes),
        tasks=options.tasks,
        license="that of the checkpoint",
        provenance=f"converted from the checkpoint {options.checkpoint.name}",
    )
    return match_original(spec) if options.match_original else spec
