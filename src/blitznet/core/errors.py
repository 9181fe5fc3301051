"""Errors that a user can cause.

BlitzNetError
├── DataError       an image, an annotation or a dataset is invalid
├── ModelError      a model's name or file is invalid
├── UsageError      an option's value is invalid
└── MissingExtra    an optional package is not installed

Messages are one line without a full stop: `where: expected X, got Y; what to do`.
"""


class BlitzNetError(Exception):
    """Base of all errors that a user can cause; the command line prints its message."""


class DataError(BlitzNetError):
    """An image, an annotation or a dataset is invalid."""


class ModelError(BlitzNetError):
    """A model's name or file is invalid."""


class UsageError(BlitzNetError):
    """An option's value is invalid."""


class MissingExtra(BlitzNetError):  # noqa: N818 - public name
    """An optional package is not installed; the message names the extra that installs it."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs `pip install 'blitznet[{extra}]'`")
