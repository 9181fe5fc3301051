import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.nets.encoder import ENCODERS, make_encoder
from blitznet.nets.resnet import Bottleneck, ResNet
from support.small_networks import num_parameters


@cache
def on_meta(name: str) -> ResNet:
    with torch.device("meta"):
        encoder = make_encoder(name)
    assert isinstance(encoder, ResNet)
    return encoder.eval()


@pytest.mark.parametrize(
    ("name", "parameters", "entries"),
    [  # torchvision's parameters and state dict entries, without the classifier's
        ("resnet18", 11_176_512, 120),
        ("resnet34", 21_284_672, 216),
        ("resnet50", 23_508_032, 318),
        ("resnet50-caffe", 23_508_032, 318),
        ("resnet101", 42_500_160, 624),
    ],
)
def test_parameters_are_those_of_torchvision(name: str, parameters: int, entries: int) -> None:
    encoder = on_meta(name)
    assert num_parameters(encoder) == parameters
    assert len(encoder.state_dict()) == entries


def test_stages_have_the_parameters_of_the_paper() -> None:
    encoder = on_meta("resnet50-caffe")
    assert num_parameters(encoder.conv1) + num_parameters(encoder.bn1) == 9_536
    stages = (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)
    assert [num_parameters(stage) for stage in stages] == [215_808, 1_219_584, 7_098_368, 14_964_736]


def test_state_dict_names_are_those_of_torchvision() -> None:
    shapes = {name: tuple(value.shape) for name, value in on_meta("resnet50").state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["bn1.running_mean"] == (64,)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer1.0.downsample.1.running_var"] == (256,)
    assert shapes["layer4.2.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["layer4.2.bn3.bias"] == (2048,)
    assert not any(name.startswith("layer1.0.downsample") for name in on_meta("resnet18").state_dict())


@pytest.mark.parametrize(("name", "first", "second"), [("resnet50-caffe", 2, 1), ("resnet50", 1, 2)])
def test_layouts_differ_in_the_strided_convolution(name: str, first: int, second: int) -> None:
    unit = on_meta(name).layer2[0]
    assert isinstance(unit, Bottleneck)
    assert unit.conv1.stride == (first, first)
    assert unit.conv2.stride == (second, second)


@pytest.mark.parametrize("name", [name for name in ENCODERS if name.startswith("resnet")])
@pytest.mark.parametrize("size", [(300, 300), (97, 130), (33, 512)])
def test_maps_have_the_documented_channels_and_strides(name: str, size: tuple[int, int]) -> None:
    encoder = on_meta(name)
    maps = encoder(torch.empty(1, 3, *size, device="meta"))
    shapes = [(x.shape[1], x.shape[2], x.shape[3]) for x in maps]
    documented = zip(encoder.out_channels, encoder.strides, strict=True)
    assert shapes == [
        (channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride)) for channels, stride in documented
    ]


def same_pool(x: Tensor) -> Tensor:
    """TensorFlow's SAME max-pool 3x3 / 2 by its definition: padding on both ends, an odd cell at the end."""
    sides = [math.ceil(side / 2) for side in x.shape[-2:]]
    starts = [max((out - 1) * 2 + 3 - side, 0) // 2 for out, side in zip(sides, x.shape[-2:], strict=True)]
    rows = []
    for i in range(sides[0]):
        top = i * 2 - starts[0]
        cells = []
        for j in range(sides[1]):
            left = j * 2 - starts[1]
            cells.append(x[..., max(top, 0) : top + 3, max(left, 0) : left + 3].amax((-2, -1)))
        rows.append(torch.stack(cells, -1))
    return torch.stack(rows, -2)


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (9, 6), (1, 4)])
def test_pool_of_the_caffe_layout_is_same_padded(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)).relu()
    pool = on_meta("resnet50-caffe")._pool
    torch.testing.assert_close(pool(x), same_pool(x))


def test_identity_shortcut_subsamples() -> None:
    unit = Bottleneck(16, 4, 2, "caffe").eval()
    nn.init.zeros_(unit.bn3.weight)
    x = torch.randn(1, 16, 5, 7)
    torch.testing.assert_close(unit(x), x[:, :, ::2, ::2].relu())


def test_initialization_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    unit = Bottleneck(256, 64, 1, "caffe")
    assert unit.conv2.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert unit.bn3.weight.eq(1).all()
    assert (unit.bn1.eps, unit.bn1.momentum) == (1e-5, 0.1)


def test_make_encoder_rejects_an_unknown_name() -> None:
    with pytest.raises(ModelError, match=r"expected one of resnet18, .* got 'vgg16'"):
        make_encoder("vgg16")
