"""Porting of SSDLite from TensorFlow.js: the ported network computes what the folded graph computes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from blitznet.core.arrays import Floats
from blitznet.core.errors import DataError, ModelError
from blitznet.core.image import ImageSource
from blitznet.nets.mobilenet import LiteConv
from blitznet.nets.pretrained_encoder import load_pretrained_encoder
from blitznet.nets.ssdlite_heads import BOX_MAPS, CLASS_MAPS, SIXTH_BLOCK
from support.ssdlite_original import synthetic_image
from tools.port_ssdlite import (
    PretrainedEncoder,
    port_box_heads,
    port_class_heads,
    port_encoder,
    read_tfjs,
    save_encoder,
)


def write_published(folder: Path, *, drop: str = "", quantized: bool = False) -> dict[str, Any]:
    """A TensorFlow.js folder with random tensors of the encoder's shapes; the tensors."""
    rng = np.random.default_rng(7)
    root = "FeatureExtractor/MobilenetV2/"
    tensors: dict[str, Any] = {"an/integer": np.array([3], np.int32)}
    for name, layer in PretrainedEncoder().named_modules():
        if isinstance(layer, LiteConv):
            key = root + tensorflow_name(name)
            inputs, outputs, size = layer.conv.in_channels, layer.conv.out_channels, layer.conv.kernel_size[0]
            separate = layer.conv.groups > 1
            shape = (size, size, outputs, 1) if separate else (size, size, inputs, outputs)
            kernel = rng.standard_normal(shape) * (2 / (size * size * (1 if separate else inputs))) ** 0.5
            tensors[key + ("/depthwise_weights" if separate else "/Conv2D/merged_input")] = kernel
            tensors[key + "/BatchNorm/batchnorm/sub"] = rng.standard_normal(outputs) * 0.2
            if separate:
                tensors[key + "/BatchNorm/batchnorm/mul"] = rng.uniform(0.5, 1.5, outputs)
    tensors = {key: value for key, value in tensors.items() if not drop or drop not in key}
    write_tfjs(folder, tensors, quantized=quantized)
    return tensors


def tensorflow_name(name: str) -> str:
    """The graph's names, independent of the tool's code."""
    parts = name.split(".")
    if parts[1] == "stem":
        return "Conv"
    if parts[1] == "last":
        return "Conv_1"
    if parts[0] == "encoder":
        return f"expanded_conv{'' if parts[2] == '0' else '_' + parts[2]}/{parts[3]}"
    reduce = [f"layer_19_1_Conv2d_{name}" for name in ("2_1x1_256", "3_1x1_128", "4_1x1_128", "5_1x1_64")]
    project = [f"layer_19_2_Conv2d_{name}" for name in ("2_3x3_s2_512", "3_3x3_s2_256", "4_3x3_s2_256", "5_3x3_s2_128")]
    index = int(parts[2])
    return reduce[index] if parts[3] == "reduce" else project[index] + ("_depthwise" if parts[3] == "depthwise" else "")


def write_tfjs(folder: Path, tensors: dict[str, Any], *, quantized: bool) -> None:
    """Write model.json and two shards."""
    entries, data = [], b""
    for key, value in tensors.items():
        integer = value.dtype == np.int32
        entry: dict[str, Any] = {"name": key, "shape": list(value.shape), "dtype": "int32" if integer else "float32"}
        entries.append(entry | ({"quantization": {"dtype": "uint8"}} if quantized else {}))
        data += value.astype("<i4" if integer else "<f4").tobytes()
    half = len(data) // 2 // 4 * 4
    (folder / "one").write_bytes(data[:half])
    (folder / "two").write_bytes(data[half:])
    (folder / "model.json").write_text(json.dumps({"weightsManifest": [{"paths": ["one", "two"], "weights": entries}]}))


