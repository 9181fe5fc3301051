"""The processes of a run under `torchrun`; without it, a run is one process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from blitznet.core.errors import UsageError

_TIMEOUT = timedelta(hours=3)
"""timeout of collective operations; the other processes wait while the main process evaluates"""


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process among all processes of the run."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main_process(self) -> bool:
        """Whether this process evaluates and writes files."""
        return self.rank == 0

    def all_reduce_sum(self, *counts: int) -> list[int]:
        """Sum each count over all processes."""
        if self.world_size == 1:
            return list(counts)
        sums = torch.tensor(counts, dtype=torch.int64, device=self.device)
        dist.all_reduce(sums)
        return [int(value) for value in sums.tolist()]

    def all_reduce_any(self, flag: bool) -> bool:
        """Whether the flag is true in any process."""
        return self.all_reduce_sum(int(flag))[0] > 0

    def all_reduce_min(self, value: int) -> int:
        """The smallest value of all processes."""
        if self.world_size == 1:
            return value
        smallest = torch.tensor(value, dtype=torch.int64, device=self.device)
        dist.all_reduce(smallest, dist.ReduceOp.MIN)
        return int(smallest)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world_size > 1:
            dist.barrier()


def resolve_device(device: str) -> str:
    """The kind of device, cpu or cuda, of the option --device.

    Raises:
        UsageError: The device has another name, or torch has no GPU to use.
    """
    if device not in ("cpu", "cuda", "auto"):
        raise UsageError(f"--device: expected cpu, cuda or auto, got '{device}'")
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise UsageError("--device cuda: expected a GPU that this torch can use, got none; use --device cpu")
    return ("cuda" if has_gpu else "cpu") if device == "auto" else device


@contextmanager
def init_distributed(device: str) -> Iterator[ProcessGroup]:
    """Join the processes that `torchrun` started, with NCCL on GPUs and gloo on CPUs; leave them at the end.

    Args:
        device: cpu, cuda, or auto for a GPU if there is one.

    Raises:
        UsageError: There is no such device.
    """
    world_size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    kind = resolve_device(device)
    local = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    if world_size == 1:
        yield ProcessGroup(0, 1, local)
        return
    if kind == "cuda":
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield ProcessGroup(rank, world_size, local)
    finally:
        dist.destroy_process_group()
