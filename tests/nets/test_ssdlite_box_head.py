"""SSDLite's whole head in a network of ours: that its boxes and classes are the original's, and how it is ported."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import Floats
from blitznet.core.classes import COCO_BY_ID, VOC, canonical
from blitznet.core.errors import ModelError
from blitznet.core.image import ImageSource
from blitznet.core.spec import Spec
from blitznet.nets import ssdlite_box_head as box_predictors
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.heads import flatten_predictions
from blitznet.nets.lite import LiteSsdHead
from blitznet.nets.pretrained_encoder import load_pretrained_encoder
from blitznet.nets.ssdlite_box_head import (
    BOX_FILE,
    BOX_MAPS,
    SIXTH,
    load_box_predictors,
    load_head,
    port_box_predictors,
    read_box_predictors,
    save_box_predictors,
)
from nets.test_lite import lite
from nets.test_pretrained_encoder import ORIGINAL, SHARED, drawn

SAMPLES = Path(box_predictors.__file__).parents[1] / "weights" / "samples"
UNUSED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def whole() -> Spec:
    """A light network's contract with SSDLite's maps, anchors and offsets."""
    base = lite(side=True, side_offsets=True, extra=4)
    return replace(base, anchors=replace(base.anchors, strides=(8, 16, 32, 64, 128, 256)))


@pytest.fixture(scope="module")
def net() -> BlitzNet:
    torch.manual_seed(0)
    net = build(whole()).eval()
    load_pretrained_encoder(net)
    load_head(net, whole(), share=1.0)
    return net


@torch.inference_mode()
def said(net: BlitzNet, images: Tensor) -> tuple[Floats, Floats]:
    """Boxes (A', 4) cx cy w h of the maps after the finest, and scores (A', K) as sigmoids, of the side alone."""
    spec = whole()
    assert net.ssd_head is not None
    down = net.downscale(net.encoder(images))
    offsets, logits = net.ssd_head(down, net.upscale(down))
    finest, *_ = (h * w * 6 for h, w in feature_map_sizes(spec.anchors, spec.size))
    anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))[finest:]
    scores = flatten_predictions(logits, spec.num_channels)[0, finest:, 1:].sigmoid().numpy()
    return decoded(flatten_predictions(offsets, 4)[0].numpy(), anchors), scores


def decoded(offsets: Floats, anchors: Floats) -> Floats:
    """SSD's boxes, written out once more: cx cy w h, variances 0.1 and 0.2."""
    centres = anchors[:, :2] + 0.1 * offsets[:, :2] * anchors[:, 2:]
    return np.concatenate([centres, anchors[:, 2:] * np.exp(0.2 * offsets[:, 2:])], 1)


@pytest.mark.slow
def test_boxes_and_scores_are_the_originals(net: BlitzNet) -> None:
    """Of the published graph with its own anchors and the list of names that came with it."""
    if not ORIGINAL.is_file():
        pytest.skip(f"needs the published network {ORIGINAL.name} of the shared folder")
    session = onnxruntime.InferenceSession(ORIGINAL, providers=["CPUExecutionProvider"])
    offsets, scores = (found[0] for found in session.run(None, {"image": drawn().numpy()}))
    corners = np.load(SHARED / "peers" / "ssdlite_anchors_yxyx.npy")[:, [1, 0, 3, 2]]
    anchors = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
    boxes = decoded(offsets[:, [1, 0, 3, 2]], anchors)
    names = (SHARED / "peers" / "coco.names").read_text().split("\n")
    ids = dict(zip(map(canonical, names), (i for i in range(91) if i not in UNUSED), strict=False))
    scores = scores[:, [ids[name] for name in VOC]]
    our_boxes, our_scores = said(net, drawn())
    first = 19 * 19
    np.testing.assert_allclose(our_boxes[first * 6 :], boxes[first * 3 :], atol=1e-3)
    np.testing.assert_allclose(our_scores[first * 6 :], scores[first * 3 :], atol=1e-3)
    for ours, theirs in ((our_boxes, boxes), (our_scores, scores)):
        mine = ours[: first * 6].reshape(first, 6, -1)
        original = theirs[: first * 3].reshape(first, 3, -1)
        np.testing.assert_allclose(mine[:, [1, 2, 3, 4]], original[:, [1, 2, 1, 2]], atol=1e-3)


