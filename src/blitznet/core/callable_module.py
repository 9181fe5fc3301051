"""Packages that are also functions: `blitznet.train(data=...)` beside `blitznet.train.loop`."""

import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    """A module whose call is the function of its name in `blitznet.workflows`, which is imported on the first call."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        return self._function()(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        """The function's signature, for `help` and editors."""
        return inspect.signature(self._function())

    def _function(self) -> Any:
        # by name: packages must not import those of a higher layer
        return getattr(import_module("blitznet.workflows"), self.__name__.rpartition(".")[2])


def make_callable(name: str) -> None:
    """Make a module callable; it calls this with its `__name__`."""
    sys.modules[name].__class__ = CallableModule
