"""The processes of a run under `torchrun`; alone, a run is the first of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

_PATIENCE = timedelta(hours=3)
"""the others wait this long while the first process evaluates"""


@dataclass(frozen=True, slots=True)
class Group:
    """Which of how many processes this is, and the device it works on."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main_process(self) -> bool:
        """Only the first process writes."""
        return self.rank == 0

    def all_reduce_sum(self, *counts: int) -> list[int]:
        """Sums of counts over all processes."""
        if self.world == 1:
            return list(counts)
        sums = torch.tensor(counts, dtype=torch.int64, device=self.device)
        dist.all_reduce(sums)
        return [int(value) for value in sums.tolist()]

    def all_reduce_any(self, flag: bool) -> bool:
        """Whether the flag is up in some process."""
        return self.all_reduce_sum(int(flag))[0] > 0

    def barrier(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def init_distributed(device: str) -> Iterator[Group]:
    """Join the processes `torchrun` started (NCCL on GPUs, gloo on CPUs) and leave them at the end."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    local = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    if world == 1:
        yield Group(0, 1, local)
        return
    if kind == "cuda":
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Group(rank, world, local)
    finally:
        dist.destroy_process_group()
