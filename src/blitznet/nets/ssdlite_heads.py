"""SSDLite's class and box heads, pretrained on COCO, as initialization of a light network.

A network with anchors on seven maps (strides 8 to 256) has SSDLite's own anchor shapes on the last six, so it can start
as that detector. Only on SSDLite's first map do the shapes differ: it has a small square and ratios 2 and 1/2. There,
each of our anchors takes the predictor of the nearest shape, re-expressed for our anchor. That is exact, since boxes
are affine in the offsets.

SSDLite's scores are a sigmoid for each class. With the background logit at 0, a softmax returns the same score where
one class dominates.
"""

from collections.abc import Mapping

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from blitznet.core.anchors import shapes
from blitznet.core.arrays import Floats
from blitznet.core.classes import COCO_BY_ID, canonical
from blitznet.core.errors import ModelError
from blitznet.core.models import SSDLITE_STRIDES
from blitznet.core.packaged_files import packaged_file
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.heads import as_convolutions
from blitznet.nets.lite_fpn import FpnDetectionHead
from blitznet.nets.pretrained_encoder import load_pretrained_encoder

CLASS_FILE = "ssdlite-class-head.safetensors"
"""class heads of five maps: for each map k a depthwise kernel, its norm, kernel (P, 80, D) and bias (P, 80)"""
BOX_FILE = "ssdlite-box-head.safetensors"
"""box heads of all six maps, the block of the downscale stream that makes the sixth, and that map's class head"""

CLASS_MAPS = 5
"""maps in CLASS_FILE: 19, 10, 5, 3 and 2 cells per side at 300 pixels"""
BOX_MAPS = 6
"""maps in BOX_FILE: those and one of 1x1"""
ENCODER = "mobilenetv2-ssdlite"
"""the only encoder that the heads fit"""
SIXTH_BLOCK = "downscale.blocks.3."
"""prefix of the block that makes the sixth map"""

NEAREST_ANCHORS: tuple[tuple[int, ...], ...] = ((1, 2), (1,), (2,), (1,), (2,), (1, 2))
"""for each of our anchors on the first map: SSDLite's anchors of the nearest shape, whose predictors are averaged"""
_SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
_RATIOS = (2.0, 1 / 2, 3.0, 1 / 3)
_PARAMETERS = ("weight", "bias")
_SIZE_VARIANCE = 0.2
"""variance of width and height offsets, in SSDLite and in all our anchor layouts"""


def init_from_ssdlite(net: BlitzNet, spec: Spec) -> None:
    """Initialize a light network on a feature pyramid so that it computes what SSDLite computes.

    The encoder and the downscale stream take SSDLite's weights, and so do the layers of the detection head on the
    downscale stream. The head's kernels on the pyramid become 0, except on the finest map, where SSDLite predicts
    nothing; there the head keeps its weights. Logits of background and of classes that COCO lacks become 0.

    Args:
        net: The network; it is changed.
        spec: Its spec.

    Raises:
        ModelError: A file is missing, or the network has another encoder, other maps or another head.
    """
    head = net.detection
    require_ssdlite_maps(spec)
    if not isinstance(head, FpnDetectionHead):
        raise ModelError(f"{spec.name}: expected the family lite-fpn for SSDLite's heads, got {spec.network.family}")
    load_pretrained_encoder(net)
    boxes = _read(BOX_FILE)
    net.load_state_dict({name: value for name, value in boxes.items() if name.startswith(SIXTH_BLOCK)}, strict=False)
    sixth = {name: value for name, value in boxes.items() if name.startswith(f"{BOX_MAPS - 1}.")}
    classes, pairs = _read(CLASS_FILE) | sixth, _coco_pairs(spec.classes)
    for k, own_shapes in enumerate(shapes(spec.anchors)[1:]):
        head.class_features[k].load_state_dict(_conv_and_norm(classes, f"{k}."), strict=False)
        head.box_features[k].load_state_dict(_conv_and_norm(boxes, f"offsets.{k}."), strict=False)
        sources = NEAREST_ANCHORS if k == 0 else tuple((index,) for index in range(len(own_shapes)))
        logits, offsets = as_convolutions((head.logits[k + 1], head.offsets[k + 1]))
        kernel, bias = (_for_classes(classes[f"{k}.{name}"], sources, head.num_classes, pairs) for name in _PARAMETERS)
        _set_last_channels(logits, kernel, bias)
        kernel, bias = (boxes[f"offsets.{k}.{name}"] for name in _PARAMETERS)
        _set_last_channels(offsets, *_for_anchors(kernel, bias, _ssdlite_shapes(k), own_shapes, sources))


