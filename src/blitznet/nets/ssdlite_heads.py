"""SSDLite's class and box heads, pretrained on COCO, as initialization of a light network's SSD head.

A network with anchors on seven maps (strides 8 to 256) has SSDLite's own anchor shapes on the last six, so it can start
as that detector. Only on SSDLite's first map do the shapes differ: it has a small square and ratios 2 and 1/2. There,
each of our anchors takes the predictor of the nearest shape, re-expressed for our anchor. That is exact, since boxes
are affine in the offsets.

SSDLite's scores are a sigmoid for each class. With the background logit at 0, a softmax returns the same score where
one class dominates.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from blitznet.core.anchors import shapes
from blitznet.core.arrays import Floats
from blitznet.core.classes import COCO_BY_ID, canonical
from blitznet.core.errors import ModelError
from blitznet.core.spec import AnchorLayout, Spec
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.heads import as_convolutions
from blitznet.nets.lite import LiteDetectionHead, LiteSsdHead
from blitznet.nets.lite_fpn import FpnDetectionHead
from blitznet.nets.pretrained_encoder import load_pretrained_encoder

_WEIGHTS = Path(__file__).parents[1] / "weights"
CLASS_FILE = _WEIGHTS / "ssdlite-class-head.safetensors"
"""class heads of five maps: for each map k a depthwise kernel, its norm, kernel (P, 80, D) and bias (P, 80)"""
BOX_FILE = _WEIGHTS / "ssdlite-box-head.safetensors"
"""box heads of all six maps, the block of the downscale stream that makes the sixth, and that map's class head"""

CLASS_MAPS = 5
"""maps in CLASS_FILE: 19, 10, 5, 3 and 2 cells per side at 300 pixels"""
BOX_MAPS = 6
"""maps in BOX_FILE: those and one of 1x1"""
SIXTH_BLOCK = "downscale.blocks.3."
"""prefix of the block that makes the sixth map"""

NEAREST_ANCHORS: tuple[tuple[int, ...], ...] = ((1, 2), (1,), (2,), (1,), (2,), (1, 2))
"""for each of our anchors on the first map: SSDLite's anchors of the nearest shape, whose predictors are averaged"""
_SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
_RATIOS = (2.0, 1 / 2, 3.0, 1 / 3)
_SIZE_VARIANCE = 0.2
"""variance of width and height offsets, in SSDLite and in all our anchor layouts"""


def init_from_ssdlite(net: BlitzNet, spec: Spec) -> None:
    """Initialize a light network so that it computes what SSDLite computes.

    The encoder, the downscale stream and the SSD head take SSDLite's weights. On the maps that both heads have, the
    output convolutions of the detection head are set to 0, so the sum of both is SSDLite's. On the finest map SSDLite
    predicts nothing; there both heads keep their weights.

    Args:
        net: A network with an SSD head with boxes; it is changed.
        spec: Its spec.

    Raises:
        ModelError: A file is missing, or the network has other maps or another encoder.
    """
    if isinstance(net.detection, FpnDetectionHead):
        load_pretrained_encoder(net)
        _load_fpn_heads(net, net.detection, spec)
        return
    assert isinstance(net.ssd_head, LiteSsdHead)
    assert isinstance(net.detection, LiteDetectionHead)
    finest = {name: value.clone() for name, value in net.ssd_head.finest_logits.state_dict().items()}
    load_pretrained_encoder(net)
    load_ssdlite_heads(net, spec)
    net.ssd_head.finest_logits.load_state_dict(finest)
    for predictor in (*net.detection.offsets[1:], *net.detection.logits[1:]):
        for parameter in predictor.get_submodule("1").parameters():
            nn.init.zeros_(parameter)


