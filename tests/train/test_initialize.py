"""Initial networks: spec, classes, weights, and errors."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from blitznet.core.classes import VOC
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.models import NORMALIZATIONS, get_spec
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import save_model
from blitznet.nets.ssdlite_heads import init_from_ssdlite
from blitznet.train.config import TrainConfig
from blitznet.train.initialize import derive_spec, make_network, provenance
from support import tiny_models
from support.packaged_models import replace_packaged

PAPER, LITE = tiny_models.specs()
TINY = TrainConfig(model="tiny", init="random")


def test_random_weights_follow_the_seed() -> None:
    first, spec = make_network(TINY, ())
    second, _ = make_network(TINY, ())
    different, _ = make_network(replace(TINY, seed=1), ("a", "b"))
    assert spec == PAPER
    assert torch.equal(first.encoder.state_dict()["stem.0.weight"], second.encoder.state_dict()["stem.0.weight"])
    assert not torch.equal(first.encoder.state_dict()["stem.0.weight"], different.encoder.state_dict()["stem.0.weight"])
    assert make_network(replace(TINY, seed=1), ("a", "b"))[1].classes == ("a", "b")


def test_default_init_loads_the_pretrained_encoder() -> None:
    net, spec = make_network(TrainConfig(), ())
    assert (spec.name, spec.classes) == ("blitznet300-lite", VOC)
    assert net.encoder.state_dict()["stem.norm.running_mean"].abs().sum() > 0


def test_ssdlite_init_loads_the_heads_too() -> None:
    net, spec = make_network(TrainConfig(init="ssdlite"), ())
    expected, _ = make_network(TrainConfig(init="encoder"), ())
    encoder_only = {name: value.clone() for name, value in expected.state_dict().items()}
    init_from_ssdlite(expected, spec)
    state = net.state_dict()
    torch.testing.assert_close(state, expected.state_dict(), rtol=0, atol=0)
    changed = {name for name, value in state.items() if not torch.equal(value, encoder_only[name])}
    assert {name.split(".")[0] for name in changed} == {"downscale", "detection"}


@pytest.mark.parametrize("model", ["blitznet300-lite-plain", "tiny-lite"])
def test_ssdlite_init_of_another_network_is_refused(model: str) -> None:
    with pytest.raises(UsageError, match=f"--init ssdlite: expected a model with SSDLite's .*, got {model}"):
        make_network(TrainConfig(model=model, init="ssdlite"), ())


def test_fine_tuning_to_other_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    net = build(PAPER)
    save_model(tmp_path / "blitznet300-lite.safetensors", net, PAPER, dtype=torch.float16)
    replace_packaged(monkeypatch, tmp_path)
    config = TrainConfig(init="model")
    tuned, spec = make_network(config, ("square", "bird"))
    assert spec == replace(PAPER, classes=("square", "bird"))
    kernel = net.encoder.state_dict()["stem.0.weight"]
    assert torch.equal(tuned.encoder.state_dict()["stem.0.weight"], kernel.half().float())
    boxes, spec = make_network(
        replace(config, model=str(tmp_path / "blitznet300-lite.safetensors"), tasks=("detection",)), ()
    )
    assert spec == replace(PAPER, tasks=("detection",))
    assert boxes.segmentation is None


def test_missing_models_and_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_packaged(monkeypatch, tmp_path)
    with pytest.raises(ModelError, match=r"ssd300: the package has no weights of this model; .* --init encoder"):
        make_network(TrainConfig(model="ssd300", init="model"), ())
    with pytest.raises(ModelError, match="nothing"):
        make_network(TrainConfig(model="nothing"), ())
    (tmp_path / "mine.safetensors").touch()
    with pytest.raises(
        UsageError, match=r"mine\.safetensors: expected a model name with --init encoder, got a file; add --init m"
    ):
        make_network(TrainConfig(model=str(tmp_path / "mine.safetensors")), ())
    with pytest.raises(
        UsageError, match="the package has no weights of the encoder tiny; give a file with --encoder-weights"
    ):
        make_network(TrainConfig(model="tiny"), ())
    with pytest.raises(ModelError, match=r"--encoder-weights .*nowhere\.pth: expected a file, got none"):
        make_network(TrainConfig(model="tiny", encoder_weights=tmp_path / "nowhere.pth"), ())
    (tmp_path / "broken.pth").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"--encoder-weights .*broken\.pth: expected a state dict"):
        make_network(TrainConfig(model="tiny", encoder_weights=tmp_path / "broken.pth"), ())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_encoder_weights_are_loaded(tmp_path: Path, suffix: str) -> None:
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
    with pytest.raises(ModelError, match=r"encoder weights: expected \d+ weights, got 1 missing: stem\.0\.weight"):
        make_network(TrainConfig(model="tiny", encoder_weights=tmp_path / "other.pth"), ())


def test_imgsz_and_anchor_scales() -> None:
    assert make_network(replace(TINY, imgsz=(96, 128)), ())[1].size == (96, 128)
    assert make_network(TINY, ())[1].size == PAPER.size
    anchors = make_network(replace(TINY, anchor_scales=(0.08, 0.16, 0.8)), ())[1].anchors
    assert anchors == replace(PAPER.anchors, min_scale=0.08, second_scale=0.16, max_scale=0.8)


def test_encoder_changes_the_normalization() -> None:
    spec = derive_spec(get_spec("blitznet300-lite"), TrainConfig(encoder="efficientnet-lite0"), ())
    assert spec.network.encoder == "efficientnet-lite0"
    assert (spec.mean, spec.std) == NORMALIZATIONS["efficientnet-lite0"]
    assert derive_spec(get_spec("blitznet300-lite"), TrainConfig(encoder="mobilenetv2-ssdlite"), ()) == get_spec(
        "blitznet300-lite"
    )
    with pytest.raises(ModelError, match="got 'vgg16'"):
        derive_spec(get_spec("blitznet300-lite"), TrainConfig(encoder="vgg16"), ())


def test_provenance_and_resizing_of_the_original() -> None:
    config = TrainConfig(
        model="blitznet300-lite", init="random", data=("voc:{root}/own@train",), steps=7, match_original=True
    )
    spec = make_network(config, ())[1]
    assert provenance(spec, config) == "trained on voc:own@train in a run of 7 steps"
    stopping = replace(config, val=("voc:own@val",), eval_every=2, patience=1)
    assert provenance(spec, stopping) == "trained on voc:own@train in a run of at most 7 steps"
    assert provenance(replace(spec, provenance="SSDLite"), config).startswith("SSDLite; then trained on voc:")
    assert (spec.network.fusion_resize, spec.network.segmentation_resize) == ("legacy", "nearest")
