"""What `blitznet train` shows while it runs: a header, the progress, and the scores of every evaluation.

A terminal gets a bar that fits its width. A file, a pipe or a notebook gets one plain line every --log-every steps.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from blitznet.cli.console import VERBOSITY, notify
from blitznet.data.coverage import Counts, SetCoverage
from blitznet.report.percent import percent
from blitznet.train.callbacks import RunEvaluation, RunStart, TrainCallback

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.progress import Task as RichTask
    from rich.text import Text

SCORE_TITLES = {"score/ap50": "AP50", "score/miou": "mIoU"}
"""name in the log -> title of the scores that are shown after an evaluation"""
_LOSSES = ("segmentation", "classification", "localization")
_WIDTH = 80
"""columns of the header and of plain lines"""
_INDENT = " " * 29
_MAX_CLASSES = 8
"""classes that are listed with their counts"""
_BAR_WIDTH = 10


def header_lines(start: RunStart) -> Iterator[str]:
    """What a run trains on: images, boxes, masks and classes of each set; its length, and the evaluation sets."""
    coverage, names = start.coverage, start.coverage.class_names
    images, masks = (sum(getattr(item, key) for item in coverage.sets) for key in ("num_images", "mask_images"))
    listed = f": {', '.join(names)}" if len(names) <= _MAX_CLASSES else ""
    yield from _wrapped(
        f"data: {_count(images, 'image')}, {_count(int(coverage.objects.sum()), 'box', 'boxes')}, "
        f"{_count(masks, 'mask')} of {_count(len(names), 'class', 'classes')}{listed}"
    )
    yield f"{'images':>8} {'boxes':>8} {'masks':>8}  set"
    for item in coverage.sets:
        yield f"{item.num_images:>8} {int(item.objects.sum()):>8} {item.mask_images:>8}  {item.title}"
        yield from _class_lines(item, names)
    length = f"{start.num_steps} steps of {_count(start.batch, 'image')}"
    epochs = start.num_steps * start.batch / max(start.images_per_epoch, 1e-9)
    yield f"run: {length} = {epochs:.3g} epochs, on {start.device}"
    sets = ", ".join(f"{title} ({_count(count, 'image')})" for title, count in start.evaluation)
    yield from _wrapped(f"evaluation: {sets or 'none; add --val to see scores'}")


def _class_lines(item: SetCoverage, names: Sequence[str]) -> Iterator[str]:
    """The classes with boxes and with masks of one set."""
    about = "" if item.all_masks_read else "about "
    for title, counts, prefix in (("boxes", item.objects, ""), ("masks", item.masks, about)):
        text = count_text(names, counts, prefix=prefix)
        if text:
            yield from wrap(f"{title}: {text}", _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT + "  ")


def count_text(names: Sequence[str], counts: Counts, *, prefix: str = "") -> str:
    """Names with their counts, the most frequent first, such as `cat 5, dog 3`; empty if all counts are 0."""
    order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
    shown = ", ".join(f"{names[index]} {prefix}{counts[index]}" for index in order[:_MAX_CLASSES])
    more = len(order) - _MAX_CLASSES
    return f"{shown} and {_count(more, 'more class', 'more classes')}" if more > 0 else shown


class TrainProgress(TrainCallback):
    """Shows a run on stderr; use it as a context manager, which ends the bar."""

    def __init__(self, *, log_every: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._log_every, self._clock = log_every, clock
        self._first: tuple[int, float] | None = None
        self._best_step: int | None = None
        self._bar: _Bar | None = None

    def __enter__(self) -> "TrainProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.on_end(failed=False)

    def on_start(self, start: RunStart) -> None:
        """Print the header."""
        for line in header_lines(start):
            notify(line)
        self._first = (start.completed_steps, self._clock())

    def on_step(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:
        """Move the bar, or print a line every --log-every steps."""
        now = self._clock()
        if self._first is None:
            self._first = (step - 1, now)
        first, started = self._first
        seconds_per_step = (now - started) / max(1, step - first)
        left = format_seconds(seconds_per_step * (num_steps - step))
        if VERBOSITY.quiet:
            return
        if self._bar is None:
            self._bar = _Bar()
        if self._bar.is_terminal:
            losses = f"loss {_total(values):.2f}"
            parts = [format_seconds(now - started), f"left {left}", losses, _speed(values)]
            self._bar.update(step, num_steps, parts)
        elif step % self._log_every == 0:
            named = ", ".join(f"{name} {values[f'loss/{name}']:.2f}" for name in _LOSSES if f"loss/{name}" in values)
            notify(f"step {step}/{num_steps}: left {left}, {_speed(values)}, {named}")

    def on_eval(self, evaluation: RunEvaluation) -> None:
        """Print the scores."""
        if evaluation.is_best:
            self._best_step = evaluation.step
        best = "" if self._best_step is None else f" (best so far: step {self._best_step})"
        line = f"step {evaluation.step}: {scores_text(evaluation.scores)}"
        line += " (best so far)" if evaluation.is_best else best
        if self._bar is not None and self._bar.is_terminal:
            self._bar.print(line)
        else:
            notify(line)

    def on_end(self, *, failed: bool) -> None:  # noqa: ARG002 - of the protocol
        """End the bar."""
        if self._bar is not None:
            self._bar.stop()


def scores_text(scores: Mapping[str, float]) -> str:
    """The scores in percent, such as `AP50 66.6, mIoU 45.3`."""
    shown = [f"{title} {percent(scores[name])}" for name, title in SCORE_TITLES.items() if name in scores]
    return ", ".join(shown) or "no score: the evaluation sets have no object of the trained classes"


def format_seconds(seconds: float) -> str:
    """A duration as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fit_parts(parts: Sequence[str], width: int) -> str:
    """The parts in one line of at most `width` characters; those at the end are left out if they do not fit."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) > width and line:
            break
        line = longer
    return line


class _Bar:
    """A bar of the steps with text that fits the terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console: Console = Console(stderr=True)
        self._progress: Progress | None = None

    @property
    def is_terminal(self) -> bool:
        return self._console.is_terminal

    def update(self, step: int, num_steps: int, parts: Sequence[str]) -> None:
        """Move the bar; starts it at the first call."""
        from rich.progress import BarColumn, ProgressColumn, TaskID
        from rich.progress import Progress as RichProgress
        from rich.text import Text as RichText

        width = self._console.width - _BAR_WIDTH - 2

        class Parts(ProgressColumn):
            """The text beside the bar."""

            max_refresh = None

            def render(self, task: "RichTask") -> "Text":
                return RichText(task.fields["line"], no_wrap=True, overflow="crop")

        line = fit_parts([f"{step}/{num_steps}", *parts], width)
        if self._progress is None:
            columns = (Parts(), BarColumn(bar_width=_BAR_WIDTH))
            self._progress = RichProgress(*columns, console=self._console)
            self._progress.add_task("train", total=num_steps, line=line)
            self._progress.start()
        self._progress.update(TaskID(0), completed=step, total=num_steps, line=line)

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False, highlight=False)

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _speed(values: Mapping[str, float]) -> str:
    return f"{values['images_per_second']:.1f} images/s" if "images_per_second" in values else ""


def _total(values: Mapping[str, float]) -> float:
    parts = (values.get(f"loss/{name}", 0.0) for name in _LOSSES)
    return values.get("loss/total", sum(parts))


def _wrapped(text: str) -> list[str]:
    return wrap(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
