"""Check that the fields of a dataclass have their declared types; values that were read from a file may not."""

import sys
import typing
from collections.abc import Callable, Hashable
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, cast

from blitznet.core.errors import BlitzNetError, ModelError, UsageError

_MAX_SHOWN = 80
"""characters of a wrong value in an error"""


def field_error(name: str, expected: str, value: Any) -> ModelError:
    """The error of a field's value, in one short line."""
    return ModelError(f"{name}: expected {expected}, got {short_repr(value)}")


def option_error(name: str, expected: str, value: Any) -> UsageError:
    """The error of an option that has another type, or is none of its choices; it names the flag and a close choice."""
    expected = expected.removesuffix(" or null")
    choices = expected.partition("e of ")[2].split(", ")  # one of, some of
    texts = [text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)]
    near = [match for text in texts if text not in choices for match in get_close_matches(text.lower(), choices, n=1)]
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return UsageError(f"--{name.replace('_', '-')}: expected {expected}, got {short_repr(value)}{hint}")


def require_field_types(value: Any, error: Callable[[str, str, Any], BlitzNetError] = field_error) -> None:
    """Check the fields of a frozen dataclass: numbers, finite floats, text, paths, Literals, tuples, None, dataclasses.

    Args:
        value: The dataclass.
        error: Makes the error of a field of another type from its name, the types that are expected, and its value.

    Raises:
        BlitzNetError: A field has another type; a ModelError by default.
    """
    for name, hint in _hints(cast("Hashable", type(value))).items():
        if not _matches(getattr(value, name), hint):
            raise error(name, _describe(hint), getattr(value, name))


def require_range(value: Any, name: str, low: float, high: float) -> None:
    """Check that a field, or each item of it, is within low..high.

    Raises:
        ModelError: It is not.
    """
    item = getattr(value, name)
    if not all(low <= number <= high for number in (item if isinstance(item, tuple) else (item,))):
        raise field_error(name, f"{low:g} to {high:g}", item)


def short_repr(value: Any) -> str:
    """The beginning of a value's repr."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    hints = typing.get_type_hints(cast("Any", kind))
    return {field.name: hints[field.name] for field in fields(cast("Any", kind))}


def _matches(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin in (typing.Union, UnionType):
        return any(_matches(value, argument) for argument in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        return len(kinds) == len(value) and all(_matches(item, kind) for item, kind in zip(value, kinds, strict=True))
    if hint is float:
        # Not math.isfinite: it fails for whole numbers beyond any float.
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(arguments)
    if origin in (typing.Union, UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if origin is tuple:
        item = _describe(arguments[0])
        if typing.get_origin(arguments[0]) is Literal:
            return item.replace("one of", "some of", 1)
        items = f"{item.removeprefix('a ')}s" if item.endswith("number") else item
        return f"a list of {items}" if arguments[-1] is Ellipsis else f"{len(arguments)} numbers"
    names = {
        float: "a finite number",
        int: "a whole number",
        bool: "true or false",
        str: "text",
        Path: "a path",
        NoneType: "null",
    }
    return str(names.get(hint, hint.__name__))
