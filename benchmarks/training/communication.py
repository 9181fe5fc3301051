"""Bytes that each process sends in a training step under torchrun, and the time on a link of a given speed.

A step all-reduces the gradients once. Rings, which gloo and NCCL use, send 2 (n - 1) / n of them from each of n
processes (Patarin and Yuan, Bandwidth optimal all-reduce algorithms, 2009). Nothing is measured here: these are counts.

    python -m benchmarks.training.communication
    python -m benchmarks.training.communication --models blitznet300-lite --processes 8 --gigabits 25
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import tyro

from blitznet.core.models import get_spec
from blitznet.nets.blitznet import build

BYTES_PER_GRADIENT = 4
"""gradients are float32, also with --precision bfloat16"""
COPIES_WITH_ADAM = 5
"""float32 values per parameter: weight, gradient, two of Adam, and the moving average"""


@dataclass(frozen=True, kw_only=True)
class Communication:
    """Models, numbers of processes, and the speed of the slowest link between them."""

    models: tuple[str, ...] = ("blitznet300-lite", "blitznet300-s4", "blitznet512-s4")
    """Names of models."""
    processes: tuple[int, ...] = (2, 8, 64)
    """Numbers of processes."""
    gigabits: float = 100.0
    """Speed of the link of each process, in gigabits per second."""


def num_parameters(name: str) -> int:
    """Number of trained values of a model."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(get_spec(name)).parameters())


def sent_bytes(parameters: int, processes: int) -> float:
    """Bytes that each process sends in a step."""
    return BYTES_PER_GRADIENT * parameters * 2 * (processes - 1) / processes


def table(options: Communication) -> list[str]:
    """The table in Markdown: parameters, memory of a replica's values, and MB and milliseconds per step."""
    head = ["model", "parameters, M", "values of a replica, MB", *(f"n = {n}" for n in options.processes)]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for name in options.models:
        parameters = num_parameters(name)
        replica = parameters * BYTES_PER_GRADIENT * COPIES_WITH_ADAM / 1e6
        cells = [_cell(sent_bytes(parameters, n), options.gigabits) for n in options.processes]
        lines.append(_row([name, f"{parameters / 1e6:.2f}", f"{replica:.0f}", *cells]))
    return lines


def _cell(num_bytes: float, gigabits: float) -> str:
    return f"{num_bytes / 1e6:.0f} MB, {num_bytes * 8 / (gigabits * 1e9) * 1e3:.1f} ms"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print("\n".join(table(tyro.cli(Communication))))