def load_ssdlite_heads(net: BlitzNet, spec: Spec) -> None:
    """Load SSDLite's heads into a network's SSD head: classes, and boxes and the sixth map if the network has them.

    Args:
        net: A network with a light SSD head; it is changed.
        spec: Its spec.

    Raises:
        ModelError: A file is missing, or the network has other maps.
    """
    ssd_head = net.ssd_head
    assert isinstance(ssd_head, LiteSsdHead)
    if len(ssd_head.features) < BOX_MAPS:
        load_class_heads(ssd_head, spec.classes)
        return
    state = _read(BOX_FILE)
    block = {name: value for name, value in state.items() if name.startswith(SIXTH_BLOCK)}
    net.load_state_dict(block, strict=False)
    sixth = {name: value for name, value in state.items() if name.startswith(f"{BOX_MAPS - 1}.")}
    load_class_heads(ssd_head, spec.classes, sixth)
    if len(ssd_head.offsets):
        load_box_heads(ssd_head, spec.anchors)


def _load_fpn_heads(net: BlitzNet, head: FpnDetectionHead, spec: Spec) -> None:
    """Load SSDLite's heads and sixth map into a head of both streams, which then computes what SSDLite computes.

    The kernels on the pyramid's maps become 0, except on the finest map, where SSDLite predicts nothing.
    """
    own_shapes = shapes(spec.anchors)[1 : 1 + BOX_MAPS]  # (6, P, 2)
    if len(head.class_features) != BOX_MAPS or len(own_shapes) != BOX_MAPS:
        raise ModelError(
            f"SSDLite's heads: expected anchors of strides 8 to 256 on 'mobilenetv2-ssdlite', "
            f"got strides {spec.anchors.strides}"
        )
    boxes = _read(BOX_FILE)
    net.load_state_dict({name: value for name, value in boxes.items() if name.startswith(SIXTH_BLOCK)}, strict=False)
    sixth = {name: value for name, value in boxes.items() if name.startswith(f"{BOX_MAPS - 1}.")}
    classes, pairs = _read(CLASS_FILE) | sixth, _coco_pairs(spec.classes)
    for k in range(BOX_MAPS):
        head.class_features[k].load_state_dict(_conv_and_norm(classes, f"{k}."), strict=False)
        head.box_features[k].load_state_dict(_conv_and_norm(boxes, f"offsets.{k}."), strict=False)
        sources = NEAREST_ANCHORS if k == 0 else tuple((index,) for index in range(len(own_shapes[k])))
        kernel, bias = (
            torch.stack([classes[f"{k}.{name}"][list(indices)].mean(0) for indices in sources])
            for name in ("weight", "bias")
        )
        logits, offsets = as_convolutions((head.logits[k + 1], head.offsets[k + 1]))
        with torch.no_grad():
            logits.weight.zero_()
            offsets.weight.zero_()
            new_kernel, new_bias = _select_classes(kernel, bias, head.num_classes, pairs)
            _set_last_channels(logits, new_kernel.flatten(0, 1), new_bias)
            kernel, bias = _for_anchors(
                boxes[f"offsets.{k}.weight"],
                boxes[f"offsets.{k}.bias"],
                _ssdlite_shapes(k),
                own_shapes[k],
                sources,
            )
            _set_last_channels(offsets, kernel.flatten(0, 1), bias)


def _set_last_channels(layer: nn.Conv2d, kernel: Tensor, bias: Tensor) -> None:
    """Put a kernel (O, D) into the last D input channels of a 1x1."""
    assert layer.bias is not None
    layer.weight[:, -kernel.shape[1] :] = kernel[:, :, None, None]
    layer.bias.copy_(bias.reshape(-1))


