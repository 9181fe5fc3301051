"""The protocol by which long work reports its progress."""

from typing import Protocol


class Progress(Protocol):
    """A callback that is called after each step of long work; `cli/console.py` draws a bar from it."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """Report that `done` of `total` steps of the work named `label` are done."""
        ...


def no_progress(label: str, done: int, total: int) -> None:
    """Ignore progress."""
