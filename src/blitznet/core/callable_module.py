"""Packages that are also functions: `blitznet.train(data=...)` beside `blitznet.train.loop`."""

import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    """A module whose call is a function of `blitznet.workflows`, which is imported on the first call."""

    function_name: str

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        return self._function()(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        """The function's signature, for `help` and editors."""
        return inspect.signature(self._function())

    def _function(self) -> Any:
        # by name: packages must not import those of a higher layer
        return getattr(import_module("blitznet.workflows"), self.function_name)


def make_callable(name: str, function_name: str) -> None:
    """Make a module with this `__name__` callable, as the function of this name in `blitznet.workflows`."""
    module = sys.modules[name]
    module.__class__ = CallableModule
    assert isinstance(module, CallableModule)
    module.function_name = function_name
