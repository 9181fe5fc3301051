"""Our recipes: complete configs of networks that can be built."""

from pathlib import Path

import pytest
import torch

from blitznet.core.models import get_spec
from blitznet.data.augment import POLICIES
from blitznet.data.sources import parse_source
from blitznet.nets.blitznet import build
from blitznet.train.initialize import derive_spec
from blitznet.train.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_complete(name: str) -> None:
    recipe = RECIPES[name]()
    config = recipe.config
    assert recipe.source == "ours"
    assert recipe.cost
    assert recipe.expected
    sources = [parse_source(text) for text in config.resolve_root((*config.data, *config.val))]
    assert all(source.root.is_relative_to(Path("data")) for source in sources)
    assert bool(sources) == (name != "finetune")
    assert config.policy in POLICIES
    assert config.out == Path("runs") / name


@pytest.mark.parametrize("name", RECIPES)
def test_network_can_be_built(name: str) -> None:
    config = RECIPES[name]().config
    with torch.device("meta"):
        build(derive_spec(get_spec(config.model), config, config.class_names))
