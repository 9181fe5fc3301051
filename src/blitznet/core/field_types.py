"""Check that the fields of a dataclass have their declared types; values that were read from a file may not."""

import math
import typing
from collections.abc import Hashable
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, cast

from blitznet.core.errors import ModelError

_MAX_SHOWN = 80
"""characters of a wrong value in an error"""


def require_field_types(value: Any) -> None:
    """Check the fields of a frozen dataclass: numbers, finite floats, text, Literals, tuples, None and dataclasses.

    Raises:
        ModelError: A field has another type.
    """
    for name, hint in _hints(cast("Hashable", type(value))).items():
        if not _matches(getattr(value, name), hint):
            raise field_error(name, _describe(hint), getattr(value, name))


def require_range(value: Any, name: str, low: float, high: float) -> None:
    """Check that a field, or each item of it, is within low..high.

    Raises:
        ModelError: It is not.
    """
    item = getattr(value, name)
    if not all(low <= number <= high for number in (item if isinstance(item, tuple) else (item,))):
        raise field_error(name, f"{low:g} to {high:g}", item)


def field_error(name: str, expected: str, value: Any) -> ModelError:
    """The error of a field's value, in one short line."""
    text = repr(value)
    return ModelError(
        f"{name}: expected {expected}, got {text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + '...'}"
    )


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
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
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
        return f"a list of {_describe(arguments[0])}" if arguments[-1] is Ellipsis else f"{len(arguments)} numbers"
    names = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text", NoneType: "null"}
    return str(names.get(hint, hint.__name__))
