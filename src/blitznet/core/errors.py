"""Errors that a user can cause.

BlitzNetError
├── DataError       an image, an annotation or a dataset is invalid
├── ModelError      a model's name or file is invalid
├── UsageError      an option's value is invalid
└── MissingExtra    an optional package is not installed

Messages are one line without a full stop: `where: expected X, got Y; what to do`.
"""

import reprlib
from traceback import clear_frames
from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)

_MAX_MESSAGE = 1_000
"""characters of a message; the middle of a longer one is left out"""
_MAX_SHOWN = 60
"""characters of a wrong value in a message"""


class BlitzNetError(Exception):
    """Base of all errors that a user can cause; the command line prints its message, which is one short line."""

    def __str__(self) -> str:
        return one_line(super().__str__())


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
        self._arguments = purpose, extra

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, str]]:
        return type(self), self._arguments  # not the message: a process that cannot read an error waits forever


def without_frames(error: _Error) -> _Error:
    """An error without its traceback and causes, whose frames keep their variables in memory: images and bodies."""
    cause: BaseException | None = error
    while cause is not None:
        clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def one_line(text: str) -> str:
    """A text that may contain names from a user's files, for a terminal: one line, not too long.

    Line breaks, control characters and other characters that cannot be printed are escaped as Python does: a name in
    a file must not add lines to a message or change the terminal.

    Returns:
        The text, its middle left out if it is too long.
    """
    if len(text) > _MAX_MESSAGE:
        text = f"{text[: _MAX_MESSAGE // 2]} ... {text[-_MAX_MESSAGE // 2 :]}"
    return escape_unprintable(text)


def escape_unprintable(text: str, *, allowed: str = "") -> str:
    """A text with each character that cannot be printed escaped, such as line breaks; those in `allowed` stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in allowed else c.encode("unicode_escape").decode("ascii") for c in text)


class _ShortRepr(reprlib.Repr):
    """Shows the first items of a value, and only two levels of nested ones: a value in a file may be of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 2, _MAX_SHOWN, _MAX_SHOWN, _MAX_SHOWN

    def repr_int(self, x: int, level: int) -> str:
        """Show a number; Python refuses to convert one of thousands of digits to text."""
        return super().repr_int(x, level) if x.bit_length() < 1_000 else f"a number of {x.bit_length()} bits"


_SHORT_REPR = _ShortRepr()


def shown(value: object) -> str:
    """A wrong value of a user's file for a message, in at most 60 characters of its beginning."""
    text = value if isinstance(value, str) else _SHORT_REPR.repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
