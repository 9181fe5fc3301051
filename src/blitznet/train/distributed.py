"""The processes of a run under `torchrun`; without it, a run is one process.

All processes do the same steps and evaluate a part of the images each. The main process, rank 0, writes all files.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from blitznet.core.errors import BlitzNetError, UsageError

Gathered = TypeVar("Gathered")
_TIMEOUT = timedelta(hours=3)
"""timeout of collective operations; processes wait for the one whose images take the longest to evaluate"""
_BACKEND_NAMES = ("gloo", "nccl", "tcpstore", "rendezvous", "connection")
"""words of which each error of a collective operation has one, in lower case"""


class ProcessLostError(BlitzNetError):
    """Another process of the run ended, so a collective operation cannot be completed."""


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process among all processes of the run."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files."""
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

    def gather(self, value: Gathered) -> list[Gathered] | None:
        """The values of all processes by rank, in the main process; None in the others. Values are pickled."""
        if self.world_size == 1:
            return [value]
        values: list[Gathered] | None = [value] * self.world_size if self.is_main_process else None
        dist.gather_object(value, values)
        return values

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite tensors with those of the main process."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def require_equal(self, value: int, message: str) -> None:
        """Raise UsageError in all processes unless the value is the same in all of them."""
        if self.all_reduce_min(value) != -self.all_reduce_min(-value):
            raise UsageError(f"{message}, got {value} in process {self.rank}")

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
def translate_lost_processes(group: ProcessGroup) -> Iterator[None]:
    """Raise the errors of collective operations in the block as a ProcessLostError of one line."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).lower()
        if group.world_size == 1 or not any(name in text for name in _BACKEND_NAMES):
            raise
        raise ProcessLostError(
            f"process {group.rank}: expected {group.world_size} processes, got none from another one; run the same "
            "command to resume, or let torchrun restart all of them with --max-restarts"
        ) from error


@contextmanager
def init_distributed(device: str) -> Iterator[ProcessGroup]:
    """Join the processes that `torchrun` started, with NCCL on GPUs and gloo on CPUs; leave them at the end.

    Args:
        device: cpu, cuda, or auto for a GPU if there is one.

    Raises:
        UsageError: There is no such device, or torchrun would restart processes that cannot find each other.
    """
    world_size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    kind = resolve_device(device)
    local = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    if world_size == 1:
        yield ProcessGroup(0, 1, local)
        return
    if kind == "cuda":
        torch.cuda.set_device(local)
    _require_new_store_after_restart()
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield ProcessGroup(rank, world_size, local)
    finally:
        dist.destroy_process_group()


def _require_new_store_after_restart() -> None:
    # torchrun's own store, which its processes use by default, outlives them: restarted processes read the addresses of
    # the former ones and cannot connect (pytorch issue 135712).
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts != "0" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise UsageError(
            f"--max-restarts {restarts}: expected TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in torchrun's environment, "
            "without which restarted processes connect to the former ones; set it, or leave the flag out"
        )
