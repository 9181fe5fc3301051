"""SSDLite's class predictors: that they say what the published graph says, and how a network begins with them."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from blitznet.core.anchors import feature_map_sizes
from blitznet.core.arrays import Floats
from blitznet.core.classes import VOC, canonical
from blitznet.core.errors import ModelError
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.heads import flatten_predictions
from blitznet.nets.lite import LiteSsdHead
from blitznet.nets.pretrained_encoder import load_pretrained_encoder
from blitznet.nets.ssdlite_class_head import CLASS_FILE, CLASS_MAPS, load_predictors, port_predictors, save_predictors
from nets.test_lite import lite
from nets.test_pretrained_encoder import ORIGINAL, SHARED, drawn

UNUSED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
SPEC = lite(side=True)


def begun(share: float, classes: tuple[str, ...] = VOC) -> BlitzNet:
    torch.manual_seed(0)
    net = build(SPEC).eval()
    load_pretrained_encoder(net)
    assert isinstance(net.ssd_head, LiteSsdHead)
    load_predictors(net.ssd_head, classes, share=share)
    return net


def said(net: BlitzNet, images: Tensor) -> Tensor:
    """Logits (A, C) of the side alone."""
    with torch.inference_mode():
        down = net.downscale(net.encoder(images))
        assert net.ssd_head is not None
        return flatten_predictions(net.ssd_head(down, net.upscale(down))[1], SPEC.num_channels)[0]


@pytest.mark.slow
def test_scores_are_the_originals() -> None:
    """On the maps whose anchors are ours in kind: 10, 5 and 3 cells a side; and on the first what anchors share."""
    if not ORIGINAL.is_file():
        pytest.skip(f"needs the published network {ORIGINAL.name} of the shared folder")
    session = onnxruntime.InferenceSession(ORIGINAL, providers=["CPUExecutionProvider"])
    scores = session.run(["scores"], {"image": drawn().numpy()})[0][0]  # (1917, 91)
    ids = [number for number in range(91) if number not in UNUSED]
    names = (SHARED / "peers" / "coco.names").read_text().split("\n")
    theirs = dict(zip(map(canonical, names), ids, strict=False))
    expected = scores[:, [theirs[canonical(name)] for name in VOC]]
    ours = said(begun(1.0), drawn()).sigmoid().numpy()
    assert not (ours[:, 0] - 0.5).any()  # background says nothing
    first = np.cumsum([0, *(h * w * 6 for h, w in feature_map_sizes(SPEC.anchors, SPEC.size))])
    np.testing.assert_allclose(ours[first[2] : first[5], 1:], expected[19 * 19 * 3 :][: 600 + 150 + 54], atol=1e-4)
    ratios = expected[: 19 * 19 * 3].reshape(-1, 3, 20)
    np.testing.assert_allclose(ours[first[1] : first[2]].reshape(-1, 6, 21)[:, 1:3, 1:], ratios[:, 1:], atol=1e-4)


def test_the_finest_map_repeats_what_the_next_says_of_small_objects() -> None:
    logits = said(begun(1.0), drawn())[: 38 * 38 * 6].view(38, 38, 6, 21)
    torch.testing.assert_close(logits[0::2, 0::2], logits[1::2, 1::2])
    torch.testing.assert_close(logits[:, :, 0], logits[:, :, 5])  # one square stands for all shapes


def test_shares_and_classes_that_coco_lacks() -> None:
    half, whole = begun(0.5), begun(1.0)
    torch.testing.assert_close(said(half, drawn()) * 2, said(whole, drawn()), rtol=1e-4, atol=1e-4)
    names = ("unicorn", *VOC[1:])
    other = said(begun(1.0, names), drawn())
    assert not other[:, :2].any()
    torch.testing.assert_close(other[:, 2:], said(whole, drawn())[:, 2:])
    assert isinstance(half.ssd_head, LiteSsdHead)
    assert load_predictors(half.ssd_head, names, share=1.0) == 19


def test_a_network_of_other_maps() -> None:
    side = LiteSsdHead((8, 8), per_cell=6, classes=21)
    with pytest.raises(ModelError, match="fit the encoder 'mobilenetv2-ssdlite' with 3 extra blocks only"):
        load_predictors(side, VOC, share=1.0)


def test_porting_and_saving(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors: dict[str, Floats] = {}
    for k in range(CLASS_MAPS):
        root, anchors = f"BoxPredictor_{k}/ClassPredictor", 6 if k else 3
        tensors[f"{root}_depthwise/depthwise_weights"] = rng.normal(size=(3, 3, 4, 1)).astype(np.float32)
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            tensors[f"{root}_depthwise/BatchNorm/{name}"] = rng.normal(size=4).astype(np.float32)
        tensors[f"{root}/weights"] = rng.normal(size=(1, 1, 4, anchors * 91)).astype(np.float32)
        tensors[f"{root}/biases"] = rng.normal(size=anchors * 91).astype(np.float32)
    state = port_predictors(tensors)
    save_predictors(state, tmp_path / "a.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "a.safetensors"), state)
    assert state["0.weight"].shape == (3, 80, 4)
    # anchor 1, COCO's second class is id 2: bicycle
    kernel = tensors["BoxPredictor_2/ClassPredictor/weights"][0, 0, :, 91 + 2]
    np.testing.assert_allclose(state["2.weight"][1, 1].numpy(), kernel, atol=1e-3)
    del tensors["BoxPredictor_4/ClassPredictor/biases"]
    with pytest.raises(ModelError, match="no tensor 'BoxPredictor_4/ClassPredictor/biases'"):
        port_predictors(tensors)


def test_the_file_is_small_and_licensed() -> None:
    with safe_open(CLASS_FILE, "pt") as file:
        assert file.metadata()["licence"] == "Apache-2.0"
    assert CLASS_FILE.stat().st_size < 3_000_000
