"""The encoders of the paper's family by name."""

from collections.abc import Callable

from blitznet.core.errors import ModelError
from blitznet.nets.parts import Encoder
from blitznet.nets.resnet import BasicBlock, Bottleneck, ResNet

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "resnet18": lambda: ResNet(BasicBlock, (2, 2, 2, 2)),
    "resnet34": lambda: ResNet(BasicBlock, (3, 4, 6, 3)),
    "resnet50": lambda: ResNet(Bottleneck, (3, 4, 6, 3)),
    "resnet50-caffe": lambda: ResNet(Bottleneck, (3, 4, 6, 3), layout="caffe"),
    "resnet101": lambda: ResNet(Bottleneck, (3, 4, 23, 3)),
}


def make_encoder(name: str) -> Encoder:
    """The encoder of that name, randomly initialized. Raises ModelError for an unknown name."""
    if name not in ENCODERS:
        raise ModelError(f"encoder: expected one of {', '.join(ENCODERS)}, got '{name}'")
    return ENCODERS[name]()
