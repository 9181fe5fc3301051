"""SSDLite's trained box predictors, its sixth map and that map's class predictor: what makes a side its whole head.

A network whose anchors are laid out on seven maps (strides 8 to 256) has SSDLite's own shapes on the last six, so it
can begin as the detector that COCO taught. Only SSDLite's first map has other shapes: there an anchor of ours takes
the predictor of the shape most like it, turned to the anchor, which is exact, for boxes are affine in the offsets.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from blitznet.core.anchors import shapes
from blitznet.core.arrays import Floats
from blitznet.core.errors import ModelError
from blitznet.core.spec import AnchorLayout, Spec
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.lite import LiteSsdHead
from blitznet.nets.ssdlite_class_head import ALIKE, METADATA, class_predictor, load_predictors, tensor

BOX_FILE = Path(__file__).parents[1] / "weights" / "ssdlite-box-predictors.safetensors"
"""the converted tensors inside the package"""
BOX_MAPS = 6
"""19, 10, 5, 3, 2 and 1 cells a side at 300 pixels"""
SIXTH = "downscale.blocks.3."
"""the block of the downscale stream that makes the last of them"""

_SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
_RATIOS = (2.0, 1 / 2, 3.0, 1 / 3)
_METADATA = METADATA | {"changes": "box predictors, sixth map and its class predictor, rounded to float16"}


def port_box_predictors(tensors: Mapping[str, Floats], block: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors, of `read_tfjs`'s and the state of the sixth map's block, named within its network."""
    state = class_predictor(tensors, BOX_MAPS - 1)
    for k in range(BOX_MAPS):
        root = f"BoxPredictor_{k}/BoxEncodingPredictor"
        norm = f"{root}_depthwise/BatchNorm"
        state[f"offsets.{k}.conv.weight"] = tensor(tensors, f"{root}_depthwise/depthwise_weights").permute(2, 3, 0, 1)
        for ours, theirs in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean")):
            state[f"offsets.{k}.norm.{ours}"] = tensor(tensors, f"{norm}/{theirs}")
        state[f"offsets.{k}.norm.running_var"] = tensor(tensors, f"{norm}/moving_variance")
        kernel, bias = tensor(tensors, f"{root}/weights")[0, 0], tensor(tensors, f"{root}/biases")  # (D, P * 4)
        x_first = [1, 0, 3, 2]  # theirs are y, x, h, w
        state[f"offsets.{k}.weight"] = kernel.view(len(kernel), -1, 4)[:, :, x_first].permute(1, 2, 0)  # (P, 4, D)
        state[f"offsets.{k}.bias"] = bias.view(-1, 4)[:, x_first]  # (P, 4)
    state |= {name: value for name, value in block.items() if not name.endswith("num_batches_tracked")}
    return {name: value.contiguous().half() if value.ndim > 1 else value.float() for name, value in state.items()}


def save_box_predictors(state: Mapping[str, Tensor], path: Path = BOX_FILE) -> None:
    """Write them as safetensors, licence and origin beside them."""
    save_file(dict(state), path, _METADATA)


def read_box_predictors() -> dict[str, Tensor]:
    """The package's file, in float32. Raises ModelError if there is none."""
    if not BOX_FILE.is_file():
        raise ModelError(f"{BOX_FILE}: there is no file of predictors; install blitznet again")
    return {name: value.float() for name, value in load_file(BOX_FILE).items()}


def load_head(net: BlitzNet, spec: Spec, *, share: float) -> None:
    """Begin a network's side with all that SSDLite has for it: class logits, and what the contract has of the rest.

    share: of the class logits. Raises ModelError where the network's maps are others.
    """
    side = net.ssd_head
    assert isinstance(side, LiteSsdHead)
    if len(side.features) < BOX_MAPS:
        load_predictors(side, spec.classes, share=share)
        return
    state = read_box_predictors()
    block = {name: value for name, value in state.items() if name.startswith(SIXTH)}
    net.load_state_dict(block, strict=False)
    sixth = {name: value for name, value in state.items() if name.startswith(f"{BOX_MAPS - 1}.")}
    load_predictors(side, spec.classes, share=share, more=sixth)
    if len(side.offsets):
        load_box_predictors(side, spec.anchors)


def load_box_predictors(side: LiteSsdHead, layout: AnchorLayout) -> None:
    """Begin a side's offsets with the predictors. Raises ModelError where its maps are others than SSDLite's six."""
    state, own = read_box_predictors(), shapes(layout)[1 : 1 + BOX_MAPS]  # (6, P, 2)
    if len(side.offsets) != BOX_MAPS or len(own) != BOX_MAPS:
        raise ModelError("SSDLite's box predictors want anchors of strides 8 to 256 on 'mobilenetv2-ssdlite'")
    for k, layer in enumerate(side.offsets):
        root = f"offsets.{k}."
        norm = {key.removeprefix(root): value for key, value in state.items() if key.startswith(f"{root}norm.")}
        layer.get_submodule("0").load_state_dict({"conv.weight": state[f"{root}conv.weight"], **norm}, strict=False)
        kernel, bias = _turned(state[f"{root}weight"], state[f"{root}bias"], _theirs(k), own[k], first=k == 0)
        final = layer.get_submodule("1")
        assert isinstance(final, nn.Conv2d)
        assert final.bias is not None
        with torch.no_grad():
            final.weight.copy_(kernel.reshape(final.weight.shape))
            final.bias.copy_(bias.reshape(-1))


def _theirs(k: int) -> Floats:
    """(P', 2) width and height of SSDLite's anchors on map k, fractions of the image."""
    scale, larger = _SCALES[k], (_SCALES[k] * _SCALES[k + 1]) ** 0.5
    tall = [(scale * ratio**0.5, scale / ratio**0.5) for ratio in _RATIOS]
    found = [(0.1, 0.1), *tall[:2]] if k == 0 else [(scale, scale), *tall, (larger, larger)]
    return np.asarray(found, np.float32)


def _turned(kernel: Tensor, bias: Tensor, theirs: Floats, ours: Floats, *, first: bool) -> tuple[Tensor, Tensor]:
    """Kernel (P, 4, D) and bias (P, 4) for our anchors from those of SSDLite's: the same boxes, seen from others."""
    sources = ALIKE if first else tuple((place,) for place in range(len(ours)))
    kernels, biases = [], []
    for places, shape in zip(sources, ours, strict=True):
        seen = [_seen_from(kernel[place], bias[place], torch.from_numpy(theirs[place] / shape)) for place in places]
        kernels.append(torch.stack([one for one, _ in seen]).mean(0))
        biases.append(torch.stack([one for _, one in seen]).mean(0))
    return torch.stack(kernels), torch.stack(biases)


def _seen_from(kernel: Tensor, bias: Tensor, larger: Tensor) -> tuple[Tensor, Tensor]:
    """Kernel (4, D) and bias (4,) for an anchor that theirs is `larger` than, in width and height (2,)."""
    spread = torch.cat([larger, torch.ones(2)])
    grown = torch.cat([torch.zeros(2), larger.log() / _SIZE_VARIANCE])
    return kernel * spread[:, None], bias * spread + grown


_SIZE_VARIANCE = 0.2
"""SSDLite's sizes are exp(0.2 t) of an anchor's, its centres 0.1 t of one away: the variances of all our layouts"""
