"""Initial network, spec and weights of a run.

`TrainConfig.init` selects random weights, a pretrained encoder, or all weights of a model. The loop then loads the
checkpoint of an interrupted run over them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blitznet.core.arrays import Flags
from blitznet.core.classes import COCO, canonical
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.model_paths import find_weights
from blitznet.core.models import MODELS, get_spec, with_encoder
from blitznet.core.spec import Spec, Task
from blitznet.data.coverage import Coverage
from blitznet.data.sources import parse_source
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.convert_weights import load_resnet, match_original
from blitznet.nets.efficientnet import EfficientNetLite, load_efficientnet
from blitznet.nets.encoder_input import match_input
from blitznet.nets.lite_fpn import FpnDetectionHead
from blitznet.nets.mobilenet import MobileNetV2
from blitznet.nets.model_files import load_model
from blitznet.nets.pretrained_encoder import load_pretrained_encoder
from blitznet.nets.resnet import ResNet
from blitznet.nets.ssdlite_heads import init_from_ssdlite
from blitznet.nets.ssdlite_teacher import SSDLiteTeacher
from blitznet.nets.state_dict import read_state_dict
from blitznet.nets.transfer import init_new_classes, transfer
from blitznet.train.config import TrainConfig
from blitznet.train.distillation import DistillationTeacher, SSDLiteDistillation
from blitznet.train.keep import KeepTeacher, extend_classes

_LABELS: dict[Task, str] = {"detection": "boxes", "segmentation": "masks"}
"""what a task is learned from"""


def make_network(config: TrainConfig, class_names: tuple[str, ...]) -> tuple[BlitzNet, Spec]:
    """Build the network of a run with its initial weights.

    Args:
        config: The run; its seed draws the random weights.
        class_names: K classes to train; none for those of the model. With --keep they are added to the model's.

    Returns:
        The network on the CPU, and its spec.

    Raises:
        ModelError: The model or a weight file does not exist or does not fit.
        UsageError: The options contradict each other or the model.
    """
    torch.manual_seed(config.seed)
    if config.init == "model":
        source, source_spec = load_model(find_weights(config.model))
        classes = extend_classes(source_spec.classes, class_names) if config.keep else class_names
        spec = derive_spec(source_spec, config, classes)
        net = build(spec)
        transfer(source, source_spec, net, spec)
        if config.keep:
            init_new_classes(net, len(source_spec.classes), spec)
        return net, spec
    if config.model not in MODELS and Path(config.model).is_file():
        raise UsageError(
            f"--model {config.model}: expected a model name with --init {config.init}, got a file; "
            "add --init model to start from its weights"
        )
    spec = derive_spec(get_spec(config.model), config, class_names)
    net = build(spec)
    if config.init == "encoder":
        _load_encoder(net, spec, config.encoder_weights)
    if config.init == "ssdlite":
        if not (isinstance(net.encoder, MobileNetV2) and isinstance(net.detection, FpnDetectionHead)):
            raise UsageError(f"--init ssdlite: expected a model with SSDLite's encoder and heads, got {spec.name}")
        init_from_ssdlite(net, spec)
    return net, spec


def derive_spec(spec: Spec, config: TrainConfig, class_names: tuple[str, ...]) -> Spec:
    """The model's spec with the changes of the config: classes, tasks, encoder, fusion, anchors, size."""
    tasks = tuple(task for task in spec.tasks if task in config.tasks)
    if not tasks:
        raise UsageError(
            f"--tasks: expected some of {', '.join(spec.tasks)} for {spec.name}, got {_list(config.tasks)}"
        )
    if config.encoder and config.encoder != spec.network.encoder:
        spec = with_encoder(spec, config.encoder)
    network = replace(spec.network, fusion=config.fusion) if config.fusion else spec.network
    anchors = spec.anchors
    if config.anchor_scales is not None:
        smallest, second, largest = config.anchor_scales
        anchors = replace(anchors, min_scale=smallest, second_scale=second, max_scale=largest)
    spec = replace(
        spec,
        classes=class_names or spec.classes,
        tasks=tasks,
        detection_classes=None,
        segmentation_classes=None,
        network=network,
        anchors=anchors,
        size=config.imgsz or spec.size,
    )
    return match_original(spec) if config.match_original else spec


def learned_classes(coverage: Coverage, spec: Spec, config: TrainConfig) -> dict[Task, Flags]:
    """Which of the K classes each head can learn: those that the training sets annotate or a teacher knows."""
    learned = {task: coverage.learned(task) for task in spec.tasks}
    if config.distillation is not None and "detection" in learned:
        coco = {canonical(name) for name in COCO}
        learned["detection"] |= np.asarray([canonical(name) in coco for name in spec.classes])
    if config.box_segmentation_weight is not None and "segmentation" in learned:
        learned["segmentation"] |= coverage.learned("detection")
    if config.keep:
        old = load_model(find_weights(config.model))[1]
        for task, flags in learned.items():
            flags[: len(old.classes)] |= np.asarray(old.predicts(task))
    return learned


