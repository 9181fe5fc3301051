"""SSDLite's heads in a light network: their boxes and scores are those of the published graph."""

from dataclasses import replace
from pathlib import Path

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
from blitznet.core.spec import Spec
from blitznet.nets import ssdlite_heads
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.heads import flatten_predictions
from blitznet.nets.lite import LiteDetectionHead, LiteSsdHead
from blitznet.nets.pretrained_encoder import load_pretrained_encoder
from blitznet.nets.ssdlite_heads import (
    BOX_FILE,
    CLASS_FILE,
    init_from_ssdlite,
    load_box_heads,
    load_class_heads,
    load_ssdlite_heads,
)
from blitznet.runtime.image_paths import SAMPLES
from support.small_networks import lite_spec
from support.ssdlite_original import SHARED, UNUSED_IDS, require_original, synthetic_image, voc_ids

FIVE_MAPS = lite_spec(ssd_head=True)


def six_maps() -> Spec:
    """The spec of a light network with SSDLite's maps, anchors and boxes."""
    base = lite_spec(ssd_head=True, ssd_box_head=True, extra_levels=4)
    return replace(base, anchors=replace(base.anchors, strides=(8, 16, 32, 64, 128, 256)))


def make_network(spec: Spec) -> BlitzNet:
    """A network with SSDLite's encoder and heads."""
    torch.manual_seed(0)
    net = build(spec).eval()
    load_pretrained_encoder(net)
    load_ssdlite_heads(net, spec)
    return net