def require_ssdlite_maps(spec: Spec) -> None:
    """Raise ModelError unless a network of the spec has the encoder, the maps and the anchors of SSDLite."""
    encoder, layout = spec.network.encoder, spec.anchors
    if (encoder, layout.strides, layout.ratios) != (ENCODER, SSDLITE_STRIDES, _RATIOS):
        raise ModelError(
            f"{spec.name}: expected the encoder '{ENCODER}' and SSDLite's anchors, of strides {SSDLITE_STRIDES}, "
            f"got '{encoder}' and strides {layout.strides}"
        )


def _set_last_channels(layer: nn.Conv2d, kernel: Tensor, bias: Tensor) -> None:
    """Put a kernel (P, V, D) and bias (P, V) into the last D input channels of a 1x1 of P * V channels; 0 before."""
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, -kernel.shape[-1] :] = kernel.flatten(0, 1)[:, :, None, None]
        layer.bias.copy_(bias.flatten())


def _read(file: str) -> dict[str, Tensor]:
    """The tensors of a published file, in float32."""
    return {name: value.float() for name, value in load_file(packaged_file(file)).items()}


def _coco_pairs(class_names: tuple[str, ...]) -> list[tuple[int, int]]:
    """Channel of a class in the network and its index among COCO's 80, for each class that COCO has."""
    coco = {canonical(name): index for index, name in enumerate(COCO_BY_ID)}
    return [
        (channel, coco[canonical(name)]) for channel, name in enumerate(class_names, start=1) if canonical(name) in coco
    ]


def _conv_and_norm(state: Mapping[str, Tensor], root: str) -> dict[str, Tensor]:
    """The state of the depthwise convolution before an output convolution."""
    norm = {name.removeprefix(root): value for name, value in state.items() if name.startswith(f"{root}norm.")}
    return {"conv.weight": state[f"{root}conv.weight"], **norm}


def _for_classes(
    values: Tensor, sources: tuple[tuple[int, ...], ...], num_classes: int, pairs: list[tuple[int, int]]
) -> Tensor:
    """(P, C, ...) for our anchors and classes, of a kernel or bias (P', 80, ...) for SSDLite's anchors and COCO's."""
    nearest = torch.stack([values[list(indices)].mean(0) for indices in sources])
    selected = nearest.new_zeros(len(sources), num_classes, *values.shape[2:])
    for channel, coco_index in pairs:
        selected[:, channel] = nearest[:, coco_index]
    return selected


def _ssdlite_shapes(k: int) -> Floats:
    """(P', 2) width and height of SSDLite's anchors on map k, fractions of the image."""
    scale, larger = _SCALES[k], (_SCALES[k] * _SCALES[k + 1]) ** 0.5
    ratios = [(scale * ratio**0.5, scale / ratio**0.5) for ratio in _RATIOS]
    values = [(0.1, 0.1), *ratios[:2]] if k == 0 else [(scale, scale), *ratios, (larger, larger)]
    return np.asarray(values, np.float32)


def _for_anchors(
    kernel: Tensor, bias: Tensor, source_shapes: Floats, target_shapes: Floats, sources: tuple[tuple[int, ...], ...]
) -> tuple[Tensor, Tensor]:
    """Kernel (P, 4, D) and bias (P, 4) that predict, from our anchors, the boxes that SSDLite predicts from its own.

    Shapes are (P', 2) of SSDLite's anchors and (P, 2) of ours; `sources` are the indices of SSDLite's that are averaged
    for each of ours.
    """
    kernels, biases = [], []
    for indices, shape in zip(sources, target_shapes, strict=True):
        pairs = [
            _for_anchor(kernel[index], bias[index], torch.from_numpy(source_shapes[index] / shape)) for index in indices
        ]
        kernels.append(torch.stack([pair[0] for pair in pairs]).mean(0))
        biases.append(torch.stack([pair[1] for pair in pairs]).mean(0))
    return torch.stack(kernels), torch.stack(biases)


def _for_anchor(kernel: Tensor, bias: Tensor, size_ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Kernel (4, D) and bias (4,) for an anchor; SSDLite's is larger by `size_ratio`, width and height (2,)."""
    scale = torch.cat([size_ratio, torch.ones(2)])
    shift = torch.cat([torch.zeros(2), size_ratio.log() / _SIZE_VARIANCE])
    return kernel * scale[:, None], bias * scale + shift
