"""BlitzNet: one look at a image, object boxes and a class for every pixel.

What is named here is the public door. Names are loaded when first used, so that `import blitznet`
costs nothing and never needs torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blitznet.api import load
    from blitznet.core.errors import BlitzNetError, DataError, MissingExtra, ModelError, UsageError
    from blitznet.core.image import ImageSource
    from blitznet.core.sample import Sample
    from blitznet.core.spec import Spec
    from blitznet.postprocess.result import Result
    from blitznet.runtime.predictor import Predictor

    __version__: str

__all__ = [
    "BlitzNetError",
    "DataError",
    "ImageSource",
    "MissingExtra",
    "ModelError",
    "Predictor",
    "Result",
    "Sample",
    "Spec",
    "UsageError",
    "__version__",
    "load",
]

_HOMES = {
    "BlitzNetError": "core.errors",
    "DataError": "core.errors",
    "MissingExtra": "core.errors",
    "ModelError": "core.errors",
    "ImageSource": "core.image",
    "Predictor": "runtime.predictor",
    "Result": "postprocess.result",
    "Sample": "core.sample",
    "Spec": "core.spec",
    "UsageError": "core.errors",
    "load": "api",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the room it lives in."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("blitznet")
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f"blitznet.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'blitznet' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
