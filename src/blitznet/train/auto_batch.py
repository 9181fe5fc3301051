"""`--batch auto`: the largest batch whose training step fits a share of the free memory.

The memory of a step is a constant plus an amount for each image. Both are measured with trial steps of two and of four
random images on a copy of the network: on a GPU as the peak of its allocator, on a CPU as the tensors that the backward
pass keeps, times a measured factor for temporary ones.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from blitznet.core.errors import UsageError
from blitznet.core.memory import GB, available_memory
from blitznet.core.spec import Spec
from blitznet.data.train_sample import TrainSample
from blitznet.nets.blitznet import BlitzNet
from blitznet.train.batch import Batch, collate
from blitznet.train.config import AUTO_BATCH, TrainConfig
from blitznet.train.distributed import ProcessGroup
from blitznet.train.trainer import Trainer, make_trainer

MAX_IMAGES_PER_PASS = 1024
"""largest number of images of one forward pass"""
TRIAL_IMAGES = (2, 4)
"""images of the trial steps"""
CPU_FACTOR = 1.2
"""memory of a step on a CPU, as a multiple of what the backward pass keeps; the light models need up to 1.03"""
PREFETCHED = 4
"""batches that each loader process holds"""

StepMemory = Callable[[int], int]
"""number of images of a forward pass -> bytes of its training step"""


@dataclass(frozen=True, slots=True)
class BatchChoice:
    """A batch, and why it was chosen."""

    batch: int
    """images per step, over all processes"""
    step_bytes: int
    """expected memory of a step of one process"""
    limit: int
    """bytes that the step may take"""
    free: int
    """free bytes of the device"""

    def notice(self, share: float) -> str:
        """One line for the user."""
        return (
            f"--batch auto: {self.batch} images, about {self.step_bytes / GB:.2f} GB of {self.limit / GB:.2f} GB "
            f"({share:g} of the {self.free / GB:.2f} GB that are free)"
        )


def resolve_batch(
    net: BlitzNet, spec: Spec, config: TrainConfig, group: ProcessGroup, *, num_images: float
) -> tuple[TrainConfig, BatchChoice | None]:
    """The config with a number in place of `--batch auto`, the same in all processes.

    Args:
        net: The network of the run; a copy of it does the trial steps.
        spec: Its spec.
        config: Options of the run.
        group: The processes of the run.
        num_images: Images per epoch; the batch has at most as many.

    Returns:
        The config, and the choice; None if the config has a number.

    Raises:
        UsageError: The free memory is not known, or a batch of two images does not fit.
    """
    if config.batch != AUTO_BATCH:
        return config, None
    free = free_memory(group)
    limit = int(config.batch_memory * free)
    num_parts = group.world_size * config.accumulate
    before = torch.cuda.memory_allocated(group.device) if group.device.type == "cuda" else 0
    with torch.random.fork_rng(devices=[]):
        trial = make_trial(net, spec, config, group.device)
        images, step_bytes = largest_fitting(
            lambda images: step_memory(trial, images, before=before),
            limit,
            max_images=max(TRIAL_IMAGES[0], int(min(MAX_IMAGES_PER_PASS, num_images / num_parts))),
            is_exact=group.device.type == "cuda",
        )
    images = group.all_reduce_min(images)
    if images < TRIAL_IMAGES[0]:
        raise UsageError(
            f"--batch auto: expected memory for {TRIAL_IMAGES[0]} images, got {limit / GB:.2f} GB for "
            f"{step_bytes / GB:.2f} GB; increase --batch-memory, or give a number and --accumulate"
        )
    choice = BatchChoice(images * num_parts, step_bytes, limit, free)
    return replace(config, batch=choice.batch), choice


def free_memory(group: ProcessGroup) -> int:
    """Free bytes of this process's device; processes on CPUs share the machine's memory.

    Raises:
        UsageError: The system does not tell.
    """
    if group.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(group.device)
        return int(free)
    available = available_memory()
    if available is None:
        raise UsageError("--batch auto: expected a system that states its free memory, got none; give a number")
    return available // group.world_size


def largest_fitting(measure: StepMemory, limit: int, *, max_images: int, is_exact: bool = False) -> tuple[int, int]:
    """The largest power of two of images whose step fits a limit.

    Args:
        measure: Bytes of a step; may raise torch.OutOfMemoryError.
        limit: Bytes.
        max_images: Largest number of images.
        is_exact: Whether to try the chosen number, and half of it if it does not fit.

    Returns:
        The images, 0 if not even a trial fits, and the expected bytes of their step.
    """
    few, more = TRIAL_IMAGES
    try:
        first, second = measure(few), measure(more)
    except torch.OutOfMemoryError:
        return 0, limit
    per_image = max(1.0, (second - first) / (more - few))

    def expected(images: int) -> int:
        return int(first + per_image * (images - few))

    images = few
    while 2 * images <= max_images and expected(2 * images) <= limit:
        images *= 2
    while is_exact and images > more and not _fits(measure, images, limit):
        images //= 2
    return (images, expected(images)) if expected(images) <= limit else (0, expected(images))


def _fits(measure: StepMemory, images: int, limit: int) -> bool:
    try:
        return measure(images) <= limit
    except torch.OutOfMemoryError:
        return False


def make_trial(net: BlitzNet, spec: Spec, config: TrainConfig, device: torch.device) -> Trainer:
    """A copy of the run in one process, for trial steps; it is not compiled."""
    trial_config = replace(config, batch=TRIAL_IMAGES[0], accumulate=1, compile=False)
    return make_trainer(copy.deepcopy(net), spec, trial_config, ProcessGroup(0, 1, device))


def step_memory(trial: Trainer, images: int, *, before: int = 0) -> int:
    """Bytes that a training step of `images` images needs.

    Args:
        trial: Does the step. On a GPU its network, EMA and optimizer count too, because those of the run will be there.
        images: Number of images.
        before: Bytes that were allocated on the GPU before the trial was made.

    Raises:
        torch.OutOfMemoryError: The step does not fit on the GPU.
    """
    batch = random_batch(trial.spec, trial.config, images)
    if trial.group.device.type == "cuda":
        device = trial.group.device
        if not trial.optimizer.state:
            trial.step(iter([random_batch(trial.spec, trial.config, TRIAL_IMAGES[0])]), 1)  # makes the state
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        trial.step(iter([batch]), 1)
        return int(torch.cuda.max_memory_allocated(device)) - before
    prefetched = images * PREFETCHED * max(1, trial.config.workers) * int(np.prod(trial.spec.size)) * 3
    with count_saved_bytes() as count:
        trial.step(iter([batch]), 1)
    return int(CPU_FACTOR * count()) + optimizer_bytes(trial.net, trial.optimizer) + prefetched


@contextmanager
def count_saved_bytes() -> Iterator[Callable[[], int]]:
    """Count the bytes of all tensors that the backward pass of the block needs, each storage once."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = max(sizes.get(storage.data_ptr(), 0), storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield lambda: sum(sizes.values())


def optimizer_bytes(net: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the gradients and of the optimizer's state."""
    gradients = sum(parameter.nbytes for parameter in net.parameters() if parameter.requires_grad)
    states = (value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor))
    return gradients + sum(value.nbytes for value in states)


def random_batch(spec: Spec, config: TrainConfig, images: int) -> Batch:
    """A batch of noise with four objects in each image, and a class map at the size of training's."""
    rng = np.random.default_rng(0)
    stride = config.mask_stride or spec.network.segmentation_stride
    map_size = tuple(-(-length // stride) for length in spec.size)
    low = rng.uniform(0, 0.5, (4, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.5, (4, 2))], 1).astype(np.float32)
    num_classes = len(spec.classes)
    sample = TrainSample(
        id="trial",
        image=rng.integers(0, 256, (*spec.size, 3), np.uint8),
        boxes=boxes,
        labels=rng.integers(0, num_classes, 4),
        crowd=np.zeros(4, np.bool_),
        class_map=rng.integers(0, num_classes + 1, map_size).astype(np.uint8),
        annotated_box_classes=np.ones(num_classes, np.bool_),
        annotated_mask_classes=np.ones(num_classes, np.bool_),
    )
    return collate([sample] * images)
