"""The golden networks: reproducible weights, and the outputs of the original graph with them (tests/golden)."""

from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from blitznet.core.arrays import Floats

FOLDER = Path(__file__).parents[1] / "golden"


def variables(tag: str) -> dict[str, Floats]:
    """Every variable of a golden network by its TensorFlow name."""
    lines = (line.split() for line in (FOLDER / f"{tag}.txt").read_text().splitlines())
    return {name: variable(name, tuple(int(length) for length in shape.split("x"))) for name, shape in lines}


@cache
def variable(name: str, shape: tuple[int, ...]) -> Floats:
    """One variable, as the README of the folder defines it."""
    rng = generator(name)
    if name.endswith("/weights"):
        return np.asarray(rng.standard_normal(shape) * np.sqrt(1 / np.prod(shape[:-1])), np.float32)
    if name.endswith(("/gamma", "/moving_variance")):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return (rng.standard_normal(shape) * 0.1).astype(np.float32)


def image(size: int) -> Floats:
    """(1, size, size, 3) RGB in 0..1."""
    return generator("image").random((1, size, size, 3)).astype(np.float32)


def generator(name: str) -> np.random.Generator:
    """The random generator of a name."""
    return np.random.default_rng(int.from_bytes(sha256(name.encode()).digest()[:8], "little"))
