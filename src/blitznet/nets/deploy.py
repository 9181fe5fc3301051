"""From pixels to raw answers in one module: what exports write down and the torch engine runs."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from blitznet.core.spec import Spec
from blitznet.nets.parts import Heads


def normalize(images: Tensor, spec: Spec) -> Tensor:
    """Pixels (B, 3, h, w) uint8 RGB -> what the network is fed: (x / 255 - mean) / std, float32."""
    return _normalise(images, *_constants(spec, images.device))


class Deployed(nn.Module):
    """The network behind its normalisation: uint8 images in, a tuple of the answers it has out, float32.

    Softmax, decoding and suppression are the finishing step's, which filters before it computes.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, net: nn.Module, spec: Spec) -> None:
        super().__init__()
        self.net = net
        self.dtype = next(net.parameters()).dtype
        mean, std = _constants(spec, torch.device("cpu"))
        self.register_buffer("pixel_mean", _last(mean), persistent=False)
        self.register_buffer("pixel_std", _last(std), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, h, w, 3) uint8 RGB -> offsets, logits, class map: those of the network's tasks, in this order."""
        # Channels stay last in memory until the first convolution, which wants them so: runtimes then reorder nothing.
        pixels = _normalise(images, self.pixel_mean, self.pixel_std).permute(0, 3, 1, 2)
        heads: Heads = self.net(pixels.to(self.dtype))
        answers = (heads.offsets, heads.logits, heads.segmentation_logits)
        return tuple(answer.float() for answer in answers if answer is not None)


def output_names(spec: Spec) -> tuple[str, ...]:
    """Names of what `Deployed` gives, in order: some of offsets, logits and segmentation_logits."""
    boxes = ("offsets", "logits") if "detection" in spec.tasks else ()
    return (*boxes, "segmentation_logits") if "segmentation" in spec.tasks else boxes


def in_bfloat16(net: nn.Module) -> nn.Module:
    """A copy that convolves in bfloat16; its norms keep their float32 numbers, which are few and sensitive."""
    copy = deepcopy(net)
    for module in copy.modules():
        if isinstance(module, nn.Conv2d):
            module.to(torch.bfloat16)
    return copy


def _constants(spec: Spec, device: torch.device) -> tuple[Tensor, Tensor]:
    mean = torch.tensor(spec.mean, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    return mean, std


def _last(constants: Tensor) -> Tensor:
    """(1, 3, 1, 1) for pixels whose channels come last; one number where they are all alike, which runs fastest."""
    alike = bool((constants == constants[0, 0]).all())
    return (constants[0, 0, 0, 0] if alike else constants.view(3)).clone()  # memory of its own, as exporters want it


def _normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return (images.float() / 255 - mean) / std
