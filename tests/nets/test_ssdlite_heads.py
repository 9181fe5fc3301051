"""SSDLite's heads in a light network: their boxes and scores are those of the published graph."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import Floats
from blitznet.core.classes import COCO_BY_ID, VOC
from blitznet.core.errors import ModelError
from blitznet.core.image import ImageSource
from blitznet.core.packaged_files import packaged_file
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.lite_fpn import FpnDetectionHead
from blitznet.nets.ssdlite_heads import BOX_FILE, CLASS_FILE, init_from_ssdlite
from blitznet.runtime.image_paths import SAMPLES
from support.small_networks import fpn_spec, lite_spec
from support.ssdlite_original import SHARED, UNUSED_IDS, require_original, synthetic_image, voc_ids

SPEC = fpn_spec()


def make_network(spec: Spec) -> BlitzNet:
    """A network with SSDLite's encoder and heads."""
    torch.manual_seed(0)
    net = build(spec).eval()
    init_from_ssdlite(net, spec)
    return net


@torch.inference_mode()
def outputs_after_the_finest(net: BlitzNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets (A', 4) and logits (A', C) of the first image, for the anchors of the maps after the finest."""
    outputs = net(images)
    height, width = feature_map_sizes(SPEC.anchors, SPEC.size)[0]
    finest = height * width * SPEC.anchors.num_anchors_per_cell
    return outputs.offsets[0, finest:], outputs.logits[0, finest:]


def decode(offsets: Floats, anchors: Floats) -> Floats:
    """SSD's boxes cx cy w h with variances 0.1 and 0.2, independent of the package's code."""
    centers = anchors[:, :2] + 0.1 * offsets[:, :2] * anchors[:, 2:]
    return np.concatenate([centers, anchors[:, 2:] * np.exp(0.2 * offsets[:, 2:])], 1)


def boxes_and_scores(net: BlitzNet, images: Tensor) -> tuple[Floats, Floats]:
    """Boxes (A', 4) cx cy w h and sigmoid scores (A', K) of the maps after the finest."""
    offsets, logits = outputs_after_the_finest(net, images)
    anchors = generate_anchors(SPEC.anchors, feature_map_sizes(SPEC.anchors, SPEC.size))[-len(offsets) :]
    return decode(offsets.numpy(), anchors), logits[:, 1:].sigmoid().numpy()


@pytest.fixture(scope="module")
def net() -> BlitzNet:
    return make_network(SPEC)


@pytest.mark.slow
def test_boxes_and_scores_are_those_of_the_original(net: BlitzNet) -> None:
    """Of the published graph with its own anchors."""
    session = onnxruntime.InferenceSession(require_original(), providers=["CPUExecutionProvider"])
    offsets, scores = (output[0] for output in session.run(None, {"image": synthetic_image().numpy()}))
    corners = np.load(SHARED / "peers" / "ssdlite_anchors_yxyx.npy")[:, [1, 0, 3, 2]]
    anchors = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
    boxes = decode(offsets[:, [1, 0, 3, 2]], anchors)
    scores = scores[:, voc_ids()]
    our_boxes, our_scores = boxes_and_scores(net, synthetic_image())
    first = 19 * 19
    np.testing.assert_allclose(our_boxes[first * 6 :], boxes[first * 3 :], atol=1e-3)
    np.testing.assert_allclose(our_scores[first * 6 :], scores[first * 3 :], atol=1e-3)
    for ours, theirs in ((our_boxes, boxes), (our_scores, scores)):
        our_cells = ours[: first * 6].reshape(first, 6, -1)
        their_cells = theirs[: first * 3].reshape(first, 3, -1)
        np.testing.assert_allclose(our_cells[:, [1, 2, 3, 4]], their_cells[:, [1, 2, 1, 2]], atol=1e-3)


@pytest.mark.parametrize(("image", "label"), [("cat", "cat"), ("astronaut", "person"), ("photographer", "person")])
def test_the_best_detection_of_a_sample_image(net: BlitzNet, image: str, label: str) -> None:
    pixels = torch.from_numpy(ImageSource(next(SAMPLES.glob(f"{image}.*"))).resize((300, 300))[None])
    boxes, scores = boxes_and_scores(net, pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    anchor, class_id = np.unravel_index(scores.argmax(), scores.shape)
    assert VOC[class_id] == label
    assert scores.max() > 0.5
    assert np.all((boxes[anchor, :2] > 0.2) & (boxes[anchor, :2] < 0.8))


def test_logits_of_background_and_of_classes_that_coco_lacks_are_zero(net: BlitzNet) -> None:
    _, expected = outputs_after_the_finest(net, synthetic_image())
    spec = replace(SPEC, classes=("unicorn", *VOC[1:]))
    _, logits = outputs_after_the_finest(make_network(spec), synthetic_image())
    assert not logits[:, :2].any()
    torch.testing.assert_close(logits[:, 2:], expected[:, 2:])


def test_only_the_finest_map_reads_the_pyramid(net: BlitzNet) -> None:
    torch.manual_seed(0)
    initial, head = build(SPEC).detection, net.detection
    assert isinstance(initial, FpnDetectionHead)
    assert isinstance(head, FpnDetectionHead)
    state, initial_state = head.state_dict(), initial.state_dict()
    for outputs in ("logits", "offsets"):
        assert torch.equal(state[f"{outputs}.0.weight"], initial_state[f"{outputs}.0.weight"])
        for level in (1, 2):
            kernel = state[f"{outputs}.{level}.weight"]
            assert not kernel[:, : SPEC.network.channels].any()
            assert kernel[:, SPEC.network.channels :].any()


def test_coco_by_id_is_in_the_order_of_the_ids() -> None:
    """As the COCO 2017 annotations number the classes; 11 of the 91 ids are not used."""
    ids = [class_id for class_id in range(1, 91) if class_id not in UNUSED_IDS]
    known = {1: "person", 2: "bicycle", 5: "airplane", 17: "cat", 18: "dog", 44: "bottle", 62: "chair", 72: "tv"}
    assert {class_id: COCO_BY_ID[ids.index(class_id)] for class_id in known} == known
    assert (ids[-1], COCO_BY_ID[-1], len(ids), len({*COCO_BY_ID})) == (90, "toothbrush", 80, 80)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (fpn_spec(encoder="resnet18"), r"blitznet300-lite: expected the encoder 'mobilenetv2-ssdlite' .*'resnet18'"),
        (lite_spec(), r"expected .* SSDLite's anchors, of strides \(8, .*256\), got .* strides \(8, 16, 32, 64, 128\)"),
        (fpn_spec(family="lite"), "expected the family lite-fpn for SSDLite's heads, got lite"),
    ],
)
def test_other_networks_are_rejected(spec: Spec, message: str) -> None:
    with torch.device("meta"):
        net = build(spec)
    with pytest.raises(ModelError, match=message):
        init_from_ssdlite(net, spec)


@pytest.mark.parametrize(("name", "max_bytes"), [(CLASS_FILE, 3_000_000), (BOX_FILE, 500_000)])
def test_files_are_small_and_licensed(name: str, max_bytes: int) -> None:
    path = packaged_file(name)
    with safe_open(path, "pt") as file:
        assert file.metadata()["license"] == "Apache-2.0"
    assert path.stat().st_size < max_bytes
