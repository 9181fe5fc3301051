"""BlitzNet: real-time object detection and semantic segmentation with one network.

The names in `__all__` are the public API. They are imported on first use, so `import blitznet` is fast and needs
neither torch nor an optional package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blitznet.api import load
    from blitznet.bulk.progress import BulkProgress
    from blitznet.bulk.run import BulkSummary
    from blitznet.core.calibration import PlattScaling
    from blitznet.core.errors import BlitzNetError, DataError, MissingExtra, ModelError, UsageError
    from blitznet.core.image import ImageSource
    from blitznet.core.sample import Dataset, Sample
    from blitznet.core.spec import PostprocessConfig, Spec
    from blitznet.drawing.annotate import annotate
    from blitznet.integrations.tracking import Tracker
    from blitznet.metrics.evaluate import evaluate
    from blitznet.postprocess.instances import Instances, Panoptic
    from blitznet.postprocess.result import Detection, Result, Segmentation
    from blitznet.runtime.predictor import Predictor
    from blitznet.runtime.sliced import SlicedPredictor
    from blitznet.runtime.tta import FlipTTA
    from blitznet.workflows import TrainedModel
    from blitznet.workflows import batch_predict as batch
    from blitznet.workflows import export_file as export
    from blitznet.workflows import open_frames as open_video
    from blitznet.workflows import train_model as train
    from blitznet.workflows import validate_model as validate

    __version__: str

__all__ = [
    "BlitzNetError",
    "BulkProgress",
    "BulkSummary",
    "DataError",
    "Dataset",
    "Detection",
    "FlipTTA",
    "ImageSource",
    "Instances",
    "MissingExtra",
    "ModelError",
    "Panoptic",
    "PlattScaling",
    "PostprocessConfig",
    "Predictor",
    "Result",
    "Sample",
    "Segmentation",
    "SlicedPredictor",
    "Spec",
    "Tracker",
    "TrainedModel",
    "UsageError",
    "__version__",
    "annotate",
    "batch",
    "evaluate",
    "export",
    "load",
    "open_video",
    "train",
    "validate",
]

_MODULES = {
    "BlitzNetError": "core.errors",
    "BulkProgress": "bulk.progress",
    "BulkSummary": "bulk.run",
    "DataError": "core.errors",
    "Dataset": "core.sample",
    "Detection": "postprocess.result",
    "FlipTTA": "runtime.tta",
    "ImageSource": "core.image",
    "Instances": "postprocess.instances",
    "MissingExtra": "core.errors",
    "ModelError": "core.errors",
    "Panoptic": "postprocess.instances",
    "PlattScaling": "core.calibration",
    "PostprocessConfig": "core.spec",
    "Predictor": "runtime.predictor",
    "Result": "postprocess.result",
    "Sample": "core.sample",
    "Segmentation": "postprocess.result",
    "SlicedPredictor": "runtime.sliced",
    "Spec": "core.spec",
    "Tracker": "integrations.tracking",
    "TrainedModel": "workflows",
    "UsageError": "core.errors",
    "annotate": "drawing.annotate",
    "batch": "workflows:batch_predict",
    "evaluate": "metrics.evaluate",
    "load": "api",
    "open_video": "workflows:open_frames",
    "validate": "workflows:validate_model",
}
"""public name -> module that defines it, with the name there if that differs"""
_INSTEAD = dict.fromkeys(("predict", "Model", "BlitzNet", "YOLO"), "blitznet.load() returns a predictor")
_INSTEAD |= dict.fromkeys(("val", "eval"), "blitznet.validate scores a model on datasets")
"""names that users of other libraries expect -> what to use"""
_CALLABLE_PACKAGES = ("export", "train")
"""public functions with the name of a package, which is callable; see `core/callable_module.py`"""


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("blitznet")
    elif name in _CALLABLE_PACKAGES:
        from importlib import import_module

        value = import_module(f"blitznet.{name}")
    elif name in _MODULES:
        from importlib import import_module

        module, _, attribute = _MODULES[name].partition(":")
        value = getattr(import_module(f"blitznet.{module}"), attribute or name)
    else:
        hint = f"; {_INSTEAD[name]}" if name in _INSTEAD else ""
        raise AttributeError(f"module 'blitznet' has no attribute '{name}'{hint}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List all public names, imported or not."""
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING"})
