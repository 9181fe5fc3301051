"""`blitznet recipes`: every training run of the paper and ours, with what it takes and what it should give."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blitznet.cli.console import stdout

if TYPE_CHECKING:
    from blitznet.train.recipes import Recipe

_LONGEST = len("VOC2012@SegmentationAug/train,")
"""characters of a set's name that is not to be broken"""


@dataclass(frozen=True)
class Recipes:
    """List the recipes that `blitznet train RECIPE` knows."""


def run(options: Recipes) -> int:  # noqa: ARG001 - it has none
    """Print the table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from blitznet.train.recipes import RECIPES

    table = Table(caption="`blitznet train RECIPE --help` shows every field", box=SIMPLE_HEAD, pad_edge=False)
    for title in ("recipe", "paper", "model", "data sets", "steps", "cost", "expected"):
        table.add_column(title, justify="right" if title == "steps" else "left", overflow="fold")
    table.columns[0].no_wrap = True
    table.columns[3].min_width = _LONGEST
    for name, make in RECIPES.items():
        table.add_row(Text(name, "bold"), *map(Text, _cells(make())))
    stdout().print(table)
    return 0


def _cells(recipe: "Recipe") -> tuple[str, ...]:
    config = recipe.config
    sets = ", ".join(_short(text) for text in config.data) or "your own (--data)"
    return (recipe.table, config.model, sets, f"{config.steps:,}", recipe.cost, recipe.expected)


def _short(text: str) -> str:
    """`VOC2012@train` of `voc:{root}/VOCdevkit/VOC2012@train,weight=2`."""
    place, at, split = text.partition(",")[0].partition("@")
    return f"{place.rpartition('/')[2]}{at}{split}"
