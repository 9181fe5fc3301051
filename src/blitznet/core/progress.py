"""How long work reports its progress."""

from typing import Protocol


class Progress(Protocol):
    """Called after each step of long work; `cli/console.py` draws a bar from it."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """`done` of `total` steps of the work named `label` are finished."""
        ...


def no_progress(label: str, done: int, total: int) -> None:
    """Ignore progress."""
