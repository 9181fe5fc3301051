"""Where a run begins: which network, which classes, which weights, and what is told where there are none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from blitznet.core.classes import VOC
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.models import NORMALIZATIONS, get_spec
from blitznet.nets.blitznet import build
from blitznet.nets.lite import LiteSsdHead
from blitznet.core.model_paths import find_weights
from blitznet.nets.model_files import save_model
from blitznet.train import initialize as start
from blitznet.train.config import TrainConfig
from blitznet.train.initialize import derive_spec, make_network, provenance
from support import tiny_models

PAPER, LITE = tiny_models.specs()
TINY = TrainConfig(model="tiny", init="random")


def test_random_weights_follow_the_seed() -> None:
    first, spec = make_network(TINY, ())
    second, _ = make_network(TINY, ())
    other, _ = make_network(replace(TINY, seed=1), ("a", "b"))
    assert spec == PAPER
    assert torch.equal(first.encoder.state_dict()["stem.0.weight"], second.encoder.state_dict()["stem.0.weight"])
    assert not torch.equal(first.encoder.state_dict()["stem.0.weight"], other.encoder.state_dict()["stem.0.weight"])
    assert make_network(replace(TINY, seed=1), ("a", "b"))[1].classes == ("a", "b")


def test_the_light_network_begins_with_its_trunk() -> None:
    net, spec = make_network(TrainConfig(), ())
    assert (spec.name, spec.classes) == ("blitznet300-lite", VOC)
    assert net.encoder.state_dict()["stem.norm.running_mean"].abs().sum() > 0


def test_a_model_goes_on_with_ssdlites_predictors_beside_its_own(tmp_path: Path) -> None:
    torch.manual_seed(5)
    old_spec = get_spec("blitznet300-lite-plain")
    old = build(old_spec)
    save_model(tmp_path / "old.safetensors", old, old_spec)
    config = TrainConfig(model=str(tmp_path / "old.safetensors"), init="model", side=True, recall=0.5)
    net, spec = make_network(config, ())
    assert spec.network.ssd_head
    assert isinstance(net.ssd_head, LiteSsdHead)
    begun = make_network(TrainConfig(model="blitznet300-lite-plain", side=True), ())[0]
    assert isinstance(begun.ssd_head, LiteSsdHead)
    torch.testing.assert_close(2 * net.ssd_head.finest_logits.weight, begun.ssd_head.finest_logits.weight)
    kernel, trunk = "blocks.3.expand.conv.weight", begun.encoder.state_dict()
    mixed = (old.encoder.state_dict()[kernel] + trunk[kernel]) / 2
    torch.testing.assert_close(net.encoder.state_dict()[kernel], mixed)
    assert old.detection is not None
    assert net.detection is not None
    torch.testing.assert_close(net.detection.state_dict(), old.detection.state_dict())
    save_model(tmp_path / "new.safetensors", net, spec)  # whose side is its own from then on
    again, spec = make_network(replace(config, model=str(tmp_path / "new.safetensors"), side=False, recall=0), ())
    assert spec.network.ssd_head
    torch.testing.assert_close(again.state_dict(), net.state_dict())


def test_a_class_map_taps_the_encoder_and_says_the_same_at_first(tmp_path: Path) -> None:
    torch.manual_seed(5)
    old_spec = get_spec("blitznet300-lite")
    old = build(old_spec)
    save_model(tmp_path / "old.safetensors", old, old_spec)
    config = TrainConfig(model=str(tmp_path / "old.safetensors"), init="model", taps=16, presence=3.0, size=416)
    net, spec = make_network(replace(config, anchors=(0.085, 0.17, 0.85)), ())
    assert spec.network == replace(get_spec("blitznet416-lite").network, lateral_channels=16)
    assert spec.anchors == get_spec("blitznet416-lite").anchors
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        before, after = old.train()(images), net.train()(images)
    torch.testing.assert_close(after.class_map, before.class_map)
    torch.testing.assert_close(after.logits, before.logits)
    save_model(tmp_path / "new.safetensors", net, spec)
    again, spec = make_network(replace(config, model=str(tmp_path / "new.safetensors"), taps=0, presence=0), ())
    assert (spec.network.lateral_channels, spec.network.image_prior_weight) == (16, 3.0)
    torch.testing.assert_close(again.state_dict(), net.state_dict())


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("blitznet300-s8", {"taps": 16}, "--taps: only light networks have them, blitznet300-s8 is of the family 'bli"),
        ("blitznet416-lite", {"taps": 16}, "--taps 16: blitznet416-lite has taps of 128 already$"),
        ("blitznet300-lite-plain", {"presence": 2.0}, "--presence: blitznet300-lite-plain has no guide that could"),
    ],
)
def test_what_a_class_map_cannot_hear_is_a_sentence(model: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        make_network(TrainConfig(model=model, init="random", **change), ())


def test_a_model_becomes_ssdlite_and_says_nothing_of_its_own_at_first(tmp_path: Path) -> None:
    before = get_spec("blitznet300-lite-plain")
    save_model(tmp_path / "before.safetensors", build(before), before)
    config = TrainConfig(model=str(tmp_path / "before.safetensors"), init="model", ssdlite=True)
    net, spec = make_network(config, ())
    assert (spec.anchors.strides, spec.network.ssd_box_head) == ((8, 16, 32, 64, 128, 256), True)
    published, _ = make_network(TrainConfig(init="encoder", ssdlite=True), ())
    assert isinstance(net.ssd_head, LiteSsdHead)
    expected, actual = published.state_dict(), net.state_dict()
    theirs = [name for name in expected if name.startswith(("encoder.", "downscale.", "ssd_head."))]
    theirs = [name for name in theirs if "finest_logits" not in name and "num_batches" not in name]
    assert all(torch.equal(expected[name], actual[name]) for name in theirs)
    assert len([name for name in theirs if name.startswith("ssd_head.offsets.")]) == 6 * 7
    own = [
        name
        for name in actual
        if name.startswith(("detection.logits.", "detection.offsets.")) and name.split(".")[3] == "1"
    ]
    spoken = {name.split(".")[2] for name in own if name.endswith(".1.weight") and actual[name].any()}
    assert (spoken, len(own)) == ({"0"}, 2 * 7 * 2)


def test_a_side_without_ssdlites_trunk_begins_afresh() -> None:
    net, spec = make_network(replace(TINY, model="tiny-lite", side=True), ())
    assert spec.network.ssd_head
    assert net.ssd_head is not None


def test_a_model_goes_on_with_other_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    net = build(PAPER)
    save_model(tmp_path / "blitznet300-lite.safetensors", net, PAPER, dtype=torch.float16)
    monkeypatch.setattr("blitznet.core.model_paths.WEIGHTS", tmp_path)
    config = TrainConfig(init="model")
    found, spec = make_network(config, ("square", "bird"))
    assert spec == replace(PAPER, classes=("square", "bird"))
    kernel = net.encoder.state_dict()["stem.0.weight"]
    assert torch.equal(found.encoder.state_dict()["stem.0.weight"], kernel.half().float())
    boxes, spec = make_network(
        replace(config, model=str(tmp_path / "blitznet300-lite.safetensors"), tasks=("detection",)), ()
    )
    assert spec == replace(PAPER, tasks=("detection",))
    assert boxes.segmentation is None


def test_what_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.core.model_paths.WEIGHTS", tmp_path)
    with pytest.raises(ModelError, match="ssd300: the package has no weights of this model; .* --init encoder"):
        find_weights("ssd300")
    with pytest.raises(ModelError, match="got 'nothing'"):
        make_network(TrainConfig(model="nothing"), ())
    (tmp_path / "mine.safetensors").touch()
    with pytest.raises(UsageError, match=r"mine\.safetensors is a model file: go on from it with --start model"):
        make_network(TrainConfig(model=str(tmp_path / "mine.safetensors")), ())
    with pytest.raises(UsageError, match="brings no weights for tiny; give them by --encoder-weights"):
        make_network(TrainConfig(model="tiny"), ())
    with pytest.raises(ModelError, match=r"--encoder-weights .*nowhere\.pth: there is no such file"):
        make_network(TrainConfig(model="tiny", encoder_weights=tmp_path / "nowhere.pth"), ())
    (tmp_path / "broken.pth").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"--encoder-weights .*broken\.pth: expected a state dict"):
        make_network(TrainConfig(model="tiny", encoder_weights=tmp_path / "broken.pth"), ())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_state_dict_of_the_encoder_loads(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(9)
    state = build(PAPER).encoder.state_dict()
    path = tmp_path / f"encoder{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    net, _ = make_network(TrainConfig(model="tiny", encoder_weights=path), ())
    assert all(torch.equal(value, state[name]) for name, value in net.encoder.state_dict().items())
    del state["stem.0.weight"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"encoder weights: misses 1 of the .* stem\.0\.weight"):
        make_network(TrainConfig(model="tiny", encoder_weights=tmp_path / "other.pth"), ())


def test_another_size_than_the_models() -> None:
    assert make_network(replace(TINY, size=96), ())[1].size == (96, 96)
    assert make_network(TINY, ())[1].size == PAPER.size
    with pytest.raises(UsageError, match="--size must be 0 or more, came -1"):
        replace(TINY, size=-1)


def test_other_sides_of_anchors() -> None:
    told = make_network(replace(TINY, anchors=(0.08, 0.16, 0.8)), ())[1].anchors
    assert told == replace(PAPER.anchors, min_scale=0.08, second_scale=0.16, max_scale=0.8)
    for wrong, actual in (((0.1, 0.2), "0.1 0.2"), ((0.2, 0.1, 0.9), "0.2 0.1 0.9"), ((0.0, 0.1, 0.9), "0.0 0.1 0.9")):
        with pytest.raises(UsageError, match=f"--anchors must be three sides above 0 that grow.*came {actual}$"):
            replace(TINY, anchors=wrong)


def test_another_encoder_brings_its_own_normalisation() -> None:
    spec = derive_spec(get_spec("blitznet300-lite"), TrainConfig(encoder="efficientnet-lite0"), ())
    assert spec.network.encoder == "efficientnet-lite0"
    assert (spec.mean, spec.std) == NORMALIZATIONS["efficientnet-lite0"]
    assert derive_spec(get_spec("blitznet300-lite"), TrainConfig(encoder="mobilenetv2-ssdlite"), ()) == get_spec(
        "blitznet300-lite"
    )
    with pytest.raises(ModelError, match="got 'vgg16'"):
        derive_spec(get_spec("blitznet300-lite"), TrainConfig(encoder="vgg16"), ())


def test_aderive_spec_says_what_was_learned_and_how_the_release_resizes() -> None:
    config = TrainConfig(
        model="blitznet300-lite", init="random", data=("voc:{root}/own@train",), steps=7, match_original=True
    )
    spec = make_network(config, ())[1]
    assert provenance(spec, config) == "learned voc:own@train in 7 steps"
    assert provenance(replace(spec, provenance="a trunk"), config).startswith("a trunk; then learned voc:")
    assert (spec.network.fusion_resize, spec.network.segmentation_resize) == ("legacy", "nearest")