def test_port_encoder_restores_batch_norms_without_changing_the_function(tmp_path: Path) -> None:
    tensors = write_published(tmp_path)
    rng = np.random.default_rng(0)
    images = [ImageSource(rng.integers(0, 256, (40, 50, 3), np.uint8)) for _ in range(2)]
    net = PretrainedEncoder().eval()
    net.load_state_dict(port_encoder(read_tfjs(tmp_path), images))

    image = synthetic_image()
    x = torch.nn.functional.pad(image, (0, 1, 0, 1))
    root = "FeatureExtractor/MobilenetV2/Conv"
    kernel = torch.from_numpy(tensors[f"{root}/Conv2D/merged_input"]).float().half().float().permute(3, 2, 0, 1)
    offset = torch.from_numpy(tensors[f"{root}/BatchNorm/batchnorm/sub"]).float()
    expected = torch.nn.functional.conv2d(x, kernel, stride=2) + offset[:, None, None]
    with torch.inference_mode():
        torch.testing.assert_close(net.encoder.stem(image), expected.clamp(0, 6), rtol=1e-4, atol=1e-4)

    norms = [layer.norm for layer in net.modules() if isinstance(layer, LiteConv)]
    pixels = torch.from_numpy(np.stack([image.resize((300, 300)) for image in images])).permute(0, 3, 1, 2)
    with torch.inference_mode():
        before = net(pixels / 127.5 - 1)
        for norm in norms:
            norm.train()
            norm.momentum = 0.0
        # Batch statistics of the measured images are the running statistics.
        for expected_map, actual in zip(before, net(pixels / 127.5 - 1), strict=True):
            torch.testing.assert_close(actual, expected_map, rtol=1e-3, atol=1e-2 * float(expected_map.std()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": "expanded_conv_3/depthwise/BatchNorm/batchnorm/mul"}, "without the tensor '.*expanded_conv_3/depth"),
        ({"quantized": True}, "expected float32 tensors, got the quantized"),
    ],
)
def test_other_graphs_are_rejected(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_published(tmp_path, **change)
    with pytest.raises(ModelError, match=message):
        port_encoder(read_tfjs(tmp_path), [])


def test_read_tfjs_needs_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected a TensorFlow\.js model, got no model\.json"):
        read_tfjs(tmp_path)


def test_port_encoder_needs_images(tmp_path: Path) -> None:
    write_published(tmp_path)
    with pytest.raises(DataError, match="expected images to measure the batch norms on, got none"):
        port_encoder(read_tfjs(tmp_path), [])


def test_save_encoder_writes_what_load_pretrained_encoder_reads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = PretrainedEncoder(), PretrainedEncoder()
    for name, value in source.state_dict().items():
        if value.ndim == 4:
            value.copy_(value.half())
        assert name in target.state_dict()
    save_encoder(source.state_dict(), tmp_path / "encoder.safetensors")
    load_pretrained_encoder(target, tmp_path / "encoder.safetensors")
    torch.testing.assert_close(target.state_dict(), source.state_dict(), rtol=0, atol=0)


def random_heads() -> dict[str, Floats]:
    """Random tensors of the heads' names and, but for the channels, shapes."""
    rng = np.random.default_rng(0)
    tensors: dict[str, Floats] = {}
    for k in range(BOX_MAPS):
        anchors = 6 if k else 3
        for kind, values in (("Class", 91), ("BoxEncoding", 4)):
            root = f"BoxPredictor_{k}/{kind}Predictor"
            tensors[f"{root}_depthwise/depthwise_weights"] = rng.normal(size=(3, 3, 4, 1)).astype(np.float32)
            for name in ("gamma", "beta", "moving_mean", "moving_variance"):
                tensors[f"{root}_depthwise/BatchNorm/{name}"] = rng.normal(size=4).astype(np.float32)
            tensors[f"{root}/weights"] = rng.normal(size=(1, 1, 4, anchors * values)).astype(np.float32)
            tensors[f"{root}/biases"] = rng.normal(size=anchors * values).astype(np.float32)
    return tensors


def test_port_class_heads() -> None:
    tensors = random_heads()
    state = port_class_heads(tensors)
    assert len(state) == 7 * CLASS_MAPS
    assert state["0.weight"].shape == (3, 80, 4)
    # anchor 1, COCO's second class has id 2: bicycle
    kernel = tensors["BoxPredictor_2/ClassPredictor/weights"][0, 0, :, 91 + 2]
    np.testing.assert_allclose(state["2.weight"][1, 1].numpy(), kernel, atol=1e-3)
    del tensors["BoxPredictor_4/ClassPredictor/biases"]
    with pytest.raises(ModelError, match="without the tensor 'BoxPredictor_4/ClassPredictor/biases'"):
        port_class_heads(tensors)


def test_port_box_heads() -> None:
    tensors = random_heads()
    names = (f"{SIXTH_BLOCK}reduce.conv.weight", f"{SIXTH_BLOCK}norm.num_batches_tracked")
    state = port_box_heads(tensors, {names[0]: torch.ones(2, 3, 1, 1), names[1]: torch.ones(())})
    # theirs are y, x, h, w: our x of anchor 2 is its second value
    kernel = tensors["BoxPredictor_3/BoxEncodingPredictor/weights"][0, 0, :, 2 * 4 + 1]
    np.testing.assert_allclose(state["offsets.3.weight"][2, 0].float().numpy(), kernel, atol=1e-3)
    assert names[0] in state
    assert names[1] not in state
    assert state["5.weight"].shape == (6, 80, 4)


def test_main_writes_the_three_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    from tools.port_ssdlite import main

    tensors = write_published(tmp_path) | random_heads()
    write_tfjs(tmp_path, tensors, quantized=False)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (60, 40), (200, 30, 90)).save(tmp_path / "images" / "a.jpg")
    arguments = ["port_ssdlite.py", str(tmp_path), "--images", str(tmp_path / "images"), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    main()
    encoder, boxes = (
        load_file(tmp_path / f"ssdlite-{name}.safetensors") for name in ("mobilenetv2-encoder", "box-head")
    )
    assert (tmp_path / "ssdlite-class-head.safetensors").is_file()
    assert not any(name.startswith(SIXTH_BLOCK) for name in encoder)
    assert sum(name.startswith(SIXTH_BLOCK) for name in boxes) == 15
