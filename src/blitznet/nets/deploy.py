"""From pixels to raw outputs in one module: what exports write and the torch engine runs."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from blitznet.core.spec import Spec
from blitznet.nets.parts import HeadOutputs


def normalize(images: Tensor, spec: Spec) -> Tensor:
    """Pixels (B, 3, h, w) uint8 RGB -> the network's input, (x / 255 - mean) / std, float32."""
    return _normalize(images, *_mean_and_std(spec, images.device))


class Deployed(nn.Module):
    """The network with its normalization: uint8 images in, a tuple of its raw outputs out, float32.

    Softmax, decoding and NMS belong to post-processing, which filters before it computes.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, net: nn.Module, spec: Spec) -> None:
        super().__init__()
        self.net = net
        self.dtype = next(net.parameters()).dtype
        mean, std = _mean_and_std(spec, torch.device("cpu"))
        self.register_buffer("pixel_mean", _channels_last(mean), persistent=False)
        self.register_buffer("pixel_std", _channels_last(std), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, h, w, 3) uint8 RGB -> offsets, logits, segmentation logits: those of the tasks, in this order."""
        # In memory the channels stay last up to the first convolution, which expects them so: runtimes then do not
        # reorder the pixels.
        pixels = _normalize(images, self.pixel_mean, self.pixel_std).permute(0, 3, 1, 2)
        outputs: HeadOutputs = self.net(pixels.to(self.dtype))
        tensors = (outputs.offsets, outputs.logits, outputs.segmentation_logits)
        return tuple(tensor.float() for tensor in tensors if tensor is not None)


class PlanarDeployed(nn.Module):
    """`Deployed` for runtimes whose images are planes: float32 pixels 0 to 255 in, the same outputs out."""

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, spec: Spec) -> None:
        super().__init__()
        self.net = net
        mean, std = _mean_and_std(spec, torch.device("cpu"))
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, h, w) RGB -> offsets, logits, segmentation logits: those of the tasks, in this order."""
        outputs: HeadOutputs = self.net(images * self.scale + self.shift)
        tensors = (outputs.offsets, outputs.logits, outputs.segmentation_logits)
        return tuple(tensor for tensor in tensors if tensor is not None)


def output_names(spec: Spec) -> tuple[str, ...]:
    """Names of the outputs of `Deployed`, in order: some of offsets, logits and segmentation_logits."""
    boxes = ("offsets", "logits") if "detection" in spec.tasks else ()
    return (*boxes, "segmentation_logits") if "segmentation" in spec.tasks else boxes


def in_bfloat16(net: nn.Module) -> nn.Module:
    """A copy that convolves in bfloat16. Batch norms stay float32: they are few and sensitive."""
    copy = deepcopy(net)
    for module in copy.modules():
        if isinstance(module, nn.Conv2d):
            module.to(torch.bfloat16)
    return copy


def _mean_and_std(spec: Spec, device: torch.device) -> tuple[Tensor, Tensor]:
    mean = torch.tensor(spec.mean, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    return mean, std


def _channels_last(values: Tensor) -> Tensor:
    """(1, 3, 1, 1) -> (3,), or a scalar if all three are equal, which is faster."""
    equal = bool((values == values[0, 0]).all())
    return (values[0, 0, 0, 0] if equal else values.view(3)).clone()  # exporters need tensors that are not views


def _normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return (images.float() / 255 - mean) / std
