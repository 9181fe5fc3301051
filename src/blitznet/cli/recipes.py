"""`blitznet recipes`: list all recipes and pipelines with data, cost and expected scores."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blitznet.cli.console import stdout_console

if TYPE_CHECKING:
    from blitznet.pipelines.pipeline import Pipeline
    from blitznet.train.recipes import Recipe

_MIN_WIDTH = len("VOC2012@SegmentationAug/train,")
"""characters of the longest dataset name"""


@dataclass(frozen=True)
class Recipes:
    """List the recipes and pipelines that `blitznet train NAME` runs.

    Examples:
        blitznet recipes
    """


def run(options: Recipes) -> int:  # noqa: ARG001 - it has no flags
    """Print the table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from blitznet.cli.train import ALL_RECIPES
    from blitznet.pipelines.shipped import PIPELINES

    caption = "`blitznet train NAME` runs one; with --help it shows the options"
    table = Table(caption=caption, box=SIMPLE_HEAD, pad_edge=False)
    for title in ("name", "source", "model", "datasets", "steps", "cost", "expected"):
        table.add_column(title, justify="right" if title == "steps" else "left", overflow="fold")
    table.columns[0].no_wrap = True
    table.columns[3].min_width = _MIN_WIDTH
    for name, make_recipe in ALL_RECIPES.items():
        table.add_row(Text(name, "bold"), *map(Text, _recipe_cells(make_recipe())))
    for name, make_pipeline in PIPELINES.items():
        table.add_row(Text(name, "bold"), *map(Text, _pipeline_cells(make_pipeline())))
    stdout_console().print(table)
    return 0


def _recipe_cells(recipe: "Recipe") -> tuple[str, ...]:
    config = recipe.config
    sets = ", ".join(map(_short_name, config.data)) or "your own (--data)"
    return (recipe.source, config.model, sets, f"{config.steps:,}", recipe.cost, recipe.expected)


def _pipeline_cells(pipeline: "Pipeline") -> tuple[str, ...]:
    from blitznet.pipelines.pipeline import TrainStage

    configs = [stage.config for stage in pipeline.stages if isinstance(stage, TrainStage)]
    sets = ", ".join(dict.fromkeys(_short_name(text) for config in configs for text in config.data))
    steps = sum(config.steps for config in configs)
    expected = ", ".join(f"{name} {value:.3f}" for name, value in pipeline.expected.items())
    return ("pipeline", pipeline.name, sets, f"{steps:,}", pipeline.cost, expected)


def _short_name(text: str) -> str:
    """`VOC2012@train` of `voc:{root}/VOCdevkit/VOC2012@train,sample_weight=2`."""
    path, at, split = text.partition(",")[0].partition("@")
    return f"{path.rpartition('/')[2]}{at}{split}"
