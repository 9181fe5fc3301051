"""A model and datasets in the working folder, for tests of commands."""

from dataclasses import replace
from pathlib import Path

from blitznet.core.spec import Spec
from support import synthetic_data
from support.fake_engines import SPEC, write_onnx

TOY_SPEC = replace(SPEC, classes=synthetic_data.NAMES)


def write_model(name: str = "small.onnx", *, spec: Spec = TOY_SPEC, seed: int = 0) -> str:
    """Write a randomly initialized model for the synthetic classes."""
    write_onnx(Path(name), spec=spec, seed=seed)
    return name


def write_voc(name: str = "voc", *, count: int = 4, seed: int = 0) -> str:
    """Write a VOC devkit of `count` synthetic images; the dataset string."""
    text = synthetic_data.write_voc(Path(name), synthetic_data.draw(count, seed=seed))
    Path(name, "classes.txt").write_text("\n".join(synthetic_data.NAMES))
    return text
