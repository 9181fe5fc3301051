"""`blitznet train [RECIPE] [--field value ...]`: a recipe, or the default model fine-tuned on own data."""

from difflib import get_close_matches
from typing import Any

import tyro

from blitznet.core.errors import UsageError
from blitznet.train.config import TrainConfig
from blitznet.train.recipes import RECIPES, finetune, recipe


def read(words: list[str]) -> TrainConfig:
    """The recipe named first, or fine-tuning where the first word is a flag, with the flags' changes."""
    named = bool(words) and not words[0].startswith("-")
    if named and words[0] not in RECIPES:
        near = get_close_matches(words[0], RECIPES, n=1)
        hint = f", did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"there is no recipe '{words[0]}'{hint} (`blitznet recipes` lists them)")
    default = recipe(words[0]).config if named else finetune()
    return tyro.cli(
        TrainConfig,
        default=default,
        args=words[1:] if named else words,
        prog="blitznet train [RECIPE]",
        description="Train a recipe (`blitznet recipes` lists them); without one, fine-tune the default model on "
        "--data to the data's own classes.",
    )


def run(config: TrainConfig) -> int:
    """Train, with a bar of what is done and what is left."""
    import os

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    from blitznet.train.loop import train

    class Rate(ProgressColumn):
        """Images a second, over the last steps."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed * config.batch:.1f} images/s" if task.speed else "")

    console = Console(stderr=True)
    leads = os.environ.get("RANK", "0") == "0"
    columns = (
        TextColumn("steps"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        Rate(),
        TextColumn("{task.fields[losses]}"),
    )
    with Progress(*columns, console=console, disable=not leads) as progress:
        task = progress.add_task("train", total=config.steps, losses="")

        def watch(step: int, losses: dict[str, float]) -> None:
            progress.update(task, completed=step, losses=_short(losses))

        def tell(line: str) -> None:
            console.print(line, markup=False, highlight=False)

        model = train(config, watch=watch, tell=tell)
    if leads:
        print(f"model: {model}   log, plot and pictures: {config.out}")
    return 0


def _short(losses: dict[str, Any]) -> str:
    return "  ".join(f"{name} {losses[name]:.2f}" for name in ("segmentation", "classification", "localisation"))