def restrict_network(
    net: BlitzNet, spec: Spec, learned: Mapping[Task, Flags], config: TrainConfig
) -> tuple[BlitzNet, Spec]:
    """Leave out what a network cannot learn: tasks without any class, and classes in the heads of the others.

    Args:
        net: The network with its initial weights.
        spec: Its spec.
        learned: (K,) classes that each head can learn.
        config: The run.

    Returns:
        The network with the same weights, and its spec; both unchanged if all classes can be learned.

    Raises:
        UsageError: No task is left.
    """
    tasks = tuple(task for task in spec.tasks if learned[task].any())
    if not tasks:
        missing = " or ".join(_LABELS[task] for task in spec.tasks)
        raise UsageError(f"--tasks {_list(config.tasks)}: expected training sets with {missing}, got none")
    names: dict[Task, tuple[str, ...] | None] = {
        task: tuple(name for name, flag in zip(spec.classes, learned[task], strict=True) if flag)
        for task in tasks
        if not learned[task].all()
    }
    restricted = replace(
        spec,
        tasks=tasks,
        detection_classes=names.get("detection"),
        segmentation_classes=names.get("segmentation"),
    )
    if restricted == spec:
        return net, spec
    new = build(restricted)
    transfer(net, spec, new, restricted)
    return new, restricted


def unlearned_notices(spec: Spec, tasks: Sequence[Task]) -> Iterator[str]:
    """One line for each task, and for each head's classes, that the training sets cannot teach."""
    outputs: dict[Task, str] = {"detection": "boxes", "segmentation": "a class map"}
    for task in tasks:
        if task not in spec.tasks and spec.network.family not in ("ssd", "ssd-lite"):
            learned = " and ".join(outputs[name] for name in spec.tasks)
            yield f"no training set has {_LABELS[task]}: the model predicts {learned} only"
    for task in spec.tasks:
        names = [name for name, flag in zip(spec.classes, spec.predicts(task), strict=True) if not flag]
        if names:
            yield f"no training set has {_LABELS[task]} of {_list(tuple(names))}: never predicted as {_LABELS[task]}"


def make_teacher(spec: Spec, config: TrainConfig, device: torch.device) -> DistillationTeacher | None:
    """The teacher of a run: the initial model with --keep, SSDLite with --distillation, or none.

    Args:
        spec: The spec of the network to train.
        config: The run.
        device: The teacher's device.

    Raises:
        ModelError: The model does not exist, or cannot teach the network.
    """
    if config.keep:
        net, old = load_model(find_weights(config.model))
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks it
        return KeepTeacher(net, old.classes, spec).to(device)
    if config.distillation is None:
        return None
    teacher = SSDLiteTeacher(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks it
    return SSDLiteDistillation(teacher)


def provenance(spec: Spec, config: TrainConfig) -> str:
    """The text `provenance` of the spec: the origin of the initial model, then this run."""
    sources = [parse_source(text) for text in config.data]
    # only the last folder of a path, so that the model file reveals no paths
    sets = [f"{source.format}:{source.root.name}" + (f"@{source.split}" if source.split else "") for source in sources]
    length = f"{config.steps} steps" if config.patience is None else f"at most {config.steps} steps"
    origin = ", distilled from the initial model to keep its classes" if config.keep else ""
    trained = f"trained on {', '.join(sets)} in a run of {length}{origin}"  # a stopped run has done fewer
    return f"{spec.provenance}; then {trained}" if spec.provenance else trained


def _load_encoder(net: BlitzNet, spec: Spec, weights: Path | None) -> None:
    name, encoder = spec.network.encoder, net.encoder
    if weights is not None and not weights.is_file():
        raise ModelError(f"--encoder-weights {weights}: expected a file, got none")
    if isinstance(encoder, EfficientNetLite):
        load_efficientnet(encoder, name, weights)
    elif weights is not None:
        state = _read_state_dict(weights)
        load_resnet(net, match_input(state, spec) if isinstance(encoder, ResNet) else state)
    elif isinstance(encoder, MobileNetV2):
        load_pretrained_encoder(net)
    else:
        raise UsageError(
            f"{spec.name}: the package has no weights of the encoder {name}; give a file with --encoder-weights, "
            "or train from scratch with --init random"
        )


def _read_state_dict(path: Path) -> Mapping[str, Tensor]:
    try:
        return read_state_dict(path)
    except ModelError as error:
        raise ModelError(f"--encoder-weights {error}") from error


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(words) or "none"
