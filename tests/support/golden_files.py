"""The golden networks: weights that anyone can make again, and what the authors' graph answered (tests/golden)."""

from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from blitznet.core.arrays import Floats

FOLDER = Path(__file__).parents[1] / "golden"


def variables(tag: str) -> dict[str, Floats]:
    """Every variable of a golden network by its TensorFlow name."""
    lines = (line.split() for line in (FOLDER / f"{tag}.txt").read_text().splitlines())
    return {name: variable(name, tuple(int(side) for side in shape.split("x"))) for name, shape in lines}


@cache
def variable(name: str, shape: tuple[int, ...]) -> Floats:
    """One variable, as the README of the folder defines it."""
    draw = generator(name)
    if name.endswith("/weights"):
        return np.asarray(draw.standard_normal(shape) * np.sqrt(1 / np.prod(shape[:-1])), np.float32)
    if name.endswith(("/gamma", "/moving_variance")):
        return draw.uniform(0.5, 1.5, shape).astype(np.float32)
    return (draw.standard_normal(shape) * 0.1).astype(np.float32)


def image(side: int) -> Floats:
    """(1, side, side, 3) RGB in 0..1."""
    return generator("image").random((1, side, side, 3)).astype(np.float32)


def generator(name: str) -> np.random.Generator:
    """The generator of a name."""
    return np.random.default_rng(int.from_bytes(sha256(name.encode()).digest()[:8], "little"))