@torch.inference_mode()
def head_outputs(net: BlitzNet, spec: Spec, images: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets (A', 4) and logits (A, C) of the SSD head alone; A' are the anchors after the finest map, or none."""
    assert net.ssd_head is not None
    down = net.downscale(net.encoder(images))
    offsets, logits = net.ssd_head(down, net.upscale(down))
    rows = flatten_predictions(offsets, 4)[0] if offsets else torch.zeros(0, 4)
    return rows, flatten_predictions(logits, spec.num_channels)[0]


def decode(offsets: Floats, anchors: Floats) -> Floats:
    """SSD's boxes cx cy w h with variances 0.1 and 0.2, independent of the package's code."""
    centers = anchors[:, :2] + 0.1 * offsets[:, :2] * anchors[:, 2:]
    return np.concatenate([centers, anchors[:, 2:] * np.exp(0.2 * offsets[:, 2:])], 1)


def boxes_and_scores(net: BlitzNet, images: Tensor) -> tuple[Floats, Floats]:
    """Boxes (A', 4) cx cy w h and sigmoid scores (A', K) of the maps after the finest."""
    spec = six_maps()
    offsets, logits = head_outputs(net, spec, images)
    finest = len(logits) - len(offsets)
    anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))[finest:]
    return decode(offsets.numpy(), anchors), logits[finest:, 1:].sigmoid().numpy()


@pytest.fixture(scope="module")
def net() -> BlitzNet:
    return make_network(six_maps())


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


@pytest.mark.slow
def test_scores_of_five_maps_are_those_of_the_original() -> None:
    """On the maps with the same anchor shapes, 10, 5 and 3 cells per side; and of the shared shapes on the first."""
    session = onnxruntime.InferenceSession(require_original(), providers=["CPUExecutionProvider"])
    scores = session.run(["scores"], {"image": synthetic_image().numpy()})[0][0]  # (1917, 91)
    expected = scores[:, voc_ids()]
    _, logits = head_outputs(make_network(FIVE_MAPS), FIVE_MAPS, synthetic_image())
    ours = logits.sigmoid().numpy()
    assert not (ours[:, 0] - 0.5).any()  # the background logit is 0
    starts = np.cumsum([0, *(h * w * 6 for h, w in feature_map_sizes(FIVE_MAPS.anchors, FIVE_MAPS.size))])
    same_shapes = expected[19 * 19 * 3 :][: 600 + 150 + 54]
    np.testing.assert_allclose(ours[starts[2] : starts[5], 1:], same_shapes, atol=1e-4)
    first = expected[: 19 * 19 * 3].reshape(-1, 3, 20)
    our_first = ours[starts[1] : starts[2]].reshape(-1, 6, 21)
    np.testing.assert_allclose(our_first[:, 1:3, 1:], first[:, 1:], atol=1e-4)


@pytest.mark.parametrize(("image", "label"), [("cat", "cat"), ("astronaut", "person"), ("photographer", "person")])
def test_the_best_detection_of_a_sample_image(net: BlitzNet, image: str, label: str) -> None:
    pixels = torch.from_numpy(ImageSource(next(SAMPLES.glob(f"{image}.*"))).resize((300, 300))[None])
    boxes, scores = boxes_and_scores(net, pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    anchor, class_id = np.unravel_index(scores.argmax(), scores.shape)
    assert VOC[class_id] == label
    assert scores.max() > 0.5
    assert np.all((boxes[anchor, :2] > 0.2) & (boxes[anchor, :2] < 0.8))


def test_the_finest_map_repeats_the_small_anchor_of_the_next() -> None:
    _, logits = head_outputs(make_network(FIVE_MAPS), FIVE_MAPS, synthetic_image())
    cells = logits[: 38 * 38 * 6].view(38, 38, 6, 21)
    torch.testing.assert_close(cells[0::2, 0::2], cells[1::2, 1::2])
    torch.testing.assert_close(cells[:, :, 0], cells[:, :, 5])  # the same small square for all shapes


def test_logits_of_classes_that_coco_lacks_are_zero() -> None:
    _, expected = head_outputs(make_network(FIVE_MAPS), FIVE_MAPS, synthetic_image())
    spec = replace(FIVE_MAPS, classes=("unicorn", *VOC[1:]))
    _, logits = head_outputs(make_network(spec), spec, synthetic_image())
    assert not logits[:, :2].any()
    torch.testing.assert_close(logits[:, 2:], expected[:, 2:])


def test_init_from_ssdlite_zeroes_the_shared_maps_of_the_detection_head() -> None:
    spec = six_maps()
    expected = make_network(spec).state_dict()
    torch.manual_seed(1)
    net = build(spec)
    initial = {name: value.clone() for name, value in net.state_dict().items()}
    init_from_ssdlite(net, spec)
    state = net.state_dict()
    loaded = [name for name in expected if name.startswith(("encoder.", "downscale.", "ssd_head."))]
    loaded = [name for name in loaded if "finest_logits" not in name and "num_batches" not in name]
    assert all(torch.equal(expected[name], state[name]) for name in loaded)
    assert isinstance(net.detection, LiteDetectionHead)
    for predictors in (net.detection.offsets, net.detection.logits):
        for predictor in predictors[1:]:
            assert not any(parameter.any() for parameter in predictor.get_submodule("1").parameters())
    unchanged = ["ssd_head.finest_logits.weight", "detection.logits.0.1.weight", "detection.offsets.0.1.weight"]
    assert all(torch.equal(initial[name], state[name]) for name in unchanged)


def test_coco_by_id_is_in_the_order_of_the_ids() -> None:
    """As the COCO 2017 annotations number the classes; 11 of the 91 ids are not used."""
    ids = [class_id for class_id in range(1, 91) if class_id not in UNUSED_IDS]
    known = {1: "person", 2: "bicycle", 5: "airplane", 17: "cat", 18: "dog", 44: "bottle", 62: "chair", 72: "tv"}
    assert {class_id: COCO_BY_ID[ids.index(class_id)] for class_id in known} == known
    assert (ids[-1], COCO_BY_ID[-1], len(ids), len({*COCO_BY_ID})) == (90, "toothbrush", 80, 80)


def test_networks_with_other_maps_are_rejected() -> None:
    with pytest.raises(ModelError, match="expected the encoder 'mobilenetv2-ssdlite' and 5 maps, got 2 maps"):
        load_class_heads(LiteSsdHead((8, 8), anchors_per_cell=6, num_classes=21), VOC)
    spec = lite_spec(ssd_head=True, ssd_box_head=True)
    net = build(spec)
    assert isinstance(net.ssd_head, LiteSsdHead)
    with pytest.raises(ModelError, match="expected anchors of strides 8 to 256"):
        load_box_heads(net.ssd_head, spec.anchors)


@pytest.mark.parametrize("name", ["CLASS_FILE", "BOX_FILE"])
def test_a_missing_file(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ssdlite_heads, name, tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match=r"none\.safetensors: expected SSDLite's heads, got no file; install blitznet"):
        load_ssdlite_heads(build(six_maps()), six_maps())


@pytest.mark.parametrize(("path", "max_bytes"), [(CLASS_FILE, 3_000_000), (BOX_FILE, 500_000)])
def test_files_are_small_and_licensed(path: Path, max_bytes: int) -> None:
    with safe_open(path, "pt") as file:
        assert file.metadata()["license"] == "Apache-2.0"
    assert path.stat().st_size < max_bytes
