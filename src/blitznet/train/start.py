"""Where a run begins: the network, its contract and its first weights, decided in one place.

In this order: a state in the run folder (loop.py reads it over what is made here), a model file, the
default model, the encoder's published weights, random weights.
"""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.models import MODELS, named
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.convert import load_encoder
from blitznet.nets.files import load_model
from blitznet.nets.transfer import transfer
from blitznet.train.config import TrainConfig

WEIGHTS = Path(__file__).parents[1] / "weights"


def make_network(config: TrainConfig, classes: tuple[str, ...]) -> tuple[BlitzNet, Spec]:
    """The network a run asks for, with `classes`, and the weights it begins with."""
    torch.manual_seed(config.seed)
    if config.start == "model":
        old, old_spec = load_model(model_file(config.model))
        spec = _contract(old_spec, config, classes)
        net = build(spec)
        transfer(old, old_spec, net, spec)
        return net, spec
    spec = _contract(named(config.model), config, classes)
    net = build(spec)
    if config.start == "encoder":
        _load_encoder(net, spec, config.encoder_weights)
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
    network = replace(spec.network, fusion=config.fusion) if config.fusion else spec.network
    return replace(spec, classes=classes or spec.classes, tasks=tasks, network=network)


def _load_encoder(net: BlitzNet, spec: Spec, weights: Path | None) -> None:
    encoder = spec.network.encoder
    if weights is not None:
        state = load_file(weights) if weights.suffix == ".safetensors" else torch.load(weights, weights_only=True)
        load_encoder(net, state)
    elif encoder == "mobilenetv2-ssdlite":
        from blitznet.nets.trunk import load_trunk

        load_trunk(net)
    elif encoder.startswith("efficientnet"):
        from blitznet.nets.efficientnet import load_efficientnet

        load_efficientnet(net.encoder, None)
    else:
        raise UsageError(
            f"{spec.name}: the package brings no weights for {encoder}; give them by --encoder-weights, "
            "or begin from scratch with --start random"
        )