def load_class_heads(
    ssd_head: LiteSsdHead, class_names: tuple[str, ...], sixth: Mapping[str, Tensor] | None = None
) -> None:
    """Load SSDLite's class heads. Logits of background and of classes that COCO lacks become 0.

    Args:
        ssd_head: The head; it is changed.
        class_names: K names of its classes.
        sixth: The class head of the sixth map, for a head that has it.

    Raises:
        ModelError: The file is missing, or the head has other maps.
    """
    state = _read(CLASS_FILE) | dict(sixth or {})
    maps = CLASS_MAPS + bool(sixth)
    if len(ssd_head.features) != maps or ssd_head.logits[0].in_channels != state["0.weight"].shape[2]:
        raise ModelError(
            f"SSDLite's class heads: expected the encoder 'mobilenetv2-ssdlite' and {CLASS_MAPS} maps, "
            f"got {len(ssd_head.features)} maps; set 3 extra levels"
        )
    pairs = _coco_pairs(class_names)
    with torch.no_grad():
        for k in range(maps):
            ssd_head.features[k].load_state_dict(_conv_and_norm(state, f"{k}."), strict=False)
        kernels = [(state[f"{k}.weight"], state[f"{k}.bias"]) for k in range(maps)]
        small = tuple(value[:1].expand(len(NEAREST_ANCHORS), *value.shape[1:]) for value in kernels[0])
        nearest = tuple(
            torch.stack([value[list(sources)].mean(0) for sources in NEAREST_ANCHORS]) for value in kernels[0]
        )
        layers = (ssd_head.finest_logits, *ssd_head.logits)
        for layer, (kernel, bias) in zip(layers, ((*small,), (*nearest,), *kernels[1:]), strict=True):
            _set_class_layer(layer, kernel, bias, ssd_head.num_classes, pairs)


def load_box_heads(ssd_head: LiteSsdHead, layout: AnchorLayout) -> None:
    """Load SSDLite's box heads.

    Args:
        ssd_head: The head; it is changed.
        layout: The anchors of its network.

    Raises:
        ModelError: The file is missing, or the maps are not SSDLite's six.
    """
    state, own_shapes = _read(BOX_FILE), shapes(layout)[1 : 1 + BOX_MAPS]  # (6, P, 2)
    if len(ssd_head.offsets) != BOX_MAPS or len(own_shapes) != BOX_MAPS:
        raise ModelError(
            f"SSDLite's box heads: expected anchors of strides 8 to 256 on 'mobilenetv2-ssdlite', "
            f"got {len(ssd_head.offsets)} maps of strides {layout.strides}"
        )
    for k, layer in enumerate(ssd_head.offsets):
        root = f"offsets.{k}."
        layer.get_submodule("0").load_state_dict(_conv_and_norm(state, root), strict=False)
        sources = NEAREST_ANCHORS if k == 0 else tuple((index,) for index in range(len(own_shapes[k])))
        kernel, bias = _for_anchors(
            state[f"{root}weight"], state[f"{root}bias"], _ssdlite_shapes(k), own_shapes[k], sources
        )
        output = layer.get_submodule("1")
        assert isinstance(output, nn.Conv2d)
        assert output.bias is not None
        with torch.no_grad():
            output.weight.copy_(kernel.reshape(output.weight.shape))
            output.bias.copy_(bias.reshape(-1))


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, in float32."""
    if not path.is_file():
        raise ModelError(f"{path}: expected SSDLite's heads, got no file; install blitznet again")
    return {name: value.float() for name, value in load_file(path).items()}


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


def _set_class_layer(
    layer: nn.Module, kernel: Tensor, bias: Tensor, num_classes: int, pairs: list[tuple[int, int]]
) -> None:
    """Put a kernel (P, 80, D) and bias (P, 80) into a 1x1 of P * C channels; 0 for all other classes."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    new_kernel, new_bias = _select_classes(kernel, bias, num_classes, pairs)
    layer.weight.copy_(new_kernel.view_as(layer.weight))
    layer.bias.copy_(new_bias.view_as(layer.bias))


def _select_classes(
    kernel: Tensor, bias: Tensor, num_classes: int, pairs: list[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Kernel (P, C, D) and bias (P, C) from those of COCO's 80 classes; 0 for background and classes COCO lacks."""
    new_kernel, new_bias = torch.zeros(len(kernel), num_classes, kernel.shape[2]), torch.zeros(len(bias), num_classes)
    for channel, coco_index in pairs:
        new_kernel[:, channel], new_bias[:, channel] = kernel[:, coco_index], bias[:, coco_index]
    return new_kernel, new_bias


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
