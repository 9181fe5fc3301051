"""The tree of errors a user can meet.

BlitzNetError
├── DataError       a image, annotation or data set is not what it should be
├── ModelError      a model's file or name is not what it should be
├── UsageError      an option's value cannot be used
└── MissingExtra    a package is missing; the message says which extra to install

Messages are one line: where, what was expected, what came, what to do; no full stop.
"""


class BlitzNetError(Exception):
    """Base of all errors that a user can cause; the command line prints it in one line."""


class DataError(BlitzNetError):
    """A image, an annotation or a data set is not what it should be."""


class ModelError(BlitzNetError):
    """A model's file or name is not what it should be."""


class UsageError(BlitzNetError):
    """An option's value cannot be used."""


class MissingExtra(BlitzNetError):  # noqa: N818 - reads as the sentence it prints
    """A package is missing: says which extra brings it."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs `pip install 'blitznet[{extra}]'`")