@pytest.mark.parametrize(("image", "label"), [("cat", "cat"), ("astronaut", "person"), ("photographer", "person")])
def test_it_sees_what_is_there(net: BlitzNet, image: str, label: str) -> None:
    pixels = torch.from_numpy(ImageSource(next(SAMPLES.glob(f"{image}.*"))).resize((300, 300))[None])
    boxes, scores = said(net, pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    place, found = np.unravel_index(scores.argmax(), scores.shape)
    assert VOC[found] == label
    assert scores.max() > 0.5
    assert np.all((boxes[place, :2] > 0.2) & (boxes[place, :2] < 0.8))


def test_classes_are_in_the_order_of_their_ids() -> None:
    """As COCO's 2017 annotations number them; 11 of the 91 numbers were never used."""
    ids = [number for number in range(1, 91) if number not in UNUSED]
    known = {1: "person", 2: "bicycle", 5: "airplane", 17: "cat", 18: "dog", 44: "bottle", 62: "chair", 72: "tv"}
    assert {number: COCO_BY_ID[ids.index(number)] for number in known} == known
    assert (ids[-1], COCO_BY_ID[-1], len(ids), len({*COCO_BY_ID})) == (90, "toothbrush", 80, 80)


def test_a_network_of_other_maps() -> None:
    spec = lite(side=True, side_offsets=True)
    net = build(spec)
    assert isinstance(net.ssd_head, LiteSsdHead)
    with pytest.raises(ModelError, match="want anchors of strides 8 to 256"):
        load_box_predictors(net.ssd_head, spec.anchors)


def test_a_missing_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(box_predictors, "BOX_FILE", tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match=r"none\.safetensors: there is no file of predictors; install blitznet again"):
        read_box_predictors()


def test_porting_and_saving(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors: dict[str, Floats] = {}
    for k in range(BOX_MAPS):
        shapes = 6 if k else 3
        for kind, values in (("Class", 91), ("BoxEncoding", 4)):
            root = f"BoxPredictor_{k}/{kind}Predictor"
            tensors[f"{root}_depthwise/depthwise_weights"] = rng.normal(size=(3, 3, 4, 1)).astype(np.float32)
            for name in ("gamma", "beta", "moving_mean", "moving_variance"):
                tensors[f"{root}_depthwise/BatchNorm/{name}"] = rng.normal(size=4).astype(np.float32)
            tensors[f"{root}/weights"] = rng.normal(size=(1, 1, 4, shapes * values)).astype(np.float32)
            tensors[f"{root}/biases"] = rng.normal(size=shapes * values).astype(np.float32)
    block = {f"{SIXTH}reduce.conv.weight": torch.ones(2, 3, 1, 1), f"{SIXTH}norm.num_batches_tracked": torch.ones(())}
    state = port_box_predictors(tensors, block)
    save_box_predictors(state, tmp_path / "a.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "a.safetensors"), state)
    # theirs are y, x, h, w: our x of anchor 2 is their number 1 of it
    kernel = tensors["BoxPredictor_3/BoxEncodingPredictor/weights"][0, 0, :, 2 * 4 + 1]
    np.testing.assert_allclose(state["offsets.3.weight"][2, 0].float().numpy(), kernel, atol=1e-3)
    assert f"{SIXTH}norm.num_batches_tracked" not in state
    assert state["5.weight"].shape == (6, 80, 4)


def test_the_file_is_small_and_licensed() -> None:
    with safe_open(BOX_FILE, "pt") as file:
        assert file.metadata()["licence"] == "Apache-2.0"
    assert BOX_FILE.stat().st_size < 500_000
