"""Where a run begins: the network, its contract and its first weights, decided in one place.

In this order: a state in the run folder (loop.py reads it over what is made here), a model file, the
default model, the encoder's published weights, random weights.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.models import MODELS, SSDLITE_STRIDES, get_spec, with_encoder
from blitznet.core.spec import Network, Spec
from blitznet.data.sources import parse_source
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.convert import load_encoder
from blitznet.nets.efficientnet import EfficientNetLite, load_efficientnet
from blitznet.nets.lite import LiteDetection, LiteSsdHead
from blitznet.nets.mobilenet import MobileNetV2
from blitznet.nets.model_files import load_model
from blitznet.nets.pretrained_encoder import load_trunk, recall_trunk
from blitznet.nets.ssdlite_box_head import load_head
from blitznet.nets.transfer import transfer
from blitznet.train.config import TrainConfig

_HALF = 0.5
WEIGHTS = Path(__file__).parents[1] / "weights"


def make_network(config: TrainConfig, classes: tuple[str, ...]) -> tuple[BlitzNet, Spec]:
    """The network a run asks for, with `classes`, and the weights it begins with."""
    torch.manual_seed(config.seed)
    if config.start == "model":
        old, old_spec = load_model(model_file(config.model))
        spec = _contract(old_spec, config, classes)
        net = build(spec)
        transfer(old, old_spec, net, spec)
        if config.recall:
            recall_trunk(net, config.recall)
        if spec.network.ssd_box_head and not old_spec.network.ssd_box_head:
            _become_ssdlite(net, spec)
        elif net.ssd_head is not None and old.ssd_head is None:
            _load_head(net, spec, share=_HALF)  # the detection head has its say already
        return net, spec
    if config.model not in MODELS and Path(config.model).is_file():
        raise UsageError(f"{config.model} is a model file: go on from it with --start model, or name one to build anew")
    spec = _contract(get_spec(config.model), config, classes)
    net = build(spec)
    if config.start == "encoder":
        _load_encoder(net, spec, config.encoder_weights)
        if net.ssd_head is not None:
            _load_head(net, spec, share=1.0)
    return net, spec


def model_file(name: str) -> Path:
    """The safetensors file behind a named model of the package, or a path as it is."""
    packaged = WEIGHTS / f"{name}.safetensors"
    path = packaged if name in MODELS else Path(name)
    if name in MODELS and not packaged.exists():
        raise ModelError(f"'{name}' has no trained weights in the package; start with --start encoder, or give a file")
    return path


def _contract(spec: Spec, config: TrainConfig, classes: tuple[str, ...]) -> Spec:
    tasks = tuple(task for task in spec.tasks if task in config.tasks)
    if not tasks:
        raise UsageError(f"{spec.name} does {list(spec.tasks)} and the run asks for {list(config.tasks)}")
    if config.encoder and config.encoder != spec.network.encoder:
        spec = with_encoder(spec, config.encoder)
    network = replace(spec.network, fusion=config.fusion) if config.fusion else spec.network
    network = replace(
        network, ssd_head=network.ssd_head or config.side, detection_prior=network.detection_prior or config.guide
    )
    if config.ssdlite and not network.ssd_box_head:
        network = replace(network, ssd_head=True, ssd_box_head=True, extra_levels=len(SSDLITE_STRIDES) - 2)
        spec = replace(spec, anchors=replace(spec.anchors, strides=SSDLITE_STRIDES))
    network = _hearing(network, config, spec.name)
    if config.anchors:
        first, low, high = config.anchors
        spec = replace(spec, anchors=replace(spec.anchors, min_scale=first, second_scale=low, max_scale=high))
    if config.release:
        network = replace(network, fusion_resize="legacy", segmentation_resize="nearest")
    size = (config.size, config.size) if config.size else spec.size
    return replace(spec, classes=classes or spec.classes, tasks=tasks, network=network, size=size)


def _hearing(network: Network, config: TrainConfig, name: str) -> Network:
    """The network with what its class map is to hear of the encoder and of boxes."""
    if config.taps:
        if network.family != "lite":
            raise UsageError(f"--taps: only light networks have them, {name} is of the family '{network.family}'")
        if network.lateral_channels not in (0, config.taps):
            raise UsageError(f"--taps {config.taps}: {name} has taps of {network.lateral_channels} already")
        network = replace(network, lateral_channels=config.taps)
    if config.presence:
        if not network.detection_prior:
            raise UsageError(f"--presence: {name} has no guide that could count it; give --guide too")
        network = replace(network, image_prior_weight=config.presence)
    return network


def provenance(spec: Spec, config: TrainConfig) -> str:
    """What the contract says of where the weights come from: what it said before, and this run.

    Of the sets' places only the last folder is named: a model is passed on, a machine's paths are nobody's business.
    """
    sources = [parse_source(text) for text in config.data]
    sets = [f"{one.format}:{one.root.name}" + (f"@{one.split}" if one.split else "") for one in sources]
    learned = f"learned {', '.join(sets)} in {config.steps} steps"
    return f"{spec.provenance}; then {learned}" if spec.provenance else learned


def _load_encoder(net: BlitzNet, spec: Spec, weights: Path | None) -> None:
    name, encoder = spec.network.encoder, net.encoder
    if weights is not None and not weights.is_file():
        raise ModelError(f"--encoder-weights {weights}: there is no such file")
    if isinstance(encoder, EfficientNetLite):
        load_efficientnet(encoder, name, weights)
    elif weights is not None:
        load_encoder(net, _state_dict(weights))
    elif isinstance(encoder, MobileNetV2):
        load_trunk(net)
    else:
        raise UsageError(
            f"{spec.name}: the package brings no weights for {name}; give them by --encoder-weights, "
            "or begin from scratch with --start random"
        )


def _load_head(net: BlitzNet, spec: Spec, *, share: float) -> None:
    """SSDLite's, if the trunk is its; others begin afresh."""
    if isinstance(net.encoder, MobileNetV2) and isinstance(net.ssd_head, LiteSsdHead):
        load_head(net, spec, share=share)


def _become_ssdlite(net: BlitzNet, spec: Spec) -> None:
    """The published trunk and head, which hear nothing at first from the detection head on the maps they share."""
    assert isinstance(net.ssd_head, LiteSsdHead)
    assert isinstance(net.detection, LiteDetection)
    finest = deepcopy(
        net.ssd_head.finest
    )  # SSDLite has no such map: there the detection head goes on, and this with it
    load_trunk(net)
    _load_head(net, spec, share=1.0)
    net.ssd_head.finest = finest
    for predictor in (*net.detection.offsets[1:], *net.detection.logits[1:]):
        for parameter in predictor.get_submodule("1").parameters():
            nn.init.zeros_(parameter)


def _state_dict(path: Path) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor]
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise ModelError(f"--encoder-weights {path}: expected a state dict, cannot read it ({error})") from error
    return state
